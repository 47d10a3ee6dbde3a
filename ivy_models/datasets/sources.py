"""Examples that are read from files or from a table when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.datasets.augmentation import Augmentation
from ivy_models.datasets.examples import Batch
from ivy_models.datasets.rows import Rows
from ivy_models.preprocessing.prepared import prepare


@dataclass(frozen=True)
class SourceExamples:
    """Some rows with their targets.

    Parameters
    ----------
    rows
        Rows of the data.
    indices
        Integers (n,): which of the rows are examples.
    targets
        By name: encoded targets (n,), as in :class:`Batch`.
    content
        uint64 (n,): a number for each example that changes with its content.
    preprocessing
        The model's preprocessing.
    augmentation
        Changes the data of :meth:`batch` at random. None: never.
    """

    rows: Rows
    indices: np.ndarray
    targets: dict[str, np.ndarray]
    content: np.ndarray
    preprocessing: Any
    augmentation: Augmentation | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """Name of an example for people: its file, or the number of its row."""
        return self.rows.name(int(self.indices[index]))

    def source(self, index: int) -> Any:
        """What the preprocessing takes for an example: a path or a row."""
        return self.rows[int(self.indices[index])]

    def batch(self, indices: Sequence[int], rng: np.random.Generator | None = None) -> Batch:
        """Read and preprocess some examples, and augment them if there is ``rng``."""
        chosen = np.asarray(indices)
        data, mask = prepare(self.preprocessing, self.rows.take(self.indices[chosen].tolist()))
        if rng is not None and self.augmentation is not None:
            data = self.augmentation(data, rng)
        return Batch(data, mask, {name: part[chosen] for name, part in self.targets.items()})

    def encoded_targets(self) -> dict[str, np.ndarray]:
        """The targets of all examples."""
        return self.targets

    def digests(self) -> np.ndarray:
        """The ``content`` of all examples."""
        return self.content
