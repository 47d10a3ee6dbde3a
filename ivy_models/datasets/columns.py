"""Recognition of the columns of a table."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivy_models.datasets.defaults import (
    image_preprocessing,
    sample,
    sound_preprocessing,
    text_length,
)
from ivy_models.datasets.files import kind_of, named
from ivy_models.errors import InputError, did_you_mean, shown
from ivy_models.preprocessing.ngrams import NgramPreprocessing
from ivy_models.preprocessing.table import (
    CategoryColumn,
    DateColumn,
    ImageColumn,
    NumberColumn,
    SoundColumn,
    TableColumn,
    TextColumn,
    TimeColumn,
)
from ivy_models.preprocessing.table.cells import (
    COMPACT_DATE,
    DATE_FORMATS,
    SECONDS,
    days_of,
    is_missing,
    to_category,
    to_date,
    to_hours,
    to_number,
    to_seconds,
    unit_of,
)
from ivy_models.preprocessing.table.encodings import edges_of
from ivy_models.preprocessing.text import TextPreprocessing

KINDS = ("number", "category", "date", "time", "text", "ngrams", "image", "sound", "ignore")
"""Kinds of columns that the model reads, and of those that it does not."""

FILES = ("image", "sound")
"""Kinds of columns of files."""

LOOK = 20
"""Number of cells, spread over all, by which formats of dates and durations are passed over."""

_CODE = re.compile(r"\s*0\d+[^\W\d_]*\s*")
"""A number that begins with 0, and perhaps ends in letters."""

_LONG = re.compile(r"-?\d{16,}")
"""A whole number that may have more digits than a float."""

NESTED = (Mapping, list, bytes)
"""Types of cells that hold more than a word or a number."""

BINS = 16
"""Ranges of a number's encoding."""

MAX_CATEGORIES = 1000
"""Upper bound on the categories of a column. Rarer ones are masked."""

MAX_TEXT = 512
"""Upper bound on the tokens of a text column."""

INDEX_NAMES = ("column 1", "Unnamed: 0", "__index_level_0__")
"""Names of an index without a name, as this library and pandas write them."""

MOSTLY = 0.95
"""Share of the cells that must be numbers, dates, times or files for a column of these."""


@dataclass(frozen=True)
class Column:
    """A column of the data: of a table, or the files and folders' names of a folder.

    Parameters
    ----------
    name
        Name of the column; "file" and "label" for a folder.
    kind
        "number", "category", "date", "time", "text", "ngrams", "image" or "sound"; "ignore" if it
        is not used; for a target "class" or "number".
    detail
        What was found, such as the range of the numbers, or why the column is not used.
    is_target
        Whether the model predicts it.
    """

    name: str
    kind: str
    detail: str
    is_target: bool = False


def check_kinds(columns: Mapping[str, str], names: Sequence[str], kinds: Sequence[str]) -> None:
    """Check the kinds that were chosen for columns.

    Raises
    ------
    InputError
        If there is no such column or kind.
    """
    for name, kind in columns.items():
        if name not in names:
            raise InputError(f"There is no column {name!r}. {did_you_mean(name, names)}")
        if kind not in kinds:
            raise InputError(
                f"The kind of {name!r} must be one of {', '.join(kinds)}, got {kind!r}."
            )


class Recognised(NamedTuple):
    """What was recognised of a column.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    reason
        Why the kind is "ignore".
    warning
        A sentence if most cells are of another kind, otherwise an empty text.
    """

    kind: str
    reason: str = ""
    warning: str = ""


