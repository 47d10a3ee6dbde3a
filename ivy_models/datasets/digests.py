"""A number for each example that changes with its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ivy_models.datasets.rows import Rows

CHUNK = 4096
"""Number of rows whose cells are in memory at a time."""


def digest_of(content: bytes) -> np.uint64:
    """A hash of some content."""
    return np.frombuffer(hashlib.blake2b(content, digest_size=8).digest(), np.uint64)[0]


def digests_of_rows(
    rows: Rows, indices: np.ndarray, names: Sequence[str], others: Iterable[Sequence[Any]]
) -> np.ndarray:
    """Digests (n,), uint64, of some rows.

    Parameters
    ----------
    rows
        The rows.
    indices
        Integers (n,): which of them.
    names
        The columns that take part.
    others
        More columns of n values, such as the targets.
    """
    every = zip(_cells(rows, indices, names), *others, strict=True)
    digests = (digest_of(repr(row).encode(errors="replace")) for row in every)
    return np.fromiter(digests, np.uint64, len(indices))


def _cells(rows: Rows, indices: np.ndarray, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for chunk in np.split(indices, range(CHUNK, len(indices), CHUNK)):
        if names:
            yield from zip(*(rows.cells(name, chunk) for name in names), strict=True)
        else:
            yield from [()] * len(chunk)
