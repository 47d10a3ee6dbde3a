"""Training steps in each framework."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ivy_models.ops import ops_named
from ivy_models.preprocessing.targets import Target
from ivy_models.training.batches import TrainingBatch
from ivy_models.training.settings import Settings
from ivy_models.transformers.perceiver_io import PerceiverIO


class Trainer(Protocol):
    """A model and its optimizer in one framework.

    Several processes may share a run. All of them then call the same methods in the same order.
    """

    is_main: bool
    """Whether this process writes the files of the run."""

    def share(self, size: int) -> slice:
        """Choose this process's share of so many examples, at least one.

        Raises
        ------
        InputError
            If there are fewer examples than processes.
        """
        ...

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Add the arrays of all processes."""
        ...

    def step(self, step: int, parts: Sequence[TrainingBatch]) -> tuple[float, float]:
        """Train on a batch; return its loss and the learning rate.

        Each process passes its share of each part of the batch.
        """
        ...

    def outputs(self, data: Any, mask: Any) -> np.ndarray:
        """Outputs (B, W) without dropout, of the averaged weights if there are any.

        Each process passes examples of its own.
        """
        ...

    def weights(self) -> Any:
        """The weights that :meth:`outputs` uses, as a tree for ``model.with_weights``."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next steps depend on, except the number of the next step."""
        ...

    def load(self, state: dict[str, np.ndarray], step: int) -> None:
        """Continue from the state before a step."""
        ...


_TRAINERS = {
    "torch": ("torch", "TorchTrainer"),
    "jax": ("jax", "JaxTrainer"),
    "tensorflow": ("keras", "KerasTrainer"),
    "paddle": ("paddle", "PaddleTrainer"),
}
"""The module and class of each framework."""


def make_trainer(
    model: PerceiverIO, targets: Sequence[Target], settings: Settings, steps: int
) -> Trainer:
    """Import the framework and make its trainer for a run of so many steps."""
    module, name = _TRAINERS[settings.backend]
    ops_named(settings.backend)  # says how to install a framework that is not there
    trainer = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return trainer(model, targets, settings, steps)
