"""Detects methods and functions of the original code that another package has replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

# torch and transformers add functions to each other's classes; the standard library makes wrappers.
_HOMES = {
    "torch",
    "transformers",
    "perceiver_pytorch",
    "einops",
    "typing_extensions",
} | sys.stdlib_module_names

# Classes of other callable objects. unittest.mock is not among them: its objects replace functions.
_HOMES_OF_OBJECTS = {"torch", "transformers", "builtins", "collections", "functools"} | {
    "types",
    "typing",
    "typing_extensions",
}

_INNER = ("__wrapped__", "__func__", "func")
"""Attributes for the function inside a wrapper, a bound method and a ``functools.partial``."""


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
    """The name of a function or class of a module that another package has replaced."""
    for name in function_names(namespace):
        if not _is_original(namespace[name]):
            return f"{namespace['__name__']}.{name}"
    return None


def function_names(namespace: Mapping[str, Any]) -> list[str]:
    """The names of a module's functions and classes."""
    # torch.compile adds functions whose names begin with two underscores.
    return [
        name for name, value in namespace.items() if callable(value) and not name.startswith("__")
    ]


def _functions(value: Any) -> Iterator[Any]:
    """The functions that an attribute of a class calls."""
    if isinstance(value, property):
        yield from (function for function in (value.fget, value.fset) if function is not None)
    elif isinstance(value, (staticmethod, classmethod)):
        yield value.__func__
    elif callable(value) and not isinstance(value, type):
        yield value


def _is_original(function: Any) -> bool:
    """Whether a function, and each that it wraps, is of the packages that made the model."""
    # Not by __module__, which functools.wraps copies from the wrapped function.
    if isinstance(function, FunctionType):
        home = _package(function.__globals__.get("__name__", "")) in _HOMES
    elif isinstance(function, type):
        return _package(function.__module__) in _HOMES
    else:
        home = _package(type(function).__module__) in _HOMES_OF_OBJECTS
    return home and all(_is_original(inner) for inner in _inner_functions(function))


def _inner_functions(function: Any) -> Iterator[Any]:
    for name in _INNER:
        if callable(inner := getattr(function, name, None)):
            yield inner


def _package(module: str) -> str:
    return module.partition(".")[0]
