"""Conversion of arrays between frameworks, and from and to ``ivy.Array``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np

from ivy_models.base.devices import parse_device
from ivy_models.errors import BackendError, InputError, not_installed
from ivy_models.ops import BACKENDS, Array, Ops, ops_for, ops_named
import ivy

_IvyArray: Any = ivy.Array  # type checkers cannot follow its annotations


def set_backend(name: str) -> None:
    """Call ``ivy.set_backend(name)``, and refuse backends that the models do not run on.

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
    """Return the operations of Ivy's backend.

    If none is set, return those of the first array that belongs to a framework, otherwise NumPy's.

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


def default_device() -> str | None:
    """The device of ``ivy.set_default_device``; None where none was set."""
    return ivy.default_device_stack[-1] if ivy.default_device_stack else None


def device_of(x: Array) -> str:
    """Name of the device of a native array, by Ivy's names of GPUs: "gpu:0"."""
    if hasattr(x, "devices"):  # an array of JAX may be on several
        device = min(x.devices(), key=lambda device: device.id)
    else:
        device = getattr(x, "place", None) or getattr(x, "device", "cpu")
    return str(parse_device(device)).replace("cuda", "gpu")


def is_on(x: Array, device: str | None) -> bool:
    """Whether a native array is on a device. Without an index it may be any of its kind."""
    if device is None:
        return True
    wanted, here = parse_device(device), parse_device(device_of(x))
    return wanted.kind == here.kind and wanted.index in (None, here.index or 0)


def unwrap(x: Any) -> Any:
    """The native array inside an ``ivy.Array``; anything else unchanged."""
    return x.data if isinstance(x, _IvyArray) else x


