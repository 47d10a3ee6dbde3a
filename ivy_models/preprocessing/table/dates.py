"""Columns of dates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ivy_models.base.fields import (
    check_fields,
    flag,
    named_fields,
    number,
    one_of,
    positive_number,
    text,
)
from ivy_models.preprocessing.table.cells import DATE_FORMATS, days_of, to_date
from ivy_models.preprocessing.table.encodings import encode_cycle, encode_numbers
from ivy_models.preprocessing.table.fields import edges


@named_fields
@dataclass(frozen=True)
class DateColumn:
    """A column of dates: the day, the time of the year, the day of the week, the time of the day.

    Parameters
    ----------
    name
        Name of the column.
    mean, std, edges
        As in :class:`NumberColumn`, of the days since 1970.
    form
        The format of dates that are texts: "iso", or a format of ``datetime.strptime``.
    has_time
        Whether the time of the day takes part.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    name: str
    mean: float
    std: float
    edges: Sequence[float]
    form: str = "iso"
    has_time: bool = False

    kind: ClassVar[str] = "date"

    def __post_init__(self):
        check_fields(
            self,
            name=text,
            mean=number,
            std=positive_number,
            edges=edges,
            form=one_of(DATE_FORMATS),
            has_time=flag,
        )

    def encode(self, cells: Sequence[Any]) -> tuple[list[np.ndarray], np.ndarray]:
        """Encode cells, as :meth:`NumberColumn.encode`."""
        dates = [to_date(cell, self.form) for cell in cells]
        days, of_year, of_week = np.array(
            [
                (days_of(date), (date.timetuple().tm_yday - 1) / 366, date.weekday() / 7)
                if date
                else (math.nan,) * 3
                for date in dates
            ]
        ).T
        parts = [encode_numbers(days, self.mean, self.std, self.edges)]
        parts += [encode_cycle(of_year), encode_cycle(of_week)]
        if self.has_time:
            parts.append(encode_cycle(days % 1))
        return parts, ~np.isnan(days)

    @property
    def num_numbers(self) -> int:
        """Number of the model's inputs for a cell."""
        return 4 if self.has_time else 3

    @property
    def num_channels(self) -> int:
        """Channels of the widest of its encodings."""
        return max(4, len(self.edges))
