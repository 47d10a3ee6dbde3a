"""Training in Paddle."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ivy_models.errors import BackendError
from ivy_models.ops import ops_named
from ivy_models.preprocessing.targets import Target
from ivy_models.shells.part_names import tree_name
from ivy_models.training.batches import TrainingBatch
from ivy_models.training.checkpoint import by_part
from ivy_models.training.losses import target_loss
from ivy_models.training.settings import Settings
from ivy_models.training.trainers.one_process import OneProcess
from ivy_models.training.trainers.optimization import (
    EPSILON,
    average_decay,
    dropout_seed,
    share_of_rate,
    weight_rules,
)
from ivy_models.transformers.perceiver_io import PerceiverIO

paddle: Any = importlib.import_module("paddle")  # its annotations lack public names


class PaddleTrainer(OneProcess):
    """Trains with ``paddle.optimizer``; see :class:`.Trainer`."""

    def __init__(
        self, model: PerceiverIO, targets: Sequence[Target], settings: Settings, steps: int
    ):
        self.targets, self.settings, self.device = targets, settings, model.spec.device
        self.layer = model.to_paddle_module(rematerialise=settings.rematerialise)
        self.average = model.to_paddle_module() if settings.ema else None
        on_cpu = next(iter(self.layer.parameters())).place.is_cpu_place()
        if on_cpu and settings.precision != "float32":
            raise BackendError(
                f"On a CPU Paddle computes in float32, got precision={settings.precision!r}. Use a "
                "GPU, or another backend."
            )
        rules = weight_rules(model.spec, settings)
        groups: dict[float, list[Any]] = {}
        self.names = {}
        """Each parameter's name in the layer, by the name that is its own in the process."""
        for name, weight in self.layer.named_parameters():
            rule = rules.get(tree_name(name))
            weight.stop_gradient = rule is None
            if rule is not None:
                self.names[weight.name] = name
                groups.setdefault(rule.scale, []).append(weight)
        self.trained = [weight for weights in groups.values() for weight in weights]
        self.schedule = paddle.optimizer.lr.LambdaDecay(
            settings.learning_rate, functools.partial(share_of_rate, settings, steps)
        )
        self.optimizer = paddle.optimizer.AdamW(
            self.schedule,
            parameters=[
                {"params": weights, "learning_rate": scale} for scale, weights in groups.items()
            ],
            epsilon=EPSILON,
            weight_decay=settings.weight_decay,
            apply_decay_param_fun=lambda own: rules[tree_name(self.names[own])].decays,
        )

    def step(self, step: int, parts: Sequence[TrainingBatch]) -> tuple[float, float]:
        learning_rate = self.schedule.get_lr()
        self.layer.train()
        losses = [self._backward(step, number, part) for number, part in enumerate(parts)]
        # Paddle's grad_clip of an optimizer takes the norm of each group alone.
        paddle.nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.schedule.step()
        if self.average is not None:
            self._update_average(average_decay(self.settings, step))
        return sum(losses), learning_rate

    def _backward(self, step: int, number: int, part: TrainingBatch) -> float:
        """Add the gradients of a part of the batch; return its loss."""
        generators = paddle.get_rng_state()
        paddle.seed(dropout_seed(self.settings, step, number))
        try:
            output = self._output(self.layer, part.data, part.mask)
            goals, weights = self._tensors(part.goals), self._tensors(part.weights)
            loss = target_loss(output, goals, weights, self.targets, self.settings.number_loss)
            loss.backward()
        finally:
            paddle.set_rng_state(generators)  # the program's generators stay as they were
        return float(loss)

    def _output(self, layer: Any, data: Any, mask: Any) -> Any:
        enabled = self.settings.precision == "bfloat16"
        with paddle.amp.auto_cast(enabled, dtype="bfloat16"):
            output = layer(self._tensors(data), self._tensors(mask))
        return paddle.reshape(output, [output.shape[0], -1]).astype("float32")

    @paddle.no_grad()
    def _update_average(self, decay: float) -> None:
        assert self.average is not None
        pairs = zip(self.average.parameters(), self.layer.parameters(), strict=True)
        for average, weight in pairs:
            average.set_value(average + (1 - decay) * (weight - average))

    @paddle.no_grad()
    def outputs(self, data: Any, mask: Any) -> np.ndarray:
        layer = self.average or self.layer
        layer.eval()
        return self._output(layer, data, mask).numpy()

    def weights(self) -> Any:
        return (self.average or self.layer).weights()

    def state(self) -> dict[str, np.ndarray]:
        state = {f"model/{name}": leaf for name, leaf in self.layer.state_dict().items()}
        if self.average is not None:
            state |= {f"average/{name}": leaf for name, leaf in self.average.state_dict().items()}
        for name, leaf in self.optimizer.state_dict().items():
            if name != "LR_Scheduler":
                weight = next(own for own in self.names if name.startswith(f"{own}_"))
                moment = name.removeprefix(f"{weight}_")
                state[f"optimizer/{self.names[weight]}/{moment}"] = leaf
        return {name: leaf.numpy() for name, leaf in state.items()}

    def load(self, state: dict[str, np.ndarray], step: int) -> None:
        parts: Any = by_part(state)
        moments = {}
        own_names = {name: own for own, name in self.names.items()}
        for name, array in parts["optimizer"].items():
            weight, _, moment = name.rpartition("/")
            moments[f"{own_names[weight]}_{moment}"] = self._tensors(array)
        self.layer.set_state_dict(parts["model"])
        if self.average is not None:
            self.average.set_state_dict(parts["average"])
        self.schedule.step(step)
        self.optimizer.set_state_dict(moments | {"LR_Scheduler": self.schedule.state_dict()})

    def _tensors(self, part: Any) -> Any:
        """Arrays, or arrays by modality, on the device of the model."""
        if isinstance(part, Mapping):
            return {name: self._tensors(array) for name, array in part.items()}
        return None if part is None else ops_named("paddle").asarray(part, device=self.device)
