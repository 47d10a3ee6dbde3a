"""Training in JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.preprocessing.targets import Target
from ivy_models.training.batches import TrainingBatch
from ivy_models.training.losses import target_loss
from ivy_models.training.settings import Settings
from ivy_models.training.trainers.one_process import OneProcess
from ivy_models.training.trainers.optimization import (
    EPSILON,
    START,
    average_decay,
    dropout_seed,
    warmup_steps,
    weight_rules,
)
from ivy_models.transformers.perceiver_io import PerceiverIO

Weights = dict[str, jax.Array]
"""Weights by their names in the parameter tree."""


class JaxTrainer(OneProcess):
    """Trains with optax; see :class:`.Trainer`."""

    def __init__(
        self, model: PerceiverIO, targets: Sequence[Target], settings: Settings, steps: int
    ):
        self.targets, self.settings = targets, settings
        self.apply, params = model.to_jax(rematerialise=settings.rematerialise)
        rules, weights = weight_rules(model.spec, settings), dict(flatten(params))
        self.mesh = _mesh(model.spec.device, next(iter(weights.values())))
        weights = self._on_each(weights)
        self.frozen = {name: weight for name, weight in weights.items() if name not in rules}
        trained = {name: weights[name] for name in rules}

        def scaled(updates: Any, _weights: Any) -> Any:
            return {name: rules[name].scale * update for name, update in updates.items()}

        self.schedule: Any = optax.warmup_cosine_decay_schedule(
            init_value=START * settings.learning_rate,
            peak_value=settings.learning_rate,
            warmup_steps=warmup_steps(settings, steps),
            decay_steps=steps,
        )
        self.optimizer = optax.chain(
            optax.clip_by_global_norm(settings.clip_norm),
            optax.adamw(
                self.schedule,
                eps=EPSILON,
                weight_decay=settings.weight_decay,
                mask={name: rule.decays for name, rule in rules.items()},
            ),
            optax.stateless(scaled),
        )
        moments = self._on_each(self.optimizer.init(trained))
        self.arrays: dict[str, Any] = {"model": trained, "optimizer": moments}
        if settings.ema:
            self.arrays["average"] = trained
        self._update = jax.jit(self._updated)
        self._outputs = jax.jit(self._output)

    def step(self, step: int, parts: Sequence[TrainingBatch]) -> tuple[float, float]:
        seeds = [np.uint32(dropout_seed(self.settings, step, i)) for i in range(len(parts))]
        arrays = [(part.data, part.mask, part.goals, part.weights) for part in parts]
        stacked = jax.tree.map(lambda *each: np.stack(each), *zip(arrays, seeds, strict=True))
        stacked = self._shared(stacked, axis=1, size=len(parts[0].goals))
        decay = np.float32(average_decay(self.settings, step))
        self.arrays, loss = self._update(self.arrays, self.frozen, stacked, decay)
        return float(loss), float(self.schedule(step))

    def _updated(self, arrays: dict, frozen: Weights, parts: Any, decay: Any) -> tuple[dict, Any]:
        """The arrays after a step, and its loss. Parts are stacked along axis 0."""
        trained = arrays["model"]
        grad = jax.value_and_grad(self._loss)

        def add(total: Any, part: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, grad(trained, frozen, *part)), None

        if len(jax.tree.leaves(parts)[0]) == 1:
            loss, gradients = grad(trained, frozen, *jax.tree.map(lambda x: x[0], parts))
        else:
            zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, trained))
            (loss, gradients), _ = jax.lax.scan(add, zero, parts)
        updates, moments = self.optimizer.update(gradients, arrays["optimizer"], trained)
        trained = optax.apply_updates(trained, updates)
        after = {"model": trained, "optimizer": moments}
        if "average" in arrays:
            after["average"] = optax.incremental_update(trained, arrays["average"], 1 - decay)
        return after, loss

    def _loss(self, trained: Weights, frozen: Weights, batch: Any, seed: Any) -> jax.Array:
        data, mask, goals, weights = batch
        output = self._output(trained, frozen, data, mask, jax.random.key(seed))
        return target_loss(output, goals, weights, self.targets, self.settings.number_loss)

    def _output(
        self, trained: Weights, frozen: Weights, data: Any, mask: Any, key: Any = None
    ) -> jax.Array:
        weights = trained | frozen
        if self.settings.precision == "bfloat16":
            weights = {name: weight.astype(jnp.bfloat16) for name, weight in weights.items()}
        output = self.apply(unflatten(weights), data, mask, key=key)
        return output.astype(jnp.float32).reshape(len(output), -1)

    def outputs(self, data: Any, mask: Any) -> np.ndarray:
        size = len(jax.tree.leaves(data)[0])
        data, mask = self._shared((data, mask), axis=0, size=size)
        return np.asarray(self._outputs(self._best(), self.frozen, data, mask))

    def _on_each(self, arrays: Any) -> Any:
        """Arrays on each device of the mesh."""
        if self.mesh is None:
            return arrays
        return jax.device_put(arrays, NamedSharding(self.mesh, PartitionSpec()))

    def _shared(self, arrays: Any, axis: int, size: int) -> Any:
        """Arrays that the devices share along an axis, if its size allows."""
        if self.mesh is None or size % self.mesh.size:
            return self._on_each(arrays)
        shares = NamedSharding(self.mesh, PartitionSpec(*[None] * axis, "data"))
        return jax.tree.map(lambda x: jax.device_put(x, shares) if x.ndim > axis else x, arrays)

    def weights(self) -> Any:
        return unflatten(self._best() | self.frozen)

    def _best(self) -> Weights:
        return self.arrays.get("average", self.arrays["model"])

    def state(self) -> dict[str, np.ndarray]:
        leaves, _ = jax.tree.flatten_with_path(self.arrays)
        return {_name(path): np.asarray(leaf) for path, leaf in leaves}

    def load(self, state: dict[str, np.ndarray], step: int) -> None:
        leaves, structure = jax.tree.flatten_with_path(self.arrays)
        loaded = [jnp.asarray(state[_name(path)]) for path, _ in leaves]
        self.arrays = self._on_each(jax.tree.unflatten(structure, loaded))


def _mesh(device: str | None, weight: jax.Array) -> Mesh | None:
    """All devices of the weights' kind, if there are several and the model names none."""
    devices = jax.devices(next(iter(weight.devices())).platform)
    return Mesh(np.array(devices), ("data",)) if device is None and len(devices) > 1 else None


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
