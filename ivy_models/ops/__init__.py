"""The operations that models need, with one class per framework.

A framework is imported only when its operations are requested. The framework of an array is
searched only among those already imported.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

from ivy_models.errors import BackendError, not_installed
from ivy_models.ops.base import Array, Ops, is_known, is_shape

__all__ = [
    "BACKENDS",
    "Array",
    "Ops",
    "is_known",
    "is_shape",
    "ops_for",
    "ops_named",
    "register_type",
]

_CLASSES = {
    "numpy": "NumpyOps",
    "torch": "TorchOps",
    "jax": "JaxOps",
    "tensorflow": "TensorflowOps",
    "paddle": "PaddleOps",
}
"""The class of each backend, in the module ``ivy_models.ops.<backend>_ops``."""

BACKENDS = tuple(_CLASSES)
"""The frameworks that have native operations."""

_ops_of_type: dict[type, Ops] = {}


@cache
def ops_named(name: str) -> Ops:
    """Return the operations of one framework.

    Parameters
    ----------
    name
        One of ``BACKENDS``.

    Raises
    ------
    BackendError
        If there is no such backend, or its framework is not installed.
    """
    if name not in _CLASSES:
        raise BackendError(f"There is no backend {name!r}; the backends are {', '.join(BACKENDS)}.")
    try:
        module = importlib.import_module(f"ivy_models.ops.{name}_ops")
    except ImportError as error:
        raise not_installed(f"The {name} backend needs", error, name) from error
    return getattr(module, _CLASSES[name])()


def ops_for(x: Any) -> Ops:
    """Return the operations for an array, by its type.

    Raises
    ------
    BackendError
        If the array belongs to no known framework.
    """
    ops = _ops_of_type.get(type(x))
    if ops is None:
        ops = _ops_of_type[type(x)] = _find_ops(x)
    return ops


def register_type(array_type: type, ops: Ops) -> None:
    """Register operations for :func:`ops_for`, for a type of arrays that no framework has."""
    _ops_of_type[array_type] = ops


def _find_ops(x: Any) -> Ops:
    for name in _CLASSES:
        if name in sys.modules and ops_named(name).is_array(x):
            return ops_named(name)
    raise BackendError(f"Expected an array of {', '.join(BACKENDS)}, got {type(x).__name__}.")
