"""Detects methods and functions of transformers that another package has replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

# torch and transformers add functions to each other's classes; the standard library makes wrappers.
_HOMES = {"torch", "transformers"} | sys.stdlib_module_names


def replaced_method(kind: type) -> str | None:
    """The name of a method of a class that another package has replaced, if there is one."""
    if _package(kind.__module__) not in _HOMES:
        return kind.__qualname__
    for name, value in vars(kind).items():
        for function in _functions(value):
            if not _is_original(function):
                return f"{kind.__qualname__}.{name}"
    return None


def replaced_function(namespace: Mapping[str, Any]) -> str | None:
    """The name of a function of a module of transformers that another package has replaced."""
    for name, value in namespace.items():
        if isinstance(value, FunctionType) and not _is_original(value):
            return f"{namespace['__name__']}.{name}"
    return None


def _functions(value: Any) -> Iterator[Any]:
    """The functions that an attribute of a class calls."""
    if isinstance(value, property):
        yield from (function for function in (value.fget, value.fset) if function is not None)
    elif isinstance(value, (staticmethod, classmethod)):
        yield value.__func__
    elif callable(value) and not isinstance(value, type):
        yield value


def _is_original(function: Any) -> bool:
    # Not by __module__, which functools.wraps copies from the wrapped function.
    return (
        isinstance(function, FunctionType)
        and _package(function.__globals__.get("__name__", "")) in _HOMES
    )


def _package(module: str) -> str:
    return module.partition(".")[0]
