"""Numbers, dates, times and categories as the cells of a table hold them."""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

MISSING_WORDS = frozenset(
    [
        *("", "na", "n/a", "nan", "null", "none", "nat", "?", "-"),
        # Others that pandas knows
        *("#n/a", "#n/a n/a", "#na", "<na>", "-nan"),
        *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
        # Errors of spreadsheets
        *("#div/0!", "#name?", "#null!", "#num!", "#ref!", "#value!"),
        # Other programs: statistics, databases, and people
        *(".", "\\n", "(null)", "--", "n.a."),
        # Numbers that are not finite, as pandas writes them
        *("inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"),
    ]
)
"""Cells that hold nothing, in lower case and without spaces around."""

_NUMBERS = {
    decimal: re.compile(
        rf"[+-]?(\d+|[1-9]\d{{0,2}}(?P<mark>[{other}'\u2019\s])"
        r"((\d{3}(?P=mark))*|(\d{2}(?P=mark))*)\d{3})?"  # 1,234,567; in India 12,34,567
        rf"([{decimal}]\d*)?([eE][+-]?\d+)?"
    )
    for decimal, other in (".,", ",.")
}
"""Numbers by their decimal mark; the other mark, an apostrophe or a space separates thousands."""

_PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?")
"""The most frequent numbers, which are read faster than others."""

_CURRENCY_CODE = re.compile(
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KES|KRW|"
    "KZT|MAD|MXN|MYR|NGN|NOK|NZD|PEN|PHP|PKR|PLN|RON|RSD|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
"""Codes of currencies (ISO 4217), which may stand before a number."""

_UNIT = re.compile(r"%|°[CF]?|[^\W\d_]{1,7}[²³]?(/[^\W\d_]{1,7}[²³]?)?")
"""A unit after a number, such as kg, m² or km/h."""

SECONDS = "s"
"""The unit of durations."""

_CLOCK = re.compile(
    r"((?P<days>[+-]?\d+) days?,?(\s+\+?|$))?"
    r"(((?P<hours>\d+):(?=\d\d:))?(?P<minutes>\d+):(?P<seconds>[0-5]\d([.,]\d+)?))?"
)
"""A duration such as 36:05:10, 4:30 (minutes and seconds), or 1 day, 12:05:10, as Python writes."""

_ISO_DURATION = re.compile(
    r"P(?=.*\d)((?P<weeks>\d+)W)?((?P<days>\d+)D)?"
    r"(T((?P<hours>\d+)H)?((?P<minutes>\d+)M)?((?P<seconds>\d+([.,]\d+)?)S)?)?"
)
"""A duration of ISO 8601 such as P1DT12H. Months and years have no fixed length."""

_SECONDS_IN = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}

_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
"""A whole number that is written with decimals."""

DATE_FORMATS = (
    "iso",
    "%Y-%m-%d",
    "%Y%m%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d/%b/%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%Y-%m",
    "%m/%Y",
    "%b %Y",
    "%B %Y",
    "%b-%Y",
    "%b-%y",
)
"""Formats of dates and months, in the order in which they are tried.

The day of the week may stand before the date, and a time with its zone after it.
"""

COMPACT_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
"""A date such as 20240131, which may also be an integer."""

_TIME = re.compile(
    r"(?P<hour>\d{1,2})(:(?P<minute>\d\d)(:(?P<second>\d\d)([.,](?P<fraction>\d+))?)?)?"
    r"\s*((?P<half>[aApP])\.?[mM]\.?)?"
)
"""A time of the day, with 24 or 12 hours. A number alone is none."""

_DAY_OF_WEEK = re.compile(
    r"(mon|tue|wed|thu|fri|sat|sun|(mon|tues|wednes|thurs|fri|satur|sun)day)\.?,?\s+", re.I
)

_TIME_INSIDE = re.compile(r"(\w+\s+\d{1,2})\s+(\d\d?:\d\d:\d\d(?:\s+\S+)?)\s+(\d{4})\Z")
"""A date with the year at its end, as C, Unix and JSON of social networks write it."""

_TIME_OF_DATE = re.compile(
    r"(,?\s+(at\s+)?|:)(?P<time>\d{1,2}:.*?)"
    r"(\s*(?P<zone>Z|[A-Z]{3}|(UTC|GMT)?[+-]\d\d:?\d\d)(\s+\(.*\))?)?\Z"
)
"""The time at the end of a date, and its zone."""

