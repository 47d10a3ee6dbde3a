"""Checkpoints: arrays and a record of a run, in one safetensors file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ivy_models.base.atomic_files import replaced
from ivy_models.errors import TrainingError, shown

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
    metadata = {"run": _json(run), "record": _json(record)}
    with replaced(folder / FILE) as path:
        try:
            save_file(contiguous, path, metadata)
        except SafetensorError as error:  # it has no error number
            raise OSError(None, str(error)) from error


def load(folder: Path, run: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read the checkpoint of a run.

    Parameters
    ----------
    folder
        The folder of the run.
    run
        What identifies the run.

    Returns
    -------
    tuple or None
        The arrays and the record. None if there is no checkpoint.

    Raises
    ------
    TrainingError
        If the checkpoint is of another run, or cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            saved, record = (json.loads(file.metadata()[name]) for name in ("run", "record"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is not a checkpoint that can be read: {error}") from error
    differing = [
        _difference(name, saved.get(name), value)
        for name, value in json.loads(_json(run)).items()
        if saved.get(name) != value
    ]
    if differing:
        raise TrainingError(
            f"{path} belongs to another run: {', '.join(differing)}. Use the same settings and "
            "data, or another folder."
        )
    return arrays, record


def _difference(name: str, there: Any, here: Any) -> str:
    there, here = shown(there), shown(here)
    return f"{name} is {there} there and {here} here" if there != here else f"{name} is another"


def by_part(state: Mapping[str, T]) -> defaultdict[str, dict[str, T]]:
    """Divide a state by the first part of its names, such as "model" of "model/latents"."""
    parts: defaultdict[str, dict[str, T]] = defaultdict(dict)
    for name, value in state.items():
        part, _, name = name.partition("/")
        parts[part][name] = value
    return parts


def _json(value: Any) -> str:
    return json.dumps(value, default=float)  # numbers of NumPy
