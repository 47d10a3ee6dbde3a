"""Numbers, dates and categories as the cells of a table hold them."""

from __future__ import annotations

import datetime
import math
import re
from decimal import Decimal
from numbers import Real
from typing import Any

MISSING_WORDS = frozenset(["", "na", "n/a", "nan", "null", "none", "nat", "?", "-"])
"""Cells that hold nothing, in lower case and without spaces around."""

_NUMBERS = {
    ".": re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)?(\.\d*)?([eE][+-]?\d+)?"),
    ",": re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)?(,\d*)?([eE][+-]?\d+)?"),
}
"""Numbers by their decimal mark; the other mark separates thousands."""

DATE_FORMATS = (
    "iso",
    "%Y/%m/%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%d %b %Y",
    "%b %d, %Y",
)
"""Formats of dates, in the order in which they are tried. A time may follow the date."""

_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f")

_EPOCH = datetime.datetime(1970, 1, 1)


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, an empty text or a word for it, such as NA."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING_WORDS
    return value is None or (isinstance(value, Real) and value != value)


def to_number(value: Any, decimal: str = ".") -> float:
    """Read a number. NaN for anything else, and for infinity.

    Parameters
    ----------
    value
        A number, or a text.
    decimal
        The decimal mark of a text, "." or ",". The other one separates thousands.
    """
    if isinstance(value, str):
        value = value.strip()
        if not _NUMBERS[decimal].fullmatch(value):
            return math.nan
        value = value.replace("." if decimal == "," else ",", "").replace(",", ".")
    elif not isinstance(value, (Real, Decimal)):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):  # a sign or mark alone; an integer above all floats
        return math.nan
    return number if math.isfinite(number) else math.nan


def to_date(value: Any, form: str = "iso") -> datetime.datetime | None:
    """Read a date, with or without a time. None for anything else.

    Parameters
    ----------
    value
        A date of ``datetime``, or a text.
    form
        The format of a text: one of :data:`DATE_FORMATS`.
    """
    if isinstance(value, str):
        return _parsed(value.strip(), form)
    if isinstance(value, datetime.datetime):
        return _in_utc(value)
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    return None


def _parsed(text: str, form: str) -> datetime.datetime | None:
    if form == "iso":
        try:
            return None if text.isdigit() else _in_utc(datetime.datetime.fromisoformat(text))
        except (ValueError, OverflowError):
            return None
    for time in _TIMES:
        try:
            return datetime.datetime.strptime(text, form + time)
        except ValueError:
            continue
    return None


def _in_utc(date: datetime.datetime) -> datetime.datetime:
    return date if date.tzinfo is None else date.astimezone(datetime.UTC).replace(tzinfo=None)


def days_of(date: datetime.datetime) -> float:
    """Days since 1970."""
    return (date - _EPOCH) / datetime.timedelta(days=1)


def to_category(value: Any) -> str | None:
    """Name of a category; the same for 1, 1.0 and "1". None if it is missing."""
    if is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
