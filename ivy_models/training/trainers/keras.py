"""Training in Keras on TensorFlow, on one device or on several by ``MirroredStrategy``."""

from __future__ import annotations

import os
import re

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # before Keras is imported

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ivy_models.errors import BackendError
from ivy_models.preprocessing.targets import Target
from ivy_models.training.batches import TrainingBatch, cannot_share
from ivy_models.training.losses import target_loss
from ivy_models.training.settings import Settings
from ivy_models.training.trainers.one_process import OneProcess
from ivy_models.training.trainers.optimization import (
    EPSILON,
    START,
    Rule,
    average_decay,
    dropout_seed,
    warmup_steps,
    weight_rules,
)
from ivy_models.transformers.perceiver_io import PerceiverIO


class KerasTrainer(OneProcess):
    """Trains with ``keras.optimizers``; see :class:`.Trainer`."""

    def __init__(
        self, model: PerceiverIO, targets: Sequence[Target], settings: Settings, steps: int
    ):
        if keras.backend.backend() != "tensorflow":
            raise BackendError(
                f"Keras runs on {keras.backend.backend()}, but training needs TensorFlow. Set the "
                'environment variable KERAS_BACKEND="tensorflow" before Keras is imported.'
            )
        self.targets, self.settings = targets, settings
        policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings.precision]
        self.strategy = _strategy(model.spec.device)
        rules = weight_rules(model.spec, settings)
        with self.strategy.scope():
            self.network = model.to_keras_model(settings.rematerialise, dtype=policy)
            self.average = model.to_keras_model(dtype=policy) if settings.ema else None
            self.trained = [
                w for w in self.network.trainable_variables if _tree_name(w.path) in rules
            ]
            self.device = self.network.variables[0].value.device
            with tf.device(self.device):
                self.optimizer = ScaledAdamW(rules, settings, steps)
                self.optimizer.build(self.trained)
        self._gradients, self._update, self._outputs = map(
            self._on_each_device, (self._loss_and_gradients, self._updated, self._output)
        )

    def step(self, step: int, parts: Sequence[TrainingBatch]) -> tuple[float, float]:
        loss, gradients = 0.0, None
        with tf.device(self.device):
            for number, part in enumerate(parts):
                seed = np.uint32(dropout_seed(self.settings, step, number))
                shares = self._shared((part.data, part.mask, part.goals, part.weights))
                more, found = self._sum(self._gradients(seed, *shares))
                loss += float(more)
                gradients = found if gradients is None else list(map(tf.add, gradients, found))
            gradients, _ = tf.clip_by_global_norm(gradients, self.settings.clip_norm)
            decay = np.float32(average_decay(self.settings, step))
            rates = self.strategy.experimental_local_results(self._update(gradients, decay))
            return loss, float(rates[0])

    def _on_each_device(self, function: Any) -> Any:
        """Compile a function to be run on each device."""
        return tf.function(lambda *arguments: self.strategy.run(function, arguments))

    def _shared(self, arrays: Any) -> Any:
        """Arrays that the devices share along axis 0."""
        count, size = self.strategy.num_replicas_in_sync, len(tf.nest.flatten(arrays)[0])
        if count == 1:
            return arrays
        if size < count:
            raise cannot_share(f"{count} devices", size, "a model whose spec names one device")

        def share(array: Any) -> Any:
            if array is None:
                return None
            parts = np.array_split(array, count)
            return self.strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(parts[context.replica_id_in_sync_group])
            )

        return tf.nest.map_structure(share, arrays)

    def _sum(self, values: Any) -> Any:
        """Add the values of all devices."""
        total = tf.distribute.ReduceOp.SUM
        return tf.nest.map_structure(lambda x: self.strategy.reduce(total, x, axis=None), values)

    def _loss_and_gradients(self, seed: Any, data: Any, mask: Any, goals: Any, weights: Any) -> Any:
        device = tf.distribute.get_replica_context().replica_id_in_sync_group
        self.network.seed_generator.state.assign([seed + tf.cast(device, seed.dtype), 0])
        with tf.GradientTape() as tape:
            output = self._output(data, mask, training=True)
            loss = target_loss(output, goals, weights, self.targets, self.settings.number_loss)
        return loss, tape.gradient(loss, [weight.value for weight in self.trained])

    def _updated(self, gradients: Sequence[Any], decay: Any) -> Any:
        """Update the weights by the gradients of all devices; return the learning rate."""
        learning_rate = self.optimizer.learning_rate
        # Keras adds up the devices' gradients.
        self.optimizer.apply([g / self.strategy.num_replicas_in_sync for g in gradients])
        if self.average is not None:
            pairs = zip(
                self.average.trainable_variables, self.network.trainable_variables, strict=True
            )
            for average, weight in pairs:
                average.assign_add((1 - decay) * (weight - average))
        return learning_rate

    def _output(self, data: Any, mask: Any, training: bool = False) -> Any:
        network = self.network if training or self.average is None else self.average
        arguments = data if mask is None else (data, mask)
        output = tf.cast(network(arguments, training=training), tf.float32)
        return tf.reshape(output, (tf.shape(output)[0], output.shape[-1]))

    def outputs(self, data: Any, mask: Any) -> np.ndarray:
        with tf.device(self.device):
            outputs = self._outputs(*self._shared((data, mask)))
            return np.concatenate(self.strategy.experimental_local_results(outputs))

    def weights(self) -> Any:
        return (self.average or self.network).weight_tree()

    def state(self) -> dict[str, np.ndarray]:
        return {name: variable.numpy() for name, variable in self._variables().items()}

    def load(self, state: dict[str, np.ndarray], step: int) -> None:
        for name, variable in self._variables().items():
            variable.assign(state[name])

    def _variables(self) -> Mapping[str, Any]:
        """Weights, averages, the optimizer's moments and its number of steps."""
        parts: dict[str, Any] = {"model": self.network, "optimizer": self.optimizer}
        if self.average is not None:
            parts["average"] = self.average
        return {
            f"{name}/{index}": variable
            for name, part in parts.items()
            for index, variable in enumerate(part.variables)
        }


class ScaledAdamW(keras.optimizers.Adam):
    """AdamW with a rule for each weight. Keras' own decays all weights at one learning rate."""

    def __init__(self, rules: Mapping[str, Rule], settings: Settings, steps: int):
        super().__init__(_schedule(settings, steps), epsilon=EPSILON)
        self._rules, self._decay = rules, settings.weight_decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rule = self._rules[_tree_name(getattr(variable, "path", variable.name))]
        learning_rate = tf.cast(learning_rate, variable.dtype) * rule.scale
        if rule.decays:
            self.assign_sub(variable, variable * self._decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)


def _schedule(settings: Settings, steps: int) -> Any:
    """Make the schedule, which Keras' annotations do not accept as a learning rate."""
    rate, warmup = settings.learning_rate, warmup_steps(settings, steps)
    cosine = keras.optimizers.schedules.CosineDecay
    if not warmup:
        return cosine(rate, steps)
    return cosine(START * rate, steps - warmup, warmup_target=rate, warmup_steps=warmup)


def _strategy(device: str | None) -> Any:
    """All GPUs, or CPUs, if there are several and the model names none."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if device is not None or len(devices) == 1:
        return tf.distribute.get_strategy()  # the device on which the model is made
    return tf.distribute.MirroredStrategy([each.name for each in devices])


def _tree_name(path: str) -> str:
    """Name of a variable in the parameter tree, without what TensorFlow adds for each device."""
    return re.sub(r"(/replica_\d+)?(:0)?$", "", path.split("/", 1)[1])
