"""HDF5 files of weights, as ``ivy.Module.save_weights`` writes them: a group for each branch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.base.atomic_files import replaced
from ivy_models.base.paths import user_path
from ivy_models.checkpoints.files import check_size
from ivy_models.errors import BackendError, WeightsError, shown

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do, whatever its name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def read_hdf5(path: str | Path) -> dict[str, np.ndarray]:
    """Read flat weights from an HDF5 file. Links to other places or files are not followed.

    Raises
    ------
    BackendError
        If the package h5py is not installed.
    WeightsError
        If the file cannot be read, is too large, or was not written completely.
    """
    h5py = _h5py()
    check_size([path])
    arrays = {}

    def read(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = _array(path, name, item)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(read)
    except WeightsError:
        raise
    except Exception as error:  # h5py raises many kinds
        raise WeightsError(f"{path} is not a readable HDF5 file: {error}.") from error
    return arrays


def _array(path: str | Path, name: str, dataset: Any) -> np.ndarray:
    if dataset.dtype.kind != "f" or dataset.is_virtual or dataset.external:
        raise WeightsError(
            f"{path}: {shown(name)} must be floats that are stored in this file itself, not other "
            "numbers or a link to another file."
        )
    # An interrupted write leaves numbers out, which would be read as zeros.
    if dataset.id.get_storage_size() < dataset.nbytes:
        raise WeightsError(
            f"{path}: {shown(name)} is compressed, or was not written completely. Save it again, "
            "without compression."
        )
    return dataset[()]


def write_hdf5(path: str | Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write flat weights to an HDF5 file. An older file is replaced when the new one is complete.

    Raises
    ------
    BackendError
        If the package h5py is not installed.
    WeightsError
        If the file cannot be written.
    """
    h5py, path = _h5py(), user_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary, h5py.File(temporary, "w") as file:
            for name, array in weights.items():
                file[name] = array
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error}.") from error


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise BackendError(
            f"HDF5 files need a package that is not installed: {error}. Install it: "
            "pip install h5py"
        ) from error
    return h5py
