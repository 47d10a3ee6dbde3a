"""Validators of the fields of columns; see :mod:`ivy_models.base.fields`."""

from __future__ import annotations

from typing import Any

from ivy_models.base.fields import Validator, number, texts
from ivy_models.errors import SpecError

MAX_EDGES = 65
"""Upper bound on the edges of a number's ranges."""


def edges(name: str, value: Any) -> tuple[float, ...]:
    edges = tuple(float(number(f"each of {name}", edge)) for edge in items(name, value))
    if not 1 <= len(edges) <= MAX_EDGES or list(edges) != sorted(set(edges)):
        raise SpecError(f"{name} must be 1 to {MAX_EDGES} increasing numbers, got {value!r}.")
    return edges


def items(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise SpecError(f"{name} must be a list, got {value!r}.")
    return tuple(value)


def categories(name: str, value: Any) -> tuple[str, ...]:
    categories = texts(name, value)
    if not categories or len(set(categories)) < len(categories):
        raise SpecError(f"{name} must be different texts, at least one, got {value!r}.")
    return categories


def instance(kind: type) -> Validator:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise SpecError(f"{name} must be of type {kind.__name__}, got {value!r}.")
        return value

    return check