def recognise(cells: Sequence[Any], places: np.ndarray | None = None, name: str = "") -> Recognised:
    """Recognise the kind of a column.

    Parameters
    ----------
    cells
        Its cells, or a sample of them.
    places
        Integers: the row of each cell. None: the cells are those of all rows.
    name
        Name of the column. An index without a name is not used.
    """
    known = [cell for cell in cells if not is_missing(cell)]
    if not known:
        return Recognised("ignore", "empty")
    if file_kind := _kind_of_files(known):
        return Recognised(file_kind)
    if any(isinstance(cell, NESTED) for cell in known):
        what = "bytes" if isinstance(known[0], bytes) else "lists or objects"
        return Recognised("ignore", f"cells are {what}")
    categories = Counter(map(to_category, known))
    if len(categories) == 1:
        return Recognised("ignore", f"always {next(iter(categories))}")
    if isinstance(known[0], bool):
        return Recognised("category")
    if are_compact_dates(known):
        return Recognised("date")
    enough = MOSTLY * len(known)
    number_form, numbers = best_number_format(known)
    if numbers >= enough and not _are_codes(known):
        is_index = name in INDEX_NAMES and len(categories) == len(known)
        numbers_rows = len(known) == len(cells) and (is_index or _number_rows(known, places))
        return Recognised("ignore", "numbers the rows") if numbers_rows else Recognised("number")
    date_form, dates = best_date_format(known)
    if dates >= enough:
        return Recognised("date")
    if num_times(known) >= enough:
        return Recognised("time")
    kind, reason = _kind_of_texts(known, len(categories))
    if numbers >= dates:
        others = [cell for cell in known if math.isnan(to_number(cell, *number_form))]
        return Recognised(kind, reason, _mostly("number", name, known, others))
    others = [cell for cell in known if to_date(cell, date_form) is None]
    return Recognised(kind, reason, _mostly("date", name, known, others))


def _mostly(kind: str, name: str, known: Sequence[Any], others: Sequence[Any]) -> str:
    """A sentence about a column most of whose cells, but for some others, are of a kind."""
    share = 1 - len(others) / len(known)
    if not 0.5 <= share < MOSTLY:
        return ""
    return (
        f"{share:.0%} of the cells of {name!r} are {kind}s, but others are not, such as "
        f"{shown(repr(others[0]))}. If these are unknown, set its kind to {kind}."
    )


def _kind_of_files(known: Sequence[Any]) -> str | None:
    """Return "image" or "sound" if the cells are files of that kind."""
    paths = [cell.get("path") if isinstance(cell, Mapping) else cell for cell in known]
    kinds = Counter(kind_of(path) for path in paths if isinstance(path, (str, Path)))
    for kind in FILES:
        if kinds[kind] >= MOSTLY * len(known):
            return kind
    return None


def _kind_of_texts(known: Sequence[Any], num_different: int) -> tuple[str, str]:
    words = np.mean([len(str(cell).split()) for cell in known])
    if num_different <= MAX_CATEGORIES and 2 * num_different <= len(known):
        return "category", ""
    if words >= 2:
        return "text", ""
    if num_different == len(known):
        return "ignore", "another name in every row"
    return ("category" if num_different <= len(known) / 1.2 else "text"), ""


def _number_rows(cells: Sequence[Any], places: np.ndarray | None) -> bool:
    """Whether these count the rows, from any number."""
    numbers = np.array([to_number(cell) for cell in cells])
    places = np.arange(len(cells)) if places is None else places
    with np.errstate(all="ignore"):
        return len(cells) > 2 and bool((np.diff(numbers) == np.diff(places)).all())


class NumberFormat(NamedTuple):
    """How a column's texts write numbers: the last arguments of :func:`to_number`."""

    decimal: str = "."
    unit: str = ""

    def range(self, numbers: Collection[float]) -> str:
        """The range of numbers in words."""
        return f"{min(numbers):.6g} to {max(numbers):.6g} {self.unit}".rstrip()


def number_format(known: Sequence[Any]) -> NumberFormat | None:
    """The format by which nearly all cells, and the most, are numbers, or None."""
    form, count = best_number_format(known)
    return form if count >= MOSTLY * len(known) and not _are_codes(known) else None


