"""A model's outputs for examples whose targets are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.datasets import Examples
from ivy_models.preprocessing.targets import ClassTarget, Target

if TYPE_CHECKING:
    from ivy_models.shells.any_model import AnyModel


def outputs_on(model: AnyModel, examples: Examples, batch_size: int) -> np.ndarray:
    """Run a model on all examples; returns outputs (n, channels)."""
    parts = []
    for start in range(0, len(examples), batch_size):
        batch = examples.batch(range(start, min(start + batch_size, len(examples))))
        output = to_numpy(model(batch.data, mask=batch.mask), "output")
        parts.append(output.reshape(len(output), -1))
    return np.concatenate(parts)


def predictions(target: Target, output: np.ndarray) -> np.ndarray:
    """Turn outputs (n, width) for a target into indices of classes, or numbers, (n,)."""
    return output.argmax(1) if isinstance(target, ClassTarget) else target.decode(output)


def truth(target: Target, encoded: np.ndarray) -> np.ndarray:
    """Turn encoded targets (n,) into indices of classes, or numbers on the column's scale, (n,)."""
    return encoded if isinstance(target, ClassTarget) else target.decode(encoded[:, None])
