"""Settings and interface of all trainers."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ivy_models.transformers.perceiver_io import PerceiverIO

START = 0.01
"""Warm-up starts at this fraction of the learning rate."""

EPSILON = 1e-10
"""AdamW's epsilon, too small to matter although Keras adds it before bias correction."""


@dataclass(frozen=True)
class Settings:
    """Everything that a run depends on except its data. A checkpoint needs equal settings."""

    task: str
    backend: str
    steps: int
    warmup_steps: int
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    dropout: float = 0.0
    """Dropout rate of the MLPs' outputs."""


class Trainer(Protocol):
    """A model, its optimizer and its randomness, in one framework."""

    def step(self, data: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
        """Train on a batch; return its loss and the learning rate."""

    def logits(self, data: np.ndarray) -> np.ndarray:
        """Logits (n, classes) for data (n, *axes, channels), without dropout."""

    def weights(self) -> dict:
        """The weights as a tree, for ``model.with_weights``."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next steps depend on; "step" is the number of completed steps."""

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a state."""


def make_trainer(model: PerceiverIO, settings: Settings) -> Trainer:
    """Import the framework and make its trainer."""
    if settings.backend == "torch":
        from recipe.torch_trainer import TorchTrainer

        return TorchTrainer(model, settings)
    if settings.backend == "jax":
        from recipe.jax_trainer import JaxTrainer

        return JaxTrainer(model, settings)
    if settings.backend == "paddle":
        from recipe.paddle_trainer import PaddleTrainer

        return PaddleTrainer(model, settings)
    from recipe.keras_trainer import KerasTrainer

    return KerasTrainer(model, settings)
