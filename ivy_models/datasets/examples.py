"""Examples for training: what the model reads and predicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ivy_models.datasets.columns import Column
from ivy_models.datasets.digests import digest_of
from ivy_models.preprocessing.targets import ClassTarget, Target


@dataclass(frozen=True)
class Batch:
    """Several examples, ready for a model.

    Parameters
    ----------
    data
        The model's data (B, ...), by modality if there are several.
    mask
        The model's mask, False where an input does not take part. None: all take part.
    targets
        By the target's name: integers (B,) for classes, MISSING where unknown; float32 (B,) for
        standardised numbers, NaN where unknown.
    """

    data: np.ndarray | dict[str, np.ndarray]
    mask: np.ndarray | dict[str, np.ndarray] | None
    targets: dict[str, np.ndarray]


class Examples(Protocol):
    """Examples that are read when they are needed."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int], rng: np.random.Generator | None = None) -> Batch:
        """Read and preprocess some examples; called in a thread beside the training.

        Parameters
        ----------
        indices
            Which examples, from 0 to ``len(self) - 1``.
        rng
            The only source of randomness of the augmentation. None: no augmentation.
        """
        ...

    def encoded_targets(self) -> dict[str, np.ndarray]:
        """The targets of all examples, as in :class:`Batch`, without reading their data."""
        ...

    def digests(self) -> np.ndarray:
        """Return uint64 (n,), another number for another content, to recognise changed data."""
        ...


@dataclass(frozen=True)
class ArrayExamples:
    """Examples in memory.

    Parameters
    ----------
    data, mask, targets
        As in :class:`Batch`, for all examples.
    """

    data: np.ndarray | dict[str, np.ndarray]
    targets: dict[str, np.ndarray]
    mask: np.ndarray | dict[str, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.targets.values())))

    def batch(self, indices: Sequence[int], rng: np.random.Generator | None = None) -> Batch:
        """Select some examples. There is no augmentation."""
        chosen = np.asarray(indices)
        return Batch(*(_rows(part, chosen) for part in (self.data, self.mask, self.targets)))

    def encoded_targets(self) -> dict[str, np.ndarray]:
        """The targets of all examples."""
        return self.targets

    def digests(self) -> np.ndarray:
        """A number for each example that changes with its data, mask and targets."""
        whole = [tuple(_arrays(part)) for part in (self.data, self.mask, self.targets)]
        rows = (b"".join(a[i].tobytes() for part in whole for a in part) for i in range(len(self)))
        return np.fromiter(map(digest_of, rows), np.uint64, len(self))


def _arrays(part: Any) -> Iterator[np.ndarray]:
    """The arrays of a part in the order of their names."""
    if isinstance(part, Mapping):
        yield from (part[name] for name in sorted(part))
    elif part is not None:
        yield part


def _rows(part: Any, chosen: np.ndarray) -> Any:
    if isinstance(part, Mapping):
        return {name: array[chosen] for name, array in part.items()}
    return None if part is None else part[chosen]


@dataclass(frozen=True)
class TrainingData:
    """Everything that a training run reads.

    Parameters
    ----------
    train, validation
        The examples to learn from, and those that measure what was learned.
    preprocessing
        Converts one example, or a list of them, to the model's data. It is saved with the model.
    targets
        What is predicted. A model's output (B, channels) has the channels of each, in this order.
    columns
        What was recognised, in the order of the data.
    warnings
        Sentences about what was left out and what should be looked at.
    augmentation
        Name of the random changes of ``train``, or "none".
    """

    train: Examples
    validation: Examples
    preprocessing: Any
    targets: tuple[Target, ...]
    columns: tuple[Column, ...] = ()
    warnings: tuple[str, ...] = ()
    augmentation: str = "none"

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes if there is a single target and it is a class, otherwise None."""
        if len(self.targets) == 1 and isinstance(self.targets[0], ClassTarget):
            return self.targets[0].labels
        return None
