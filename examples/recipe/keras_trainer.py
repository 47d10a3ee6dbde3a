"""The recipe in Keras on TensorFlow."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # before Keras is imported

import keras
import numpy as np
import tensorflow as tf

from ivy_models.transformers.perceiver_io import PerceiverIO
from recipe.trainer import EPSILON, START, Settings


class KerasTrainer:
    """Trains with ``keras.optimizers``; see :class:`recipe.trainer.Trainer`."""

    def __init__(self, model: PerceiverIO, settings: Settings):
        keras.utils.set_random_seed(settings.seed)  # for dropout
        self.model = network = model.to_keras_model()
        schedule = keras.optimizers.schedules.CosineDecay(
            START * settings.learning_rate,
            settings.steps - settings.warmup_steps,
            warmup_target=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
        )
        self.optimizer = optimizer = keras.optimizers.AdamW(
            schedule,
            epsilon=EPSILON,
            weight_decay=settings.weight_decay,
            global_clipnorm=settings.clip_norm,
        )
        weights = network.trainable_variables
        optimizer.exclude_from_weight_decay([w for w in weights if not w.path.endswith("/weight")])
        optimizer.build(weights)
        loss_of = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=settings.label_smoothing
        )

        @tf.function
        def update(data, classes):
            learning_rate = optimizer.learning_rate
            with tf.GradientTape() as tape:
                logits = network(data, training=True)[:, 0]
                loss = loss_of(keras.ops.one_hot(classes, logits.shape[-1]), logits)
            optimizer.apply(tape.gradient(loss, weights))
            return loss, learning_rate

        self.update = update

    def step(self, data: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
        loss, learning_rate = self.update(data, classes)
        return float(loss), float(learning_rate)

    def logits(self, data: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(self.model(data)[:, 0])

    def weights(self) -> dict:
        return self.model.weight_tree()

    def state(self) -> dict[str, np.ndarray]:
        arrays = {name: variable.numpy() for name, variable in self._variables().items()}
        return {"step": self.optimizer.iterations.numpy()} | arrays

    def load(self, state: dict[str, np.ndarray]) -> None:
        for name, variable in self._variables().items():
            variable.assign(state[name])

    def _variables(self) -> dict[str, keras.Variable]:
        """Weights, dropout's seed, the optimizer's moments and its number of steps."""
        parts = {"model": self.model, "optimizer": self.optimizer}
        return {
            f"{name}/{index}": variable
            for name, part in parts.items()
            for index, variable in enumerate(part.variables)
        }
