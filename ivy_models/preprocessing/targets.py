"""What a trained model predicts: classes and numbers, each a range of its output's channels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.base.fields import check_fields, number, one_of, positive_number, text, texts
from ivy_models.errors import InputError, SpecError, shown

MISSING = -1
"""The class of an example whose class is unknown."""


@dataclass(frozen=True)
class ClassTarget:
    """One of several classes.

    Parameters
    ----------
    name
        Name of the column, or "label" for the folders' names.
    labels
        Name of each class, in the order of the output's channels.

    Raises
    ------
    SpecError
        If there are fewer than two classes, or two of them have the same name.
    """

    name: str
    labels: tuple[str, ...]

    def __post_init__(self):
        check_fields(self, name=text, labels=texts)
        if len(self.labels) < 2:
            raise SpecError(
                f"The target {self.name!r} needs at least two classes, got {shown(self.labels)}."
            )
        if repeated := [label for label, count in Counter(self.labels).items() if count > 1]:
            raise SpecError(
                f"The target {self.name!r} has several classes called {shown(repeated[0])}. Give "
                "each class a name of its own."
            )

    @property
    def width(self) -> int:
        """Number of the output's channels."""
        return len(self.labels)

    def encode(self, value: Any) -> int:
        """Return the index of a class, or MISSING for None.

        Raises
        ------
        InputError
            If the class is unknown.
        """
        if value is None:
            return MISSING
        if str(value) not in self.labels:
            raise InputError(
                f"The target {self.name!r} has no class {value!r}; it has {shown(self.labels)}."
            )
        return self.labels.index(str(value))


@dataclass(frozen=True)
class NumberTarget:
    """A number, which the model predicts standardised.

    Parameters
    ----------
    name
        Name of the column.
    mean, std
        Mean and standard deviation of the training examples.
    decimal
        The decimal mark of numbers that are texts, "." or ",".
    unit
        What a text has before or after the number, such as "%", "EUR" or "kg", or "". With "s",
        durations such as 36:05:10 are numbers of seconds.

    Raises
    ------
    SpecError
        If they are not finite, the standard deviation is not positive, or there is no such mark.
    """

    name: str
    mean: float
    std: float
    decimal: str = "."
    unit: str = ""

    def __post_init__(self):
        check_fields(
            self,
            name=text,
            mean=number,
            std=positive_number,
            decimal=one_of((".", ",")),
            unit=text,
        )

    @property
    def width(self) -> int:
        """Number of the output's channels."""
        return 1

    def encode(self, value: Any) -> float:
        """Standardise a number; None and NaN become NaN."""
        return math.nan if value is None else (float(value) - self.mean) / self.std

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Turn outputs (B, 1) into numbers (B,) of the column's own scale."""
        return output[:, 0].astype(np.float64) * self.std + self.mean


Target = ClassTarget | NumberTarget


def is_known(target: Target, encoded: np.ndarray) -> np.ndarray:
    """Whether encoded values (n,) of a target are known: neither MISSING nor NaN."""
    return encoded != MISSING if isinstance(target, ClassTarget) else np.isfinite(encoded)


def split_output(output: np.ndarray, targets: Sequence[Target]) -> dict[str, np.ndarray]:
    """Split outputs (B, channels) into the channels of each target, by name."""
    ends = np.cumsum([target.width for target in targets])
    parts = np.split(output, ends[:-1], axis=-1)
    return {target.name: part for target, part in zip(targets, parts, strict=True)}