_ZONES = {
    **dict.fromkeys(("Z", "UTC", "GMT"), 0),
    **{f"{zone}ST": -hours for zone, hours in (("E", 5), ("C", 6), ("M", 7), ("P", 8))},
    **{f"{zone}DT": 1 - hours for zone, hours in (("E", 5), ("C", 6), ("M", 7), ("P", 8))},
}
"""Hours of the zones that RFC 2822 names, before those of UTC."""

_EPOCH = datetime.datetime(1970, 1, 1)


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, an empty text or a word for it, such as NA.

    The missing values of pandas count too.
    """
    if isinstance(value, str):
        return value.strip().lower() in MISSING_WORDS
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, (Real, datetime.date, np.datetime64)):  # pandas.NaT is a date
        return bool(value != value)
    return value is None or type(value).__name__ == "NAType"  # pandas.NA refuses comparisons


def to_number(value: Any, decimal: str = ".", unit: str = "") -> float:
    """Read a number. NaN for anything else, and for infinity.

    Parameters
    ----------
    value
        A number, a duration of ``datetime``, or a text. (5) and 5- are negative, as in accounting.
    decimal
        The decimal mark of a text, "." or ",". The other one, an apostrophe or a space may
        separate thousands.
    unit
        What stands before or after the number of a text, as :func:`unit_of` finds it. With "s",
        durations such as 36:05:10 and PT1H30M are read as well, in seconds.
    """
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, str) and (unit or decimal != "." or not _PLAIN.fullmatch(value)):
        value = value.strip().replace("\u2212", "-")  # the minus sign
        if unit == SECONDS and not math.isnan(seconds := to_seconds(value)):
            return seconds
        value = _sign_first(_without_unit(_sign_first(value), unit))
        match = _NUMBERS[decimal].fullmatch(value)
        if not match:
            return math.nan
        value = value.replace(match["mark"] or "", "").replace(",", ".")
    elif not isinstance(value, (str, Real, Decimal, np.bool_)):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):  # a sign or mark alone; an integer above all floats
        return math.nan
    return number if math.isfinite(number) else math.nan


def unit_of(text: str) -> str:
    """What stands before or after a number; "" if nothing does.

    Before: the sign of a currency, as in US$ 5, or its code, as in EUR 5. After: these, a percent
    sign, or a unit such as kg.
    """
    if _PLAIN.fullmatch(text):
        return ""
    text = _sign_first(text.strip())
    if not (number := re.search(r"\d(.*\d)?", text)):
        return ""
    before = text[: number.start()].strip(" +-\u2212.,\u00a0\u202f")
    if before == "%" or _is_currency(before):
        return before
    after = text[number.end() :].lstrip(".,").strip()
    is_half_of_day = after.lower() in ("am", "pm")
    is_unit = _is_currency(after) or _UNIT.fullmatch(after)
    return after if is_unit and not is_half_of_day else ""


def _is_currency(text: str) -> bool:
    if _CURRENCY_CODE.fullmatch(text):
        return True
    has_sign = bool(text) and unicodedata.category(text[-1]) == "Sc"
    return has_sign and re.fullmatch("[A-Z]{0,3}", text[:-1]) is not None


def to_seconds(text: str) -> float:
    """Read a duration such as 36:05:10, 4:30, 2 days 03:00:00 or PT1H30M. NaN for other texts."""
    if not text or not (match := _CLOCK.fullmatch(text) or _ISO_DURATION.fullmatch(text)):
        return math.nan
    found = {name: part.replace(",", ".") for name, part in match.groupdict().items() if part}
    return sum(float(part) * _SECONDS_IN[name] for name, part in found.items())


def _sign_first(text: str) -> str:
    """-5 for (5) and 5-."""
    if text.startswith("(") and text.endswith(")"):
        return f"-{text[1:-1]}"
    return f"-{text[:-1]}" if text.endswith("-") else text


def _without_unit(text: str, unit: str) -> str:
    """The number of a text such as -$5, $-5 or 5 %. "" if it has another unit."""
    if not unit:
        return text
    sign = text[:1] if text[:1] in ("+", "-") else ""
    number = text.removeprefix(sign).strip()
    if number.startswith(unit):
        number = number.removeprefix(unit)
    elif number.endswith(unit):
        number = number.removesuffix(unit)
    else:
        return ""
    return sign + number.strip()


def to_date(value: Any, form: str = "iso") -> datetime.datetime | None:
    """Read a date, with or without a time. None for anything else.

    Parameters
    ----------
    value
        A date of ``datetime``, NumPy or pandas, or a text.
    form
        The format of a text: one of :data:`DATE_FORMATS`.
    """
    if form == "%Y%m%d" and isinstance(value, Integral):
        value = str(value)
    if isinstance(value, str):
        return _parsed(value.strip(), form)
    if is_missing(value):
        return None
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()  # a number outside the years 1 to 9999
    if isinstance(value, datetime.datetime):
        return _in_utc(value)
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    return None


def _parsed(text: str, form: str) -> datetime.datetime | None:
    try:
        if form == "iso":
            text = re.sub(r" UTC$", "Z", text)
            return None if text.isdigit() else _in_utc(datetime.datetime.fromisoformat(text))
        text = _DAY_OF_WEEK.sub("", text.strip("[]"), count=1)
        text = _TIME_INSIDE.sub(r"\1 \3 \2", text)
        found = _TIME_OF_DATE.search(text)
        date = datetime.datetime.strptime(text[: found.start()] if found else text, form)
        if found:
            time = _parsed_time(found["time"])
            date = time and datetime.datetime.combine(date, time) - _zone(found["zone"])
    except (ValueError, OverflowError):
        return None
    return date


def _zone(name: str | None) -> datetime.timedelta:
    """The difference of a zone from UTC."""
    if name is None:
        return datetime.timedelta()
    if not (offset := re.search(r"([+-])(\d\d):?(\d\d)", name)):
        if name not in _ZONES:
            raise ValueError(f"unknown zone {name}")
        return datetime.timedelta(hours=_ZONES[name])
    minutes = 60 * int(offset[2]) + int(offset[3])
    return datetime.timedelta(minutes=int(f"{offset[1]}{minutes}"))


def _in_utc(date: datetime.datetime) -> datetime.datetime | None:
    try:
        return date if date.tzinfo is None else date.astimezone(datetime.UTC).replace(tzinfo=None)
    except OverflowError:  # beyond the years 1 to 9999 there
        return None


def to_hours(value: Any) -> float:
    """Read a time of the day, in hours since midnight. NaN for anything else.

    Parameters
    ----------
    value
        A time of ``datetime``, or a text such as 14:30, 14:30:05.5, 2:30 pm or 2 pm.
    """
    if isinstance(value, str):
        value = _parsed_time(value.strip())
    if not isinstance(value, datetime.time):
        return math.nan
    seconds = value.second + value.microsecond / 1e6
    return value.hour + value.minute / 60 + seconds / 3600


def _parsed_time(text: str) -> datetime.time | None:
    match = _TIME.fullmatch(text)
    if match is None or not (match["minute"] or match["half"]):
        return None
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    microsecond = int((match["fraction"] or "")[:6].ljust(6, "0"))
    if half := match["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half in "pP")
    try:
        return datetime.time(hour, minute, second, microsecond)
    except ValueError:
        return None


def days_of(date: datetime.datetime) -> float:
    """Days since 1970."""
    return (date - _EPOCH) / datetime.timedelta(days=1)


def composed(text: str) -> str:
    """The form in which names and categories are compared: one é, not e and an accent.

    The forms look the same. Keyboards write this one, and macOS writes the other.
    """
    return unicodedata.normalize("NFC", text)


def to_category(value: Any) -> str | None:
    """Name of a category; the same for 1, 1.0, "1" and "1.0", and for True and "true".

    Otherwise a model that was trained on CSV would not know the categories of other kinds of files.
    None if it is missing.
    """
    if is_missing(value):
        return None
    text = composed(str(value).strip())
    if text.lower() in ("true", "false"):
        return text.capitalize()
    if isinstance(value, Real) and not isinstance(value, Integral):
        number = to_number(value)
        text = str(int(number)) if number.is_integer() else text
    if whole := _WHOLE.fullmatch(text):
        text = whole[1]
    return "0" if text == "-0" else text
