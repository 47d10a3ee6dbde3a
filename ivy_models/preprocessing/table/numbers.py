"""Columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ivy_models.base.fields import check_fields, named_fields, number, one_of, positive_number, text
from ivy_models.preprocessing.table.cells import to_number
from ivy_models.preprocessing.table.encodings import encode_numbers
from ivy_models.preprocessing.table.fields import edges


@named_fields
@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers.

    Parameters
    ----------
    name
        Name of the column.
    mean, std
        Mean and standard deviation of the training examples.
    edges
        Edges of the ranges of the piecewise linear encoding: quantiles of the training examples.
    decimal
        The decimal mark of numbers that are texts, "." or ",".
    unit
        What a text has before or after the number, such as "%", "EUR" or "kg", or "". With "s",
        durations such as 36:05:10 are numbers of seconds.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    name: str
    mean: float
    std: float
    edges: Sequence[float]
    decimal: str = "."
    unit: str = ""

    kind: ClassVar[str] = "number"

    def __post_init__(self):
        check_fields(
            self,
            name=text,
            mean=number,
            std=positive_number,
            edges=edges,
            decimal=one_of((".", ",")),
            unit=text,
        )

    def encode(self, cells: Sequence[Any]) -> tuple[list[np.ndarray], np.ndarray]:
        """Encode cells.

        Returns
        -------
        tuple
            A list of float32 (B, channels), one for each of the model's inputs, and booleans (B,):
            False where a cell holds no number.
        """
        numbers = np.array([to_number(cell, self.decimal, self.unit) for cell in cells])
        return [encode_numbers(numbers, self.mean, self.std, self.edges)], ~np.isnan(numbers)

    @property
    def num_numbers(self) -> int:
        """Number of the model's inputs for a cell."""
        return 1

    @property
    def num_channels(self) -> int:
        """Channels of the encoding."""
        return len(self.edges)
