"""Preprocessing of a table's rows: columns of numbers, categories, dates, texts and files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
    texts,
)
from ivy_models.errors import InputError, SpecError, shown
from ivy_models.preprocessing.image import ImagePreprocessing
from ivy_models.preprocessing.modalities import modality
from ivy_models.preprocessing.numbers import (
    DATE_FORMATS,
    days_of,
    encode_cycle,
    encode_numbers,
    is_missing,
    to_category,
    to_date,
    to_number,
)
from ivy_models.preprocessing.sound import SoundPreprocessing
from ivy_models.preprocessing.text import TextPreprocessing
from ivy_models.transformers.perceiver_io import InputModality

MAX_EDGES = 65
"""Upper bound on the edges of a number's ranges."""

NUMBERS, CATEGORIES = "numbers", "categories"
"""Names of the modalities of all columns of numbers and dates, and of all categories."""


def _edges(name: str, value: Any) -> tuple[float, ...]:
    edges = tuple(float(number(f"each of {name}", edge)) for edge in _items(name, value))
    if not 1 <= len(edges) <= MAX_EDGES or list(edges) != sorted(set(edges)):
        raise SpecError(f"{name} must be 1 to {MAX_EDGES} increasing numbers, got {value!r}.")
    return edges


def _items(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise SpecError(f"{name} must be a list, got {value!r}.")
    return tuple(value)


def _categories(name: str, value: Any) -> tuple[str, ...]:
    categories = texts(name, value)
    if not categories or len(set(categories)) < len(categories):
        raise SpecError(f"{name} must be different texts, at least one, got {value!r}.")
    return categories


def _instance(kind: type) -> Any:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise SpecError(f"{name} must be of type {kind.__name__}, got {value!r}.")
        return value

    return check


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

    kind: ClassVar[str] = "number"

    def __post_init__(self):
        check_fields(
            self,
            name=text,
            mean=number,
            std=positive_number,
            edges=_edges,
            decimal=one_of((".", ",")),
        )

    def encode(self, cells: Sequence[Any]) -> tuple[list[np.ndarray], np.ndarray]:
        """Encode cells.

        Returns
        -------
        tuple
            A list of float32 (B, channels), one for each of the model's inputs, and booleans (B,):
            False where a cell holds no number.
        """
        numbers = np.array([to_number(cell, self.decimal) for cell in cells])
        return [encode_numbers(numbers, self.mean, self.std, self.edges)], ~np.isnan(numbers)

    @property
    def num_numbers(self) -> int:
        """Number of the model's inputs for a cell."""
        return 1

    @property
    def num_channels(self) -> int:
        """Channels of the encoding."""
        return len(self.edges)


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
        The format of dates that are texts: "iso", or as of ``datetime.strptime``.
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
            edges=_edges,
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


@named_fields
@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories.

    Parameters
    ----------
    name
        Name of the column.
    categories
        The categories of the training examples. Others are masked, as missing ones are.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    name: str
    categories: Sequence[str]

    kind: ClassVar[str] = "category"

    def __post_init__(self):
        check_fields(self, name=text, categories=_categories)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {category: place for place, category in enumerate(self.categories)}

    def encode(self, value: Any) -> int | None:
        """The number of a category, or None if it is missing or unknown."""
        category = to_category(value)
        return None if category is None else self._places.get(category)


@named_fields
@dataclass(frozen=True)
class TextColumn:
    """A column of texts.

    Parameters
    ----------
    name
        Name of the column.
    preprocessing
        Converts a text to tokens.

    Raises
    ------
    SpecError
        If a field has a wrong type.
    """

    name: str
    preprocessing: TextPreprocessing

    kind: ClassVar[str] = "text"

    def __post_init__(self):
        check_fields(self, name=text, preprocessing=_instance(TextPreprocessing))


@named_fields
@dataclass(frozen=True)
class ImageColumn:
    """A column of images: paths, or anything else that the preprocessing accepts.

    Parameters
    ----------
    name
        Name of the column.
    preprocessing
        Converts an image to numbers.

    Raises
    ------
    SpecError
        If a field has a wrong type.
    """

    name: str
    preprocessing: ImagePreprocessing

    kind: ClassVar[str] = "image"

    def __post_init__(self):
        check_fields(self, name=text, preprocessing=_instance(ImagePreprocessing))

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return (*self.preprocessing.size, self.preprocessing.channels)


@named_fields
@dataclass(frozen=True)
class SoundColumn:
    """A column of sounds: paths, or anything else that the preprocessing accepts.

    Parameters
    ----------
    name
        Name of the column.
    preprocessing
        Converts a sound to samples.

    Raises
    ------
    SpecError
        If a field has a wrong type.
    """

    name: str
    preprocessing: SoundPreprocessing

    kind: ClassVar[str] = "sound"

    def __post_init__(self):
        check_fields(self, name=text, preprocessing=_instance(SoundPreprocessing))

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples and channels."""
        return (self.preprocessing.num_samples, 1)


TableColumn = NumberColumn | DateColumn | CategoryColumn | TextColumn | ImageColumn | SoundColumn

COLUMNS = (NumberColumn, DateColumn, CategoryColumn, TextColumn, ImageColumn, SoundColumn)
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
        columns = _items("columns", self.columns)
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
            (numbers, channels); "categories", int32 (categories,); "text_0", int32 (max_length,);
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
    def _numbers(self) -> list[NumberColumn | DateColumn]:
        return [c for c in self.columns if isinstance(c, (NumberColumn, DateColumn))]

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
        encoded = [column.encode([row[column.name] for row in rows]) for column in self._numbers]
        data = [
            np.pad(part, [(0, 0), (0, self._num_channels - part.shape[1])])
            for parts, _ in encoded
            for part in parts
        ]
        mask = [is_known for parts, is_known in encoded for _ in parts]
        return np.stack(data, 1), np.stack(mask, 1)

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
            column.preprocessing.max_length
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
            Channels of an embedding and a learned position. Numbers and positions, and images and
            sounds with theirs, are at most a little wider.
        """
        modalities: list[InputModality] = []
        if self._numbers:
            number_of = sum(column.num_numbers for column in self._numbers)
            modalities.append(
                InputModality(
                    NUMBERS,
                    self._num_channels,
                    1,
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
    if isinstance(cell, Mapping):  # as Hugging Face's datasets store it
        cell = cell["path"] if cell.get("bytes") is None else cell["bytes"]
    return None if isinstance(cell, str) and is_missing(cell) else cell


def _file(column: ImageColumn | SoundColumn, content: Any) -> np.ndarray:
    """An image or a sound, or zeros if it is missing."""
    if content is None:
        return np.zeros(column.shape, np.float32)
    try:
        return column.preprocessing(content)
    except InputError as error:
        raise InputError(f"Column {column.name!r}: {error}") from error
