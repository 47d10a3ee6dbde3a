"""The part of a trainer that concerns other processes, where there are none."""

from __future__ import annotations

import numpy as np


class OneProcess:
    """A trainer that computes whole batches; see :class:`.Trainer`."""

    is_main = True

    def share(self, size: int) -> slice:
        return slice(size)

    def sum(self, array: np.ndarray) -> np.ndarray:
        return array