def _are_codes(known: Sequence[Any]) -> bool:
    """Whether some cells are codes: they begin with 0, or they differ, but not as floats."""
    if any(isinstance(cell, str) and _CODE.fullmatch(cell) for cell in known):
        return True
    texts = (str(cell).strip() for cell in known if isinstance(cell, (int, str)))
    long = set(filter(_LONG.fullmatch, texts))
    return len(set(map(float, long))) < len(long)


def best_number_format(known: Sequence[Any]) -> tuple[NumberFormat, int]:
    """The format by which the most cells are numbers, and how many are."""
    texts = [cell for cell in known if isinstance(cell, str)]
    others = [cell for cell in known if isinstance(cell, (Real, Decimal, timedelta))]
    units = Counter(unit_of(text) for text in texts if any(map(str.isdigit, text))).most_common(1)
    unit = units[0][0] if units else ""
    if isinstance(next(iter(others), None), timedelta) or _are_durations(texts):
        unit = SECONDS
    counts = {}
    for form in (NumberFormat(".", unit), NumberFormat(",", unit)):
        counts[form] = sum(not np.isnan(to_number(text, *form)) for text in texts)
        if counts[form] == len(texts):
            break
    # 1,234 has three decimals if the column also has 0,5 or 1234,5.
    form = max(counts, key=lambda form: counts[form])
    return form, counts[form] + len(others)


def _are_durations(texts: Sequence[str]) -> bool:
    """Whether texts are durations, some of which are no times of the day."""
    looked = [texts[int(place)] for place in sample(len(texts), LOOK)] if texts else []
    if sum(not math.isnan(to_seconds(text.strip())) for text in looked) < MOSTLY * len(looked):
        return False
    return bool(texts) and num_times(texts) < MOSTLY * len(texts)


def num_times(known: Sequence[Any]) -> int:
    """Number of cells that are times of the day."""
    return sum(not math.isnan(to_hours(cell)) for cell in known)


def are_compact_dates(known: Sequence[Any]) -> bool:
    """Whether cells are dates such as 20240131, though they are numbers too."""
    if not all(COMPACT_DATE.fullmatch(str(cell)) for cell in known):
        return False
    return sum(to_date(cell, "%Y%m%d") is not None for cell in known) >= MOSTLY * len(known)


def best_date_format(known: Sequence[Any]) -> tuple[str, int]:
    """The format by which nearly all cells, or the most, are dates, and how many are."""
    looked = [known[place] for place in sample(len(known), LOOK)]
    best = "iso", 0
    for form in DATE_FORMATS:
        if any(to_date(cell, form) is not None for cell in looked):
            count = sum(to_date(cell, form) is not None for cell in known)
            best = max(best, (form, count), key=lambda counted: counted[1])
            if count >= MOSTLY * len(known):
                break
    return best


