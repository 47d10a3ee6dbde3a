"""The columns that are predicted: which they are, and as what."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ivy_models.datasets.columns import (
    MOSTLY,
    NESTED,
    Column,
    are_compact_dates,
    best_date_format,
    best_number_format,
    num_times,
    number_format,
)
from ivy_models.datasets.defaults import sample
from ivy_models.datasets.files import named
from ivy_models.errors import InputError, shown
from ivy_models.preprocessing.table.cells import is_missing, to_category, to_number
from ivy_models.preprocessing.targets import MISSING, ClassTarget, NumberTarget, Target

TARGET_KINDS = ("class", "number")

USUAL_NAMES = ("label", "labels", "target", "class")
"""Names of columns, in any case, that are the target if none is chosen."""

FEW = 20
"""Whole numbers with at most so many different values are classes."""


def target_names(target: str | Sequence[str] | None, columns: Sequence[str]) -> list[str]:
    """Names of the columns to predict.

    Raises
    ------
    InputError
        If a column is not there, or none is chosen and none has one of the usual names.
    """
    choices = named(columns, 30) or "none"
    if target is None:
        usual = [column for column in columns if column.lower() in USUAL_NAMES]
        if len(usual) != 1:
            raise InputError(f"Choose the column to predict as target. There are: {choices}.")
        return usual
    chosen = [target] if isinstance(target, str) else list(target)
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(f"target must name different columns, at least one; got {target!r}.")
    for name in chosen:
        if name not in columns:
            raise InputError(f"There is no column {name!r} to predict. There are: {choices}.")
    return chosen


LOOK = 10_000
"""Number of cells, spread over all, by which a kind is recognised."""


class TargetColumn:
    """A column to predict, before the split.

    Parameters
    ----------
    name
        Name of the column.
    cells
        Its cells, of all rows.
    kind
        "class" or "number". None: recognise it.
    as_written
        Whether classes are the cells as they are, such as names of folders, of which "none" is one.

    Raises
    ------
    InputError
        If all cells are equal or empty, are dates or times, or there are too many different
        classes.
    """

    def __init__(self, name: str, cells: Sequence[Any], kind: str | None, as_written: bool = False):
        self.name, self._as_written = name, as_written
        known = [cell for cell in cells if not (cell is None if as_written else is_missing(cell))]
        if not known:
            raise InputError(f"The target {name!r} is empty in all rows.")
        if nested := next((cell for cell in known if isinstance(cell, NESTED)), None):
            raise InputError(
                f"The target {name!r} has cells of type {type(nested).__name__}, such as "
                f"{shown(repr(nested))}; expected a word or a number in each. Write a column of "
                "these, or choose another target."
            )
        looked = [known[place] for place in sample(len(known), LOOK)]
        if kind is None and (dates := _dates_or_times(looked)):
            raise InputError(
                f"The target {name!r} has {dates}, such as {shown(str(known[0]))}. Write numbers "
                "instead, such as the days or hours since a fixed one, or choose another target. "
                "If each of them is a class, set its kind to class."
            )
        self._format, _ = best_number_format(looked)
        is_number = number_format(looked) is not None
        self.kind = kind or (self._recognised(looked) if is_number else "class")
        values = self.values(cells)
        self.counts = Counter(value for value in values if value is not None)
        first = shown(repr(next(iter(self.counts), None)))
        if len(self.counts) < 2:
            known_rows = "all rows that have one" if len(known) < len(cells) else "all rows"
            found = f"is {first} in {known_rows}" if self.counts else "has no numbers"
            raise InputError(
                f"The target {name!r} {found}; training needs at least two values."
                f"{self.missing_word(cells)}"
            )
        if kind is None and self.kind == "class" and len(self.counts) > max(FEW, len(known) / 2):
            raise InputError(
                f"The target {name!r} has {len(self.counts):,} different values, such as "
                f"{first}, in {len(known):,} rows: too many for classes. Choose another target, "
                "write numbers in one unit, or set its kind to class or number."
            )

    def missing_word(self, cells: Sequence[Any]) -> str:
        """A sentence after a space about a word that counts as missing, or an empty text."""
        if self._as_written:
            return ""
        words = (cell for cell in cells if isinstance(cell, str) and cell.strip())
        if (word := next(filter(is_missing, words), None)) is None:
            return ""
        return f" {word!r} counts as missing; if it is a class, write another word."

    def _recognised(self, known: Sequence[Any]) -> str:
        if isinstance(known[0], bool):
            return "class"
        numbers = np.array([to_number(cell, *self._format) for cell in known])
        numbers = numbers[~np.isnan(numbers)]
        is_whole = bool((numbers == np.round(numbers)).all())
        return "class" if is_whole and len(np.unique(numbers)) <= FEW else "number"

    def values(self, cells: Sequence[Any]) -> list[Any]:
        """Cells as classes or numbers, None where unknown."""
        if self.kind == "class":
            return list(cells) if self._as_written else [to_category(cell) for cell in cells]
        numbers = (to_number(cell, *self._format) for cell in cells)
        return [None if np.isnan(number) else number for number in numbers]

    def fit(self, train: Sequence[Any]) -> Target:
        """Describe the target by the values of the training examples."""
        known = [value for value in train if value is not None]
        if self.kind == "class":
            return ClassTarget(self.name, tuple(sorted(set(known), key=_natural)))
        with np.errstate(all="ignore"):
            mean, std = float(np.mean(known)), float(np.std(known))
        if not (np.isfinite(mean) and np.isfinite(std) and std):
            raise InputError(
                f"The target {self.name!r} has no finite, positive standard deviation: its "
                f"numbers are from {min(known):.6g} to {max(known):.6g}."
            )
        return NumberTarget(self.name, mean, std, *self._format)

    def column(self) -> Column:
        """What was recognised."""
        if self.kind == "class":
            ordered = sorted(self.counts, key=_natural)
            listed = named([f"{value} ({self.counts[value]:,})" for value in ordered], 8)
            return Column(self.name, "class", f"{len(ordered):,} classes: {listed}", True)
        return Column(self.name, "number", self._format.range(self.counts), True)

    def warnings(self) -> list[str]:
        """Sentences about classes that should be looked at."""
        if self.kind != "class":
            return []
        alike = defaultdict(list)
        for value in sorted(self.counts):
            alike["".join(value.split()).casefold()].append(repr(value))
        found = [
            f"The classes {' and '.join(values)} of {self.name!r} differ only in case or spaces."
            for values in alike.values()
            if len(values) > 1
        ]
        if single := [repr(value) for value, count in sorted(self.counts.items()) if count == 1]:
            found.append(
                f"Of {self.name!r} these classes have one example each, so that validation has "
                f"none: {named(single)}."
            )
        return found


def _dates_or_times(known: Sequence[Any]) -> str:
    """ "dates" or "times of the day" if nearly all cells are, otherwise an empty text."""
    enough = MOSTLY * len(known)
    if are_compact_dates(known) or best_date_format(known)[1] >= enough:
        return "dates"
    is_time = number_format(known) is None and num_times(known) >= enough
    return "times of the day" if is_time else ""


def _natural(value: str) -> tuple[int, float, str]:
    """Order numbers by size, before texts."""
    number = to_number(value)
    return (1, 0.0, value) if np.isnan(number) else (0, number, value)


def encode(target: Target, values: Sequence[Any]) -> np.ndarray:
    """Encode values, as in :class:`Batch`. Classes that the target does not have are MISSING."""
    if isinstance(target, ClassTarget):
        places: Mapping[Any, int] = {label: place for place, label in enumerate(target.labels)}
        return np.array([places.get(value, MISSING) for value in values], np.int64)
    return np.array([target.encode(value) for value in values], np.float32)
