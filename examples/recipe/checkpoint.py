"""Checkpoints: a state and the settings of its run, in one safetensors file."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from recipe.trainer import Settings


class CheckpointError(Exception):
    """A checkpoint from which this run cannot continue."""


def save(path: Path, state: dict[str, np.ndarray], settings: Settings) -> None:
    """Write a checkpoint; the previous one stays intact until the new one is complete."""
    temporary = path.with_suffix(".writing")
    # safetensors writes an array's memory and ignores its strides.
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    save_file(arrays, temporary, {"settings": json.dumps(asdict(settings))})
    os.replace(temporary, path)


def load(path: Path, settings: Settings) -> dict[str, np.ndarray]:
    """Read a checkpoint of a run with these settings.

    Raises
    ------
    CheckpointError
        If its settings differ.
    """
    with safe_open(path, "numpy") as file:
        saved = json.loads(file.metadata()["settings"])
        differing = [
            f"{name} is {saved.get(name)} there and {value} here"
            for name, value in asdict(settings).items()
            if saved.get(name) != value
        ]
        if differing:
            raise CheckpointError(
                f"{path} belongs to another run: {', '.join(differing)}. Use the same options, or "
                "another --output."
            )
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
