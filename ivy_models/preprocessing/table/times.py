"""Columns of times of the day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ivy_models.base.fields import check_fields, named_fields, number, positive_number, text
from ivy_models.preprocessing.table.cells import to_hours
from ivy_models.preprocessing.table.encodings import encode_cycle, encode_numbers
from ivy_models.preprocessing.table.fields import edges


@named_fields
@dataclass(frozen=True)
class TimeColumn:
    """A column of times of the day, such as 14:30 or 2:30 pm: the time, and its place in the day.

    Parameters
    ----------
    name
        Name of the column.
    mean, std, edges
        As in :class:`NumberColumn`, of the hours since midnight.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    name: str
    mean: float
    std: float
    edges: Sequence[float]

    kind: ClassVar[str] = "time"

    def __post_init__(self):
        check_fields(self, name=text, mean=number, std=positive_number, edges=edges)

    def encode(self, cells: Sequence[Any]) -> tuple[list[np.ndarray], np.ndarray]:
        """Encode cells, as :meth:`NumberColumn.encode`."""
        hours = np.array([to_hours(cell) for cell in cells])
        parts = [encode_numbers(hours, self.mean, self.std, self.edges), encode_cycle(hours / 24)]
        return parts, ~np.isnan(hours)

    @property
    def num_numbers(self) -> int:
        """Number of the model's inputs for a cell."""
        return 2

    @property
    def num_channels(self) -> int:
        """Channels of the widest of its encodings."""
        return max(4, len(self.edges))
