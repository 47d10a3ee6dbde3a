"""This library's own format: a folder with the spec as JSON and the weights as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ivy_models.errors import WeightsError
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

SPEC_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def write_native(
    folder: str | Path, spec: PerceiverIOSpec, weights: Mapping[str, np.ndarray]
) -> None:
    """Write a model's spec and flat weights into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(save(dict(weights)))
    (folder / SPEC_FILE).write_text(spec.to_json() + "\n")


def read_spec(folder: str | Path) -> PerceiverIOSpec:
    """Read the spec of a folder that :func:`write_native` wrote."""
    path = Path(folder) / SPEC_FILE
    try:
        return PerceiverIOSpec.from_json(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}.") from error


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read flat weights from a safetensors file.

    Raises
    ------
    WeightsError
        If it is no safetensors file, or a broken one.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is no safetensors file, or a broken one ({error}). "
            "If it was downloaded, download it again."
        ) from error