def to_ivy(ops: Ops, x: Array) -> ivy.Array:
    """Wrap a native array of ``ops``' framework in an ``ivy.Array``.

    Raises
    ------
    BackendError
        If Ivy's backend has been changed to another one.
    """
    try:
        array = _IvyArray(x)
    except ivy.utils.exceptions.IvyException:
        array = None
    if array is None or not ops.is_array(array.data):  # Ivy converts NumPy arrays silently
        raise BackendError(
            f"Ivy's backend was changed to {ivy.current_backend_str()!r} while a model ran on "
            f"{ops.name!r}. All threads share one backend: set it before they start, or set none, "
            "so that each call runs on the framework of its data."
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
    """Convert ``x`` to a dense native array of ``ops``' framework.

    Parameters
    ----------
    ops
        The framework to convert to.
    x
        An ``ivy.Array``, a native array of any framework, nested lists of numbers, or an object
        that NumPy can read as an array, with any byte order and strides. Data types that NumPy
        does not have, such as bfloat16, become float32 or int32.
    name
        Name of the argument, for the error.

    Raises
    ------
    InputError
        If it is not a dense array of real numbers, carries a mask or a unit that would be lost,
        or cannot leave its framework.
    """
    native = unwrap(x)
    if ops.name == "numpy" or not ops.is_array(native):
        plain = to_numpy(native, name)
        return plain if ops.name == "numpy" else ops.asarray(plain)
    _check_plain(ops, native, name)
    dtype = ops.dtype(native)
    if dtype in PLAIN_TYPES:
        return native
    return _convert(name, lambda: ops.cast(native, _plain_type(name, dtype)))


def to_numpy(x: Any, name: str) -> np.ndarray:
    """Convert ``x`` to a plain NumPy array; parameters and errors as in :func:`to_native`."""
    native = unwrap(x)
    if isinstance(native, (list, tuple)) and not _holds_numbers(native):
        # np.array would ignore the mask, unit or gradient of an array within the list.
        rows = [to_numpy(row, name) for row in native]
        return _plain_array(name, _convert(name, lambda: np.stack(rows)))
    try:
        ops = ops_for(native)
    except BackendError:
        if not hasattr(native, "__array__") and not isinstance(native, _READABLE):
            raise InputError(_refusal(name, f"a {_type_name(x)}")) from None
        _check_unit(native, name)
        return _plain_array(name, _convert(name, lambda: np.asarray(native)))
    _check_plain(ops, native, name)
    return _plain_array(name, ops.to_numpy(native))


PLAIN_TYPES = {
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("bfloat16", "float16", "float32", "float64"),
}
"""Data types that the frameworks compute with directly."""

_NARROW_TYPE = re.compile(r"float[468]_\w+|bfloat16|u?int[24]")
"""Data types that are first converted to a plain one, without loss."""

_READABLE = (Number, Sequence)
"""Types that NumPy reads without ``__array__``. It turns others into an array of objects."""


def _holds_numbers(values: Sequence[Any]) -> bool:
    """Whether nested lists hold only Python's numbers."""
    return all(
        _holds_numbers(value) if isinstance(value, (list, tuple)) else isinstance(value, Number)
        for value in values
    )


def _convert(name: str, convert: Callable[[], Any]) -> Any:
    """Run another library's conversion, which can raise anything."""
    try:
        return convert()
    except InputError:
        raise
    except Exception as error:
        got = f"a value that cannot be converted ({' '.join(str(error).split())})"
        raise InputError(_refusal(name, got)) from error


def _plain_array(name: str, given: np.ndarray) -> np.ndarray:
    """An array of NumPy's own class, in the machine's byte order, without negative strides."""
    if given.dtype.kind in "OUSTMmcV" and given.dtype.isbuiltin != 2:
        raise InputError(_refusal(name, f"an array of type {given.dtype}"))
    dtype = given.dtype.newbyteorder("=")
    if dtype == np.longdouble:
        dtype = np.dtype(np.float64)
    elif dtype.isbuiltin == 2:  # a type of ml_dtypes
        dtype = np.dtype(_plain_type(name, dtype.name))
    with np.errstate(all="ignore"):  # a number beyond float64 becomes infinity
        plain = np.asarray(given).astype(dtype, copy=False)
    if any(stride < 0 for stride in plain.strides):
        plain = plain.copy()
    if plain.dtype.itemsize == 8 and plain.dtype.kind in "iu" and plain.size:
        _check_32_bits(name, plain)
    return plain


def _check_32_bits(name: str, whole: np.ndarray) -> None:
    """Refuse whole numbers that JAX would wrap around."""
    if whole.max() > _INT32.max or whole.min() < _INT32.min:
        raise InputError(
            f"{name} has whole numbers from {whole.min()} to {whole.max()}; a model takes those "
            "of at most 32 bits."
        )


_INT32 = np.iinfo(np.int32)


def _plain_type(name: str, dtype: str) -> str:
    """The plain data type that holds every number of a narrow one."""
    if not _NARROW_TYPE.fullmatch(dtype):
        raise InputError(_refusal(name, f"an array of type {dtype}"))
    return "float32" if "float" in dtype else "int32"


def _check_plain(ops: Ops, x: Array, name: str) -> None:
    """Refuse an array that is not just dense real numbers."""
    if more := ops.more_than_numbers(x):
        raise InputError(f"{name} {more}")
    if ops.name != "numpy" and ops.dtype(x) not in PLAIN_TYPES:
        _plain_type(name, ops.dtype(x))
    _check_unit(x, name)


def _check_unit(x: Any, name: str) -> None:
    """Refuse an array with a unit, such as astropy's or pint's, which conversion would drop."""
    package = (type(x).__module__ or "").split(".")[0]
    if package in (*BACKENDS, "jaxlib", "pandas"):
        return  # a table's column may be called "unit"
    units = (getattr(x, attribute, None) for attribute in ("unit", "units"))
    unit = next((unit for unit in units if unit is not None), None)
    if unit is not None and not inspect.isroutine(unit) and str(unit) not in _NO_UNIT:
        raise InputError(
            f"{name} has a unit, {unit}, which the model does not know. Pass plain numbers in the "
            "unit that the model was trained on, such as x.value or x.magnitude."
        )


_NO_UNIT = ("", "dimensionless")
"""How units of plain numbers are written."""


def _type_name(x: Any) -> str:
    return type(x).__name__


def _refusal(name: str, got: str) -> str:
    return f"{name} must be a dense array of real numbers, got {got}."
