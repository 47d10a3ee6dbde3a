"""Training in Keras on TensorFlow."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # before Keras is imported

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ivy_models.errors import BackendError
from ivy_models.preprocessing.targets import Target
from ivy_models.training.batches import TrainingBatch
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
                'environment variable KERAS_BACKEND="tensorflow" before Keras is imported. For '
                'several devices choose backend="jax" or "torch".'
            )
        self.targets, self.settings = targets, settings
        policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings.precision]
        self.network = model.to_keras_model(settings.rematerialise, dtype=policy)
        self.average = model.to_keras_model(dtype=policy) if settings.ema else None
        rules = weight_rules(model.spec, settings)
        self.trained = [w for w in self.network.trainable_variables if _tree_name(w.path) in rules]
        self.device = self.network.variables[0].value.device
        with tf.device(self.device):
            self.optimizer = ScaledAdamW(rules, settings, steps)
            self.optimizer.build(self.trained)
        self._gradients, self._update, self._outputs = map(
            tf.function, (self._loss_and_gradients, self._updated, self._output)
        )

    def step(self, step: int, parts: Sequence[TrainingBatch]) -> tuple[float, float]:
        self.network.seed_generator.state.assign([dropout_seed(self.settings, step, 0), 0])
        loss, gradients = 0.0, None
        with tf.device(self.device):
            for part in parts:
                more, found = self._gradients(part.data, part.mask, part.goals, part.weights)
                loss += float(more)
                gradients = found if gradients is None else list(map(tf.add, gradients, found))
            decay = np.float32(average_decay(self.settings, step))
            return loss, float(self._update(gradients, decay))

    def _loss_and_gradients(self, data: Any, mask: Any, goals: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            output = self._output(data, mask, training=True)
            loss = target_loss(output, goals, weights, self.targets, self.settings.number_loss)
        return loss, tape.gradient(loss, [weight.value for weight in self.trained])

    def _updated(self, gradients: Sequence[Any], decay: Any) -> Any:
        """Update the weights; return the learning rate."""
        learning_rate = self.optimizer.learning_rate
        self.optimizer.apply(gradients)
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
            return self._outputs(data, mask).numpy()

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
        super().__init__(
            _schedule(settings, steps), epsilon=EPSILON, global_clipnorm=settings.clip_norm
        )
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


def _tree_name(path: str) -> str:
    """Name of a variable in the parameter tree. TensorFlow's names end in ":0"."""
    return path.split("/", 1)[1].removesuffix(":0")
