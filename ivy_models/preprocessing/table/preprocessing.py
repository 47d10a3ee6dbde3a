"""Preprocessing of the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ivy_models.base.fields import named_fields
from ivy_models.errors import InputError, SpecError, shown
from ivy_models.preprocessing.modalities import modality
from ivy_models.preprocessing.sources import stored
from ivy_models.preprocessing.table.categories import CategoryColumn
from ivy_models.preprocessing.table.cells import is_missing
from ivy_models.preprocessing.table.dates import DateColumn
from ivy_models.preprocessing.table.fields import items
from ivy_models.preprocessing.table.files import ImageColumn, SoundColumn
from ivy_models.preprocessing.table.numbers import NumberColumn
from ivy_models.preprocessing.table.texts import TextColumn
from ivy_models.preprocessing.table.times import TimeColumn
from ivy_models.transformers.perceiver_io import InputModality

NUMBERS, CATEGORIES = "numbers", "categories"
"""Names of the modalities of all columns of numbers and dates, and of all categories."""

TableColumn = (
    NumberColumn | DateColumn | TimeColumn | CategoryColumn | TextColumn | ImageColumn | SoundColumn
)

COLUMNS = (
    NumberColumn,
    DateColumn,
    TimeColumn,
    CategoryColumn,
    TextColumn,
    ImageColumn,
    SoundColumn,
)
"""Kinds of columns."""


@named_fields
@dataclass(frozen=True)
class TablePreprocessing:
    """Convert rows of a table to the data and masks of several modalities.

    All numbers and dates are one modality, "numbers", all categories another, "categories"; each
    column of texts, images or sounds is one of its own, named by its kind and place.

    Parameters
    ----------
    columns
        The columns that the model reads. A row may have others.

    Raises
    ------
    SpecError
        If there are no columns, two of one name, or one of another type.

    Examples
    --------
    >>> from ivy_models.preprocessing import CategoryColumn, NumberColumn, TablePreprocessing
    >>> prepare = TablePreprocessing(
    ...     [NumberColumn("age", 40, 15, [18, 40, 90]), CategoryColumn("city", ["Bern", "Rome"])]
    ... )
    >>> data, mask = prepare([{"age": "29", "city": "Rome"}, {"age": None, "city": "Oslo"}])
    >>> data["numbers"][0].tolist()
    [[-0.7333333492279053, 0.5, 0.0]]
    >>> data["categories"].tolist()
    [[1], [0]]
    >>> mask["numbers"].tolist(), mask["categories"].tolist()
    ([[True], [False]], [[True], [False]])
    """

    columns: Sequence[TableColumn]

    def __post_init__(self):
        columns = items("columns", self.columns)
        if wrong := [column for column in columns if not isinstance(column, COLUMNS)]:
            raise SpecError(f"columns must be columns such as NumberColumn, got {wrong[0]!r}.")
        names = [column.name for column in columns]
        if not names or len(set(names)) < len(names):
            raise SpecError(f"columns must have different names, at least one, got {names}.")
        object.__setattr__(self, "columns", columns)

    def __call__(self, rows: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Prepare one row, or a list of rows.

        Parameters
        ----------
        rows
            A mapping from the columns' names to values, or a list of these. Texts are read as
            numbers or dates where the column has these. None, NaN, an empty text, an unknown
            category and a text that is not a number or date are masked.

        Returns
        -------
        tuple of dict
            Data and mask by modality, for a list with the batch axis B first: "numbers", float32
            (numbers, channels); "categories", int32 (categories,); "text_0", int32 (num_tokens,);
            "image_0", float32 (height, width, channels); "sound_0", float32 (num_samples, 1). Masks
            are booleans, False where nothing is known; an image or a sound has one for all its
            inputs, (1, 1) or (1,). A missing image or sound is zeros.

        Raises
        ------
        InputError
            If a row is not a mapping or lacks a column, or an image or sound cannot be read.
        """
        if isinstance(rows, Mapping):
            data, mask = self([rows])
            return {k: v[0] for k, v in data.items()}, {k: v[0] for k, v in mask.items()}
        rows = list(rows)
        wrong = [f"a {type(row).__name__}" for row in rows if not isinstance(row, Mapping)]
        if wrong or not rows:
            raise InputError(
                "Expected rows, each a mapping from column to value, at least one; got "
                f"{wrong[0] if wrong else 'none'}."
            )
        for row in rows:
            self._check_names(row)
        data: dict[str, np.ndarray] = {}
        mask: dict[str, np.ndarray] = {}
        if self._numbers:
            data[NUMBERS], mask[NUMBERS] = self._encoded_numbers(rows)
        if self._categories:
            data[CATEGORIES], mask[CATEGORIES] = self._encoded_categories(rows)
        for name, column in self.other_modalities.items():
            cells = [row[column.name] for row in rows]
            if isinstance(column, TextColumn):
                data[name], mask[name] = _texts(column, cells)
            else:
                contents = [_content(cell) for cell in cells]
                data[name] = np.stack([_file(column, content) for content in contents])
                known = np.array([content is not None for content in contents])
                mask[name] = known.reshape(-1, *(1 for _ in column.shape[:-1]))
        return data, mask

    def _check_names(self, row: Mapping[str, Any]) -> None:
        """Refuse a misspelt column, which would look like one whose value is unknown."""
        if lacking := [column.name for column in self.columns if column.name not in row]:
            given = ", ".join(map(shown, row)) or "nothing"
            raise InputError(
                f"A row has no {', '.join(map(repr, lacking))}; it has {given}. Give None for a "
                "value that is unknown."
            )

    @cached_property
    def _numbers(self) -> list[NumberColumn | DateColumn | TimeColumn]:
        return [c for c in self.columns if isinstance(c, (NumberColumn, DateColumn, TimeColumn))]

    @cached_property
    def _categories(self) -> list[CategoryColumn]:
        return [c for c in self.columns if isinstance(c, CategoryColumn)]

    @cached_property
    def other_modalities(self) -> dict[str, TextColumn | ImageColumn | SoundColumn]:
        """The columns that are modalities of their own, by the modality's name."""
        named: dict[str, TextColumn | ImageColumn | SoundColumn] = {}
        for kind in (TextColumn, ImageColumn, SoundColumn):
            columns = [column for column in self.columns if isinstance(column, kind)]
            named |= {f"{kind.kind}_{place}": column for place, column in enumerate(columns)}
        return named

    @cached_property
    def _num_channels(self) -> int:
        """Channels of a number's encoding."""
        return max((column.num_channels for column in self._numbers), default=0)

    def _encoded_numbers(self, rows: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
        number_of = sum(column.num_numbers for column in self._numbers)
        data = np.zeros((len(rows), number_of, self._num_channels), np.float32)
        mask = np.zeros(data.shape[:2], bool)
        at = 0
        for column in self._numbers:
            parts, is_known = column.encode([row[column.name] for row in rows])
            for part in parts:
                data[:, at, : part.shape[1]] = part
                mask[:, at] = is_known
                at += 1
        return data, mask

    def _encoded_categories(self, rows: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
        data = np.zeros((len(rows), len(self._categories)), np.int32)
        mask = np.zeros(data.shape, bool)
        offset = 0
        for at, column in enumerate(self._categories):
            codes = [column.encode(row.get(column.name)) for row in rows]
            data[:, at] = [offset + (code or 0) for code in codes]
            mask[:, at] = [code is not None for code in codes]
            offset += len(column.categories)
        return data, mask

    @property
    def num_values(self) -> int:
        """How many values one row becomes."""
        numbers = self._num_channels * sum(column.num_numbers for column in self._numbers)
        others = (
            column.preprocessing.num_tokens
            if isinstance(column, TextColumn)
            else math.prod(column.shape)
            for column in self.other_modalities.values()
        )
        return numbers + len(self._categories) + sum(others)

    def modalities(self, dim: int = 64) -> tuple[InputModality, ...]:
        """Describe the modalities for a model's spec.

        Parameters
        ----------
        dim
            Channels of an embedding and a learned position. Numbers with their positions have
            twice as many, images and sounds with theirs at most a little more.
        """
        modalities: list[InputModality] = []
        if self._numbers:
            number_of = sum(column.num_numbers for column in self._numbers)
            modalities.append(
                InputModality(
                    NUMBERS,
                    self._num_channels,
                    1,
                    stem="column_projection",
                    stem_dim=dim,
                    learned_position_shape=(number_of,),
                    learned_position_dim=dim,
                )
            )
        if self._categories:
            modalities.append(
                InputModality(
                    CATEGORIES,
                    dim,
                    1,
                    vocabulary_size=sum(len(column.categories) for column in self._categories),
                    learned_position_shape=(len(self._categories),),
                )
            )
        modalities += [
            modality(name, column.preprocessing, dim)
            for name, column in self.other_modalities.items()
        ]
        return tuple(modalities)


def _texts(column: TextColumn, cells: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    return column.preprocessing.tokens(["" if is_missing(cell) else str(cell) for cell in cells])


def _content(cell: Any) -> Any:
    """A file's path or content, or None if it is missing."""
    content = stored(cell)
    return None if is_missing(content) else content


def _file(column: ImageColumn | SoundColumn, content: Any) -> np.ndarray:
    """An image or a sound, or zeros if it is missing."""
    if content is None:
        return np.zeros(column.shape, np.float32)
    try:
        return column.preprocessing(content)
    except InputError as error:
        raise InputError(f"Column {column.name!r}: {error}") from error
