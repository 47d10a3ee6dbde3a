"""Random changes of the training data that leave the targets as they are."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Augmentation(Protocol):
    """Changes a batch's data at random."""

    def __call__(self, data: Any, rng: np.random.Generator) -> Any:
        """Return changed data of the same shapes; the same for the same ``rng``."""
        ...
