"""Validators of the fields of frozen dataclasses: (name, value) -> the value to store."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, TypeVar

from ivy_models.errors import SpecError, did_you_mean, shown

C = TypeVar("C")

Validator = Callable[[str, Any], Any]
"""Takes a field's name and value, and returns the value to store or raises SpecError."""


def check_fields(instance: Any, **validators: Validator) -> None:
    """Check every field of a frozen dataclass, and store the value that its validator returns.

    Parameters
    ----------
    instance
        The dataclass.
    validators
        One for each field, by the field's name.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """
    for field in fields(instance):
        checked = validators[field.name](field.name, getattr(instance, field.name))
        object.__setattr__(instance, field.name, checked)


def named_fields(cls: type[C]) -> type[C]:
    """Make a dataclass suggest a name if its constructor gets one that is not a field's.

    The class attribute ``OTHER_NAMES``, if there is one, maps names of other libraries to fields.
    """
    init = cls.__init__

    @functools.wraps(init)
    def checked_init(self: C, *values: Any, **named: Any) -> None:
        check_field_names(cls, named)
        init(self, *values, **named)

    setattr(cls, "__init__", checked_init)  # noqa: B010  type checkers read the dataclass's own
    return cls


def check_field_names(cls: Any, given: Iterable[str], others: Iterable[str] = ()) -> None:
    """Check that a dataclass has all fields of these names.

    Parameters
    ----------
    cls
        The dataclass.
    given
        The names.
    others
        Other names that the caller accepts, to suggest for a misspelt name.

    Raises
    ------
    SpecError
        If there is no such field.
    """
    names = [field.name for field in fields(cls) if field.init]
    for name in given:
        if name not in names:
            known = getattr(cls, "OTHER_NAMES", {}).get(name, name)
            advice = did_you_mean(known, [*names, *others])
            raise SpecError(f"{cls.__name__} has no field {shown(name)}. {advice}")


class FieldMapping(Mapping[str, Any]):
    """Lets the fields of a frozen dataclass be read as of a mapping from their names."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._names():
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)  # refuses, as the dataclass is frozen

    def _names(self) -> list[str]:
        instance: Any = self
        return [field.name for field in fields(instance)]


def optional(validator: Validator) -> Validator:
    """Accept None as well."""
    return lambda name, value: None if value is None else validator(name, value)


def positive_int(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise SpecError(f"{name} must be an integer of at least 1, got {value!r}.")
    return int(value)


def count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise SpecError(f"{name} must be an integer of at least 0, got {value!r}.")
    return int(value)


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{name} must be True or False, got {value!r}.")
    return value


def number(name: str, value: Any) -> Real:
    try:
        if not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value):
            return value
    except OverflowError:  # an integer too large for a float
        pass
    raise SpecError(f"{name} must be a finite number, got {value!r}.")


def positive_number(name: str, value: Any) -> Real:
    if number(name, value) <= 0:
        raise SpecError(f"{name} must be above 0, got {value!r}.")
    return value


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError(f"{name} must be a string, got {value!r}.")
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Accept a list of strings."""
    if not _is_list(value):
        raise SpecError(f"{name} must be a list of strings, got {value!r}.")
    return tuple(text(f"each of {name}", each) for each in value)


def one_of(choices: Sequence[str]) -> Validator:
    """Accept one of these strings."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise SpecError(
                f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}."
            )
        return value

    return check


def sizes(name: str, value: Any) -> tuple[int, ...]:
    """Accept a list of at least one integer."""
    if not _is_list(value) or not value:
        raise SpecError(f"{name} must be a list of integers, got {value!r}.")
    return tuple(positive_int(f"each size of {name}", size) for size in value)


def axes(name: str, value: Any) -> tuple[int, ...]:
    """Accept a list of integers, which can be empty."""
    return () if _is_list(value) and not value else sizes(name, value)


def numbers(validator: Validator) -> Validator:
    """Accept one number or a list of numbers."""

    def check(name: str, value: Any) -> Real | tuple[Real, ...]:
        if _is_list(value):
            return tuple(validator(f"each number of {name}", each) for each in value)
        return validator(name, value)

    return check


def ranges(name: str, value: Any) -> tuple:
    """Accept a pair of a lowest and a highest number, or a list of pairs."""
    if _is_list(value) and any(map(_is_list, value)):
        return tuple(_range(f"each pair of {name}", each) for each in value)
    return _range(name, value)


def _range(name: str, value: Any) -> tuple[Real, Real]:
    if not _is_list(value) or len(value) != 2:
        raise SpecError(f"{name} must be a pair (lowest, highest) of numbers, got {value!r}.")
    low, high = (number(f"each number of {name}", each) for each in value)
    if not low < high:
        raise SpecError(
            f"{name} must be a pair (lowest, highest) with lowest < highest, got {value!r}."
        )
    return low, high


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
