"""Arrays of any framework, in and out of the one that Ivy is set to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ivy_models.errors import BackendError, InputError, not_installed
from ivy_models.ops import BACKENDS, Array, Ops, ops_for, ops_named
import ivy


def set_backend(name: str) -> None:
    """Do ``ivy.set_backend(name)``, refusing what the models do not run on.

    Raises
    ------
    BackendError
        If there is no such backend, or a package that it needs is not installed.
    """
    ops_named(name)
    try:
        ivy.set_backend(name)
    except ImportError as error:
        raise not_installed(f"Ivy's {name} backend needs", error, name) from error


def current_ops(*arrays: Any) -> Ops:
    """Operations of the backend that Ivy is set to.

    Where none is set: of the framework of the first array that has one, else NumPy.

    Raises
    ------
    BackendError
        If Ivy is set to a backend that this library has no operations for.
    """
    name = ivy.current_backend_str()
    if name and name not in BACKENDS:
        raise BackendError(
            f"Ivy is set to the backend {name!r}; the models run on {', '.join(BACKENDS)}. "
            'Choose one with ivy.set_backend("numpy").'
        )
    if name:
        return ops_named(name)
    for array in map(unwrap, arrays):
        try:
            return ops_for(array)
        except BackendError:
            continue
    return ops_named("numpy")


def unwrap(x: Any) -> Any:
    """The native array inside an ``ivy.Array``; anything else as it is."""
    return x.data if isinstance(x, ivy.Array) else x


def to_ivy(ops: Ops, x: Array) -> ivy.Array:
    """A native array of ``ops``' framework as an ``ivy.Array``.

    Raises
    ------
    BackendError
        If Ivy's backend is another one by now.
    """
    try:
        array = ivy.Array(x)
    except ivy.utils.exceptions.IvyException:
        array = None
    if array is None or not ops.is_array(array.data):  # Ivy converts arrays of NumPy in silence
        raise BackendError(
            f"Ivy's backend was changed to {ivy.current_backend_str()!r} while a model ran on "
            f"{ops.name!r}. It is one for all threads: set it before they start, or set none, so "
            "that each call runs on the framework of its data."
        )
    return array


def unwrap_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The native arrays of an ``ivy.Container``, as nested dicts."""
    # Every call of a model does this: Ivy's own attribute access takes twice as long.
    return {
        key: object.__getattribute__(value, "data")
        if isinstance(value, ivy.Array)
        else unwrap_tree(value)
        if isinstance(value, Mapping)
        else value
        for key, value in tree.items()
    }


def to_native(ops: Ops, x: Any, name: str) -> Array:
    """Convert ``x`` to a native array of ``ops``' framework.

    Parameters
    ----------
    ops
        The framework to convert to.
    x
        An ``ivy.Array``, a native array of any framework, a NumPy array, or nested lists
        of numbers.
    name
        What the caller calls it, for the error.

    Raises
    ------
    InputError
        If it is no array of numbers, or cannot leave its framework.
    """
    native = unwrap(x)
    if ops.is_array(native) and ops.name != "numpy":
        return native
    try:
        array = ops_for(native).to_numpy(native)
    except BackendError:
        try:
            array = np.asarray(native)
        except ValueError:  # ragged lists
            array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} is an array of numbers, got a {type(x).__name__}.")
    return array if ops.is_array(array) else ops.asarray(array)
