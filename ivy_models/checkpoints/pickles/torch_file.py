"""Reads files of tensors that ``torch.save`` wrote, without torch: zip files with a pickle."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivy_models.checkpoints.files import RefusedError, check_size
from ivy_models.checkpoints.folder import from_bfloat16
from ivy_models.checkpoints.pickles.machine import Machine, StandIn, Stateful, mapping_of
from ivy_models.checkpoints.pickles.unpickle import check_shape
from ivy_models.errors import WeightsError, shown

_DTYPES = {
    "BoolStorage": "?",
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "i2",
    "IntStorage": "i4",
    "LongStorage": "i8",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",  # the bits
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
}

_OLD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files that torch wrote before version 1.6, which are several pickles in a row."""

_HOW_TO_CONVERT = (
    "If it is a whole module or a checkpoint of training that you trust, write its weights alone: "
    'torch.save(module.state_dict(), "weights.pt"), or torch.save(torch.load(path)["state_dict"], '
    '"weights.pt").'
)


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """Read a mapping of tensors. bfloat16, which NumPy lacks, becomes float32.

    This takes at most a few times the file's size in memory.

    Raises
    ------
    WeightsError
        If it is not a zip file of torch 1.6 or newer, is broken or too large, or holds anything
        but tensors. Nothing in it is executed.
    """
    num_bytes = check_size([path])
    try:
        with path.open("rb") as file:
            if file.read(len(_OLD)) == _OLD:
                raise RefusedError(
                    "it has the format of torch before version 1.6; convert it with "
                    "torch.save(torch.load(path, weights_only=True), path)"
                )
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive, num_bytes).tensors()
    except Exception as error:  # a broken file can raise anything
        what = f"{type(error).__name__}: {shown(str(error))}"
        if isinstance(error, RefusedError):
            what = str(error)
        raise WeightsError(
            f"{path} is not a file of tensors alone, or is broken; nothing in it was executed "
            f"({what}). {_HOW_TO_CONVERT}"
        ) from error


class _StateDict(dict, Stateful):
    """collections.OrderedDict. Its state is torch's metadata of modules, which is not needed."""

    def __init__(self, items=()):
        super().__init__(mapping_of(items))

    def set_state(self, state):
        pass


class _Kind(NamedTuple):
    """A class of storages. The file refers to it, but does not call it."""

    name: str


class _Storage(NamedTuple):
    """The numbers that tensors are views of."""

    kind: _Kind
    numbers: np.ndarray


class _Tensor:
    """A view of a storage."""

    def __init__(self, storage, offset, shape, strides, *_):
        if not isinstance(storage, _Storage):
            raise RefusedError("it holds a tensor without a storage.")
        check_shape(shape)
        check_shape(strides)
        check_shape((offset,))
        steps = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        size, available = math.prod(shape), len(storage.numbers)
        if (size and offset + steps >= available) or size > available:
            raise RefusedError(
                f"it holds a tensor of shape {shown(shape)}, but only {available} numbers for it."
            )
        self.storage, self.shape = storage, shape
        self._offset, self._strides = offset, strides

    @property
    def view(self) -> tuple:
        """What the tensor is a view of, and which."""
        return id(self.storage), self._offset, tuple(self.shape), tuple(self._strides)

    def array(self) -> np.ndarray:
        numbers = self.storage.numbers[self._offset :]
        strides = [step * numbers.itemsize for step in self._strides]
        if 0 in self.shape:
            view = np.zeros(self.shape, numbers.dtype)
        else:  # __init__ checked that this is within the storage
            view = np.lib.stride_tricks.as_strided(numbers, self.shape, strides)
        array = np.array(view, numbers.dtype.newbyteorder("="), order="C")
        return from_bfloat16(array) if self.storage.kind.name == "BFloat16Storage" else array


def _parameter(tensor, *_):
    return tensor


_STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): StandIn(_StateDict),
    ("torch._utils", "_rebuild_tensor_v2"): StandIn(_Tensor),
    ("torch._utils", "_rebuild_parameter"): StandIn(_parameter),
    **{("torch", name): _Kind(name) for name in _DTYPES},
}


class _Archive:
    """A zip file whose contents are checked to be no larger than the file.

    Parameters
    ----------
    archive
        The file.
    num_bytes
        Size of the file, an upper bound on the bytes of all tensors.
    """

    def __init__(self, archive: zipfile.ZipFile, num_bytes: int):
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise RefusedError("it is compressed, which torch does not do.")
        if sum(entry.file_size for entry in entries) > num_bytes:
            raise RefusedError("its entries have more bytes than the file.")
        (pickled,) = (name for name in archive.namelist() if name.split("/", 1)[-1] == "data.pkl")
        self._folder = pickled.removesuffix("data.pkl")
        self._archive, self._num_bytes = archive, num_bytes
        self._storages: dict[str, _Storage] = {}
        self._order = "<"
        if f"{self._folder}byteorder" in archive.namelist():
            self._order = {b"little": "<", b"big": ">"}[self._read("byteorder")]

    def _read(self, name: str) -> bytes:
        return self._archive.read(self._folder + name)

    def tensors(self) -> dict[str, np.ndarray]:
        machine = Machine(_STAND_INS, self._storage)
        content = machine.run(self._read("data.pkl"))
        if not isinstance(content, dict) or not all(
            isinstance(tensor, _Tensor) for tensor in content.values()
        ):
            names = f" with the names {shown(list(content))}" if isinstance(content, dict) else ""
            raise RefusedError(
                f"it holds a {type(content).__name__.strip('_')}{names}, not a mapping of tensors"
            )
        views = {tensor.view: tensor for tensor in content.values()}  # tied weights are one view
        total = sum(
            math.prod(tensor.shape) * tensor.storage.numbers.itemsize for tensor in views.values()
        )
        if total > self._num_bytes:
            raise RefusedError("its tensors have more bytes than the file.")
        arrays = {view: tensor.array() for view, tensor in views.items()}
        return {name: arrays[tensor.view] for name, tensor in content.items()}

    def _storage(self, reference: Any) -> _Storage:
        what, kind, key, _device, _num_numbers = reference
        if what != "storage" or not isinstance(kind, _Kind) or not isinstance(key, str):
            raise RefusedError("it refers to something that is not a storage.")
        if key not in self._storages:
            dtype = np.dtype(self._order + _DTYPES[kind.name])
            self._storages[key] = _Storage(kind, np.frombuffer(self._read(f"data/{key}"), dtype))
        return self._storages[key]