def fit_column(name: str, kind: str, cells: Sequence[Any]) -> tuple[TableColumn, str]:
    """Describe a column by training cells, or a sample of them.

    Parameters
    ----------
    name
        Name of the column.
    kind
        One of :data:`KINDS` except "ignore".
    cells
        Values; files as paths that exist.

    Returns
    -------
    tuple
        The column, and what was found in words.

    Raises
    ------
    InputError
        If no cell has this kind.
    """
    known = [cell for cell in cells if not is_missing(cell)]
    missing = f", {1 - len(known) / len(cells):.0%} missing" if len(known) < len(cells) else ""
    try:
        column, detail = _FITS[kind](name, known)
    except (IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        example = f" such as {known[0]!r}" if known else ""
        raise InputError(
            f"The column {name!r} cannot be read as {kind}: no cell{example} is one."
        ) from error
    return column, detail + missing


def _fit_number(name: str, known: Sequence[Any]) -> tuple[TableColumn, str]:
    form, _ = best_number_format(known)
    numbers = np.array([to_number(cell, *form) for cell in known])
    numbers = numbers[~np.isnan(numbers)]
    detail = form.range(numbers) + _others(known, numbers, "numbers")
    return NumberColumn(name, *_moments(numbers), edges_of(numbers, BINS), *form), detail


def _others(known: Sequence[Any], read: Sized, what: str) -> str:
    """The number of cells that hold something else, in words, or an empty text."""
    number = len(known) - len(read)
    return f", not {what}: {number:,}" if number else ""


def _fit_date(name: str, known: Sequence[Any]) -> tuple[TableColumn, str]:
    form, _ = best_date_format(known)
    dates = [date for cell in known if (date := to_date(cell, form)) is not None]
    days = np.array([days_of(date) for date in dates])
    has_time = bool((days % 1).any())
    detail = f"{min(dates):%Y-%m-%d} to {max(dates):%Y-%m-%d}"
    if form != "iso":
        detail += f", written {form}"
    detail += _others(known, dates, "dates")
    return DateColumn(name, *_moments(days), edges_of(days, BINS), form, has_time), detail


def _fit_time(name: str, known: Sequence[Any]) -> tuple[TableColumn, str]:
    hours = np.array([to_hours(cell) for cell in known])
    hours = hours[~np.isnan(hours)]
    # 1:40 is 99.99999999999999 minutes.
    minutes = (math.floor(hour * 60 + 1e-6) for hour in (hours.min(), hours.max()))
    first, last = (f"{minute // 60:02d}:{minute % 60:02d}" for minute in minutes)
    detail = f"{first} to {last}" + _others(known, hours, "times")
    return TimeColumn(name, *_moments(hours), edges_of(hours, BINS)), detail


def _moments(numbers: np.ndarray) -> tuple[float, float]:
    with np.errstate(all="ignore"):
        mean, std = float(numbers.mean()), float(numbers.std())
    if not (np.isfinite(mean) and np.isfinite(std)):  # their squares overflow
        middle, spread = np.median(numbers), np.ptp(numbers / 2)
        return float(middle), float(spread) or 1.0
    return mean, std or 1.0


def _fit_category(name: str, known: Sequence[Any]) -> tuple[TableColumn, str]:
    counts = Counter(str(to_category(cell)) for cell in known)
    kept = sorted(counts, key=lambda category: (-counts[category], category))[:MAX_CATEGORIES]
    detail = f"{len(counts):,} categories: {named(kept)}"
    return CategoryColumn(name, tuple(sorted(kept))), detail


def _fit_text(name: str, known: Sequence[Any]) -> tuple[TableColumn, str]:
    length = text_length([len(str(cell).encode(errors="replace")) for cell in known], MAX_TEXT)
    return TextColumn(name, TextPreprocessing(length)), f"the first {length} bytes"


def _fit_ngrams(name: str, known: Sequence[Any]) -> tuple[TableColumn, str]:
    length = text_length([len(str(cell)) for cell in known], MAX_TEXT)
    preprocessing = NgramPreprocessing(length)
    sizes = ", ".join(map(str, preprocessing.sizes))
    detail = f"sequences of {sizes} characters, of the first {length} characters"
    return TextColumn(name, preprocessing), detail


def _fit_image(name: str, known: Sequence[Any]) -> tuple[TableColumn, str]:
    preprocessing = image_preprocessing(known)
    return ImageColumn(name, preprocessing), "{1} x {0} pixels".format(*preprocessing.size)


def _fit_sound(name: str, known: Sequence[Any]) -> tuple[TableColumn, str]:
    preprocessing = sound_preprocessing(known)
    seconds = preprocessing.num_samples / preprocessing.sample_rate
    return SoundColumn(name, preprocessing), f"{seconds:.3g} s at {preprocessing.sample_rate:,} Hz"


_FITS = {
    "number": _fit_number,
    "date": _fit_date,
    "time": _fit_time,
    "category": _fit_category,
    "text": _fit_text,
    "ngrams": _fit_ngrams,
    "image": _fit_image,
    "sound": _fit_sound,
}
