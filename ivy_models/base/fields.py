"""Checks of a spec's fields, chosen by annotation: (name, value) -> the value to store."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from ivy_models.errors import SpecError

Check = Callable[[str, Any], Any]

Count = int
"""Annotation for an integer of at least 0; ``int`` means at least 1."""


def check_fields(instance: Any, more_checks: Mapping[str, Check] | None = None) -> None:
    """Check every field of a frozen dataclass, and store the value that its check returns.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """
    checks: dict[str, Check] = CHECKS | dict(more_checks or {})
    for field in fields(instance):
        checked = checks[str(field.type)](field.name, getattr(instance, field.name))
        object.__setattr__(instance, field.name, checked)


def _positive_int(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise SpecError(f"{name} is a whole number of at least 1, got {value!r}.")
    return int(value)


def _count(name: str, value: Any) -> int:
    return 0 if value == 0 and not isinstance(value, bool) else _positive_int(name, value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{name} is True or False, got {value!r}.")
    return value


def _number(name: str, value: Any) -> Real:
    try:
        if not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value):
            return value
    except OverflowError:  # an integer too large for a float
        pass
    raise SpecError(f"{name} is a finite number, got {value!r}.")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError(f"{name} is text, got {value!r}.")
    return value


def _sizes(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        raise SpecError(f"{name} is a list of whole numbers, got {value!r}.")
    return tuple(_positive_int(f"each size of {name}", size) for size in value)


def _resolution(name: str, value: Any) -> Real | tuple[Real, ...]:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(_above_zero(f"each number of {name}", v) for v in value)
    return _above_zero(name, value)


def _above_zero(name: str, value: Any) -> Real:
    if _number(name, value) <= 0:
        raise SpecError(f"{name} is above 0, got {value!r}.")
    return value


def _optional(check):
    return lambda name, value: None if value is None else check(name, value)


CHECKS: dict[str, Check] = {
    "int": _positive_int,
    "Count": _count,
    "int | None": _optional(_positive_int),
    "bool": _flag,
    "float": _number,
    "float | None": _optional(_number),
    "str": _text,
    "str | None": _optional(_text),
    "Sequence[int]": _sizes,
    "Sequence[int] | None": _optional(_sizes),
    "float | Sequence[float] | None": _optional(_resolution),
}
