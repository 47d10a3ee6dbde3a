"""Checkpoints: arrays and a record of a run, in one safetensors file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ivy_models.base.atomic_files import replaced
from ivy_models.errors import TrainingError

T = TypeVar("T")

FILE = "checkpoint.safetensors"
"""Name of a checkpoint in the folder of its run."""


def save(
    folder: Path, arrays: Mapping[str, np.ndarray], run: dict[str, Any], record: dict[str, Any]
) -> None:
    """Write a checkpoint; the previous one stays intact until the new one is complete.

    Parameters
    ----------
    folder
        The folder of the run.
    arrays
        The state of the run.
    run
        What identifies the run, such as its settings; JSON.
    record
        Everything else that the run needs to continue; JSON.
    """
    # safetensors writes an array's memory and ignores its strides.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"run": as_json(run), "record": as_json(record)}
    with replaced(folder / FILE) as path:
        try:
            save_file(contiguous, path, metadata)
        except SafetensorError as error:  # it has no error number
            raise OSError(None, str(error)) from error


class Saved(NamedTuple):
    """A checkpoint, as :func:`save` wrote it."""

    arrays: dict[str, np.ndarray]
    run: dict[str, Any]
    record: dict[str, Any]


def load(folder: Path) -> Saved | None:
    """Read the checkpoint of a run's folder. None if there is none.

    Raises
    ------
    TrainingError
        If it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            run, record = (json.loads(file.metadata()[name]) for name in ("run", "record"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is not a checkpoint that can be read: {error}") from error
    return Saved(arrays, run, record)


def by_part(state: Mapping[str, T]) -> defaultdict[str, dict[str, T]]:
    """Divide a state by the first part of its names, such as "model" of "model/latents"."""
    parts: defaultdict[str, dict[str, T]] = defaultdict(dict)
    for name, value in state.items():
        part, _, name = name.partition("/")
        parts[part][name] = value
    return parts


def as_json(value: Any) -> str:
    return json.dumps(value, default=float)  # numbers of NumPy
