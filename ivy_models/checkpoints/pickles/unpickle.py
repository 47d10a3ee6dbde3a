"""Reads pickled weights without running code from the file.

A pickle is a program: it may call any function that it names. The published checkpoints are
pickles of mappings and of NumPy or JAX arrays. Here a name in the file is only looked up in a
table of inert stand-ins, and their results are checked before they become arrays. So only code of
this library runs, and neither Haiku nor JAX is needed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.checkpoints.files import RefusedError, check_size
from ivy_models.checkpoints.pickles import machine as pickle_machine
from ivy_models.checkpoints.pickles.machine import Machine, StandIn, Stateful, mapping_of
from ivy_models.errors import WeightsError, shown


def unpickle(path: str | Path) -> dict[str, Any]:
    """Read a pickle of nested mappings of arrays.

    This takes at most a few times the file's size in memory.

    Returns
    -------
    dict
        Nested dicts of NumPy arrays.

    Raises
    ------
    WeightsError
        If the file is not a pickle, is broken or too large, or holds anything but arrays. Nothing
        in it is executed.
    """
    path = Path(path)
    check_size([path])
    try:
        return read_pickle(path.read_bytes())
    except RefusedError as error:
        raise WeightsError(f"{path} was refused: {error} Nothing in it was executed.") from None
    except Exception as error:  # a broken pickle can raise anything
        raise WeightsError(
            f"{path} is not a pickle of arrays, or is broken ({type(error).__name__}: "
            f"{shown(str(error))}). If it was downloaded, download it again."
        ) from error


def read_pickle(data: bytes) -> dict[str, Any]:
    """Read a pickle's bytes.

    Raises
    ------
    RefusedError
        If it holds anything but mappings of arrays.
    Exception
        Of any type, if the pickle is broken.
    """
    return _Mappings(len(data)).read(Machine(_STAND_INS).run(data), "the file")


class _Dtype(Stateful):
    """Stand-in for numpy.dtype that accepts plain numbers only."""

    def __init__(self, code, _align=False, _copy=False):
        if not isinstance(code, str) or code.lstrip("<>=|") not in _DTYPES:
            raise RefusedError(f"it holds an array of type {shown(code)}.")
        self.code, self.order = code.lstrip("<>=|"), "="

    def set_state(self, state):
        order, subarray, names = state[1:4]
        if order not in ("<", ">", "=", "|") or subarray is not None or names is not None:
            raise RefusedError("it holds an array of records.")
        self.order = order

    def numpy(self) -> np.dtype:
        return np.dtype(f"{self.order}{self.code}")


_DTYPES = frozenset(["b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))]) | {
    "f2",
    "f4",
    "f8",
}


class _Latin1:
    """Bytes as protocol 2 writes them: text with one character for each byte."""

    def __init__(self, text, encoding):
        if encoding != "latin1" or not isinstance(text, str):
            raise RefusedError(f"it encodes text as {shown(encoding)}.")
        self.text = text

    def __len__(self):
        return len(self.text)


class _Array(Stateful):
    """Stand-in for numpy.ndarray. Bytes are copied only after all sizes were checked."""

    def __init__(self, raw=None, dtype=None, shape=None, order="C"):
        self._array = None
        if dtype is not None:
            self._describe(raw, dtype, shape, order)

    def set_state(self, state):
        _version, shape, dtype, fortran, raw = state
        self._describe(raw, dtype, shape, "F" if fortran else "C")

    def _describe(self, raw: Any, dtype: Any, shape: Any, order: Any) -> None:
        if not isinstance(dtype, _Dtype) or not isinstance(raw, (bytes, bytearray, _Latin1)):
            raise RefusedError("it holds an array of objects.")
        check_shape(shape)
        if math.prod(shape) * dtype.numpy().itemsize != len(raw):
            raise RefusedError(
                f"it holds an array of shape {shown(shape)}, but {len(raw):,} bytes for it."
            )
        self._raw, self._dtype, self._shape, self._order = raw, dtype.numpy(), shape, order

    def array(self, spend) -> np.ndarray:
        if self._array is None:
            spend(len(self._raw))
            raw = self._raw.text.encode("latin1") if isinstance(self._raw, _Latin1) else self._raw
            array = np.frombuffer(raw, self._dtype).reshape(self._shape, order=self._order)
            self._array = np.array(array, self._dtype.newbyteorder("="), order="C")
        return self._array


def check_shape(shape: Any) -> None:
    """Check that a shape is a tuple of sizes that NumPy accepts.

    Raises
    ------
    RefusedError
        If it is not.
    """
    if (
        not isinstance(shape, tuple)
        or len(shape) > 64
        or not all(type(n) is int and 0 <= n < 2**63 for n in shape)
    ):
        raise RefusedError(f"it holds an array of shape {shown(shape)}.")


def _mapping(items=()):
    """Stand-in for Haiku's and Python's mappings."""
    return mapping_of(items.items() if isinstance(items, dict) else items)


def _reconstruct(_subtype, _shape, _typecode):
    return _Array()


def _frombuffer(raw, dtype, shape, order):
    return _Array(raw, dtype, shape, "F" if order == "F" else "C")


def _scalar(dtype, raw):
    return _Array(raw, dtype, ())


def _jax_array(function, arguments, state, _aval_state):
    array = function.make(*arguments)
    if not isinstance(array, _Array):
        raise RefusedError("it makes a JAX array from something that is not an array.")
    array.set_state(state)
    return array


def _empty_bytes(*arguments):
    if arguments:
        raise RefusedError("it makes bytes from something else.")
    return b""


_STAND_INS: dict[tuple[str, str], StandIn] = {
    ("collections", "OrderedDict"): StandIn(_mapping),
    ("_codecs", "encode"): StandIn(_Latin1),
    ("__builtin__", "bytes"): StandIn(_empty_bytes),  # how protocol 2 writes b""
    ("numpy", "ndarray"): StandIn(_Array),
    ("numpy", "dtype"): StandIn(_Dtype),
    **{
        (f"numpy.{core}.multiarray", name): StandIn(function)
        for core in ("core", "_core")
        for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
    **{
        (f"numpy.{core}.numeric", "_frombuffer"): StandIn(_frombuffer) for core in ("core", "_core")
    },
    ("jax._src.array", "_reconstruct_array"): StandIn(_jax_array),
    **{
        (f"jax.{module}", name): StandIn(_jax_array)
        for module in ("_src.device_array", "interpreters.xla")
        for name in ("reconstruct_device_array", "_reconstruct_device_array")
    },
    **{
        ("haiku._src.data_structures", name): StandIn(_mapping)
        for name in ("FlatMapping", "FlatMap", "frozendict")
    },
}


class _Mappings:
    """Converts stand-ins to nested dicts of arrays, at most params/scope/name deep.

    A file can refer to one array many times, so the arrays together could be far larger than it.

    Parameters
    ----------
    num_bytes
        Upper bound on the bytes of all arrays.
    """

    def __init__(self, num_bytes: int):
        self._bytes, self._names = num_bytes, pickle_machine.MAX_OPCODES

    def read(self, value: Any, where: str, depth: int = 0) -> dict[str, Any]:
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise RefusedError(f"{where} holds a {kind} where weights are expected.")
        if depth > 2:
            raise RefusedError(f"{where} is nested deeper than weights are.")
        self._names -= len(value)
        if self._names < 0:
            raise RefusedError(f"it has more than {pickle_machine.MAX_OPCODES:,} names.")
        return {
            name: child.array(self._spend)
            if isinstance(child, _Array)
            else self.read(child, shown(name), depth + 1)
            for name, child in value.items()
        }

    def _spend(self, num_bytes: int) -> None:
        self._bytes -= num_bytes
        if self._bytes < 0:
            raise RefusedError("its arrays have more bytes than the file.")
