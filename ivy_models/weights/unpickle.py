"""Reading pickled weights without running what is in them.

A pickle is a program: it may call any function it names. The published checkpoints are
pickles, of mappings and of NumPy or JAX arrays. Here a name in the file is only looked up
in a table of inert stand-ins, whose results are checked before they become arrays; so no
code runs that this module does not hold, and neither Haiku nor JAX is needed.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.errors import WeightsError

MAX_OPCODES = 1_000_000
"""Opcodes that a file may have; the published ones have a few thousand."""

_OPCODES = frozenset(
    [
        "PROTO",
        "FRAME",
        "STOP",
        "MARK",
        "MEMOIZE",
        "PUT",
        "BINPUT",
        "LONG_BINPUT",
        "GET",
        "BINGET",
        "LONG_BINGET",
        "POP",
        "POP_MARK",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "FLOAT",
        "BINFLOAT",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "SHORT_BINBYTES",
        "BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "EMPTY_LIST",
        "LIST",
        "APPEND",
        "APPENDS",
        "EMPTY_DICT",
        "DICT",
        "SETITEM",
        "SETITEMS",
        "GLOBAL",
        "STACK_GLOBAL",
        "REDUCE",
        "NEWOBJ",
        "BUILD",
    ]
)


def unpickle(path: str | Path) -> dict[str, Any]:
    """Read a pickle of nested mappings of arrays.

    Returns
    -------
    dict
        Nested dicts of NumPy arrays.

    Raises
    ------
    WeightsError
        If the file is no pickle, is broken, or holds anything else; nothing was executed.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        _check_opcodes(data)
        return _mapping(_Unpickler(io.BytesIO(data)).load(), "the file")
    except _RefusedError as error:
        raise WeightsError(f"{path} was refused: {error} Nothing in it was executed.") from None
    except Exception as error:  # a broken pickle can raise anything
        raise WeightsError(
            f"{path} is no pickle of arrays, or a broken one ({type(error).__name__}: {error}). "
            "If it was downloaded, download it again."
        ) from error


class _RefusedError(Exception):
    """The file asks for something that weights do not need."""


def _check_opcodes(data: bytes) -> None:
    """Go through the opcodes without running them."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name not in _OPCODES:
            raise _RefusedError(f"it uses the pickle opcode {opcode.name}.")
        if count >= MAX_OPCODES:
            raise _RefusedError(f"it has more than {MAX_OPCODES:,} opcodes.")
        if "PUT" in opcode.name and int(argument) >= MAX_OPCODES:
            # The unpickler would allocate that many entries.
            raise _RefusedError(f"it memorises an object at index {argument}.")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise _RefusedError(f"it asks for {module}.{name}.")
        return _STAND_INS[module, name]


# Stand-ins. Every one has __setstate__, so that the file cannot set attributes.


class _Function:
    """A function that the file may call."""

    __slots__ = ("_function",)

    def __init__(self, function):
        self._function = function

    def __call__(self, *args):
        return self._function(*args)

    def __setstate__(self, _state):
        raise _RefusedError("it changes a function.")


class _Mapping(dict):
    """Haiku's and Python's mappings."""

    __slots__ = ()

    def __setstate__(self, state):
        raise _RefusedError("it sets the state of a mapping.")


class _Dtype:
    """numpy.dtype, as far as plain numbers need it."""

    __slots__ = ("code", "order")

    def __init__(self, code, _align=False, _copy=False):
        if not isinstance(code, str) or code.lstrip("<>=|") not in _DTYPES:
            raise _RefusedError(f"it holds an array of type {code!r}.")
        self.code, self.order = code.lstrip("<>=|"), "="

    def __setstate__(self, state):
        order, subarray, names = state[1:4]
        if order not in ("<", ">", "=", "|") or subarray is not None or names is not None:
            raise _RefusedError("it holds an array of records.")
        self.order = order

    def numpy(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)


_DTYPES = frozenset(["b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))]) | {
    "f2",
    "f4",
    "f8",
}


class _Array:
    """numpy.ndarray, before it is one."""

    __slots__ = ("value",)

    def __init__(self):
        self.value = None

    def __setstate__(self, state):
        _version, shape, dtype, fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, (bytes, bytearray)):
        raise _RefusedError("it holds an array of objects.")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _RefusedError(f"it holds an array of shape {shape!r}.")
    numpy_dtype = dtype.numpy()
    if math.prod(shape) * numpy_dtype.itemsize != len(raw):
        raise _RefusedError(f"it holds an array of shape {shape} in {len(raw):,} bytes.")
    array = np.frombuffer(raw, numpy_dtype).reshape(shape, order=order)
    return np.array(array, numpy_dtype.newbyteorder("="), order="C")


def _reconstruct(_subtype, _shape, _typecode):
    return _Array()


def _frombuffer(raw, dtype, shape, order):
    array = _Array()
    array.value = _array(raw, dtype, shape, "F" if order == "F" else "C")
    return array


def _scalar(dtype, raw):
    return _frombuffer(raw, dtype, (), "C")


def _jax_array(function, arguments, state, _aval_state):
    array = function(*arguments)
    if not isinstance(array, _Array):
        raise _RefusedError("it makes a JAX array of something else.")
    array.__setstate__(state)
    return array


def _encode(text, encoding):
    if encoding != "latin1":
        raise _RefusedError(f"it encodes text as {encoding!r}.")
    return text.encode("latin1")


def _empty_bytes(*arguments):
    if arguments:
        raise _RefusedError("it makes bytes of something else.")
    return b""


_STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Mapping,
    ("_codecs", "encode"): _Function(_encode),
    ("__builtin__", "bytes"): _Function(_empty_bytes),  # how protocol 2 writes b""
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{core}.multiarray", name): _Function(function)
        for core in ("core", "_core")
        for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
    **{
        (f"numpy.{core}.numeric", "_frombuffer"): _Function(_frombuffer)
        for core in ("core", "_core")
    },
    ("jax._src.array", "_reconstruct_array"): _Function(_jax_array),
    **{
        (f"jax.{module}", name): _Function(_jax_array)
        for module in ("_src.device_array", "interpreters.xla")
        for name in ("reconstruct_device_array", "_reconstruct_device_array")
    },
    **{
        ("haiku._src.data_structures", name): _Mapping
        for name in ("FlatMapping", "FlatMap", "frozendict")
    },
}


def _mapping(value: Any, where: str, depth: int = 0) -> dict[str, Any]:
    """Stand-ins -> nested dicts of arrays, at most params/scope/name deep."""
    if not isinstance(value, dict):
        raise _RefusedError(f"{where} holds a {type(value).__name__} where weights are expected.")
    if depth > 2:
        raise _RefusedError(f"{where} is nested deeper than weights are.")
    result = {}
    for key, child in value.items():
        if not isinstance(key, str):
            raise _RefusedError(f"{where} has a name that is no text: {key!r}.")
        if isinstance(child, _Array) and child.value is not None:
            result[key] = child.value
        else:
            result[key] = _mapping(child, repr(key), depth + 1)
    return result
