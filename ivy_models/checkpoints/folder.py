"""This library's own format: a folder with the spec as JSON and the weights as safetensors."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import deserialize, safe_open
from safetensors.numpy import save

from ivy_models.base.atomic_files import write_files
from ivy_models.base.paths import user_path
from ivy_models.checkpoints.attributes import attributes_from_json
from ivy_models.checkpoints.files import check_size, parse_json, read_json_bytes
from ivy_models.errors import SpecError, WeightsError, shown
from ivy_models.layers.parameters import Tree
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

SPEC_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

TASK = "task"
"""Key of the labels, preprocessing and tokenizer, beside the spec's fields."""

TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
"""Data types that are read, by their names in safetensors."""

_CONFIG_DIGEST = "config_sha256"


def write_native(
    folder: str | Path,
    spec: PerceiverIOSpec,
    weights: Mapping[str, np.ndarray],
    task: Mapping[str, Any] | None = None,
) -> None:
    """Write a model's spec and flat weights into a folder.

    Each file is complete before it gets its name, and the weights record which spec they
    belong to. After an interrupted write, reading gives the old model or an error.

    Parameters
    ----------
    folder
        Created if it does not exist. A model in it is replaced.
    spec
        The model's description.
    weights
        Arrays by name.
    task
        Labels, preprocessing and tokenizer as JSON values.

    Raises
    ------
    WeightsError
        If the folder cannot be written.
    """
    folder = user_path(folder)
    config = config_text(spec, task).encode()
    # safetensors writes an array's memory and ignores its strides.
    arrays = {name: np.asarray(array, order="C") for name, array in weights.items()}
    content = save(arrays, {_CONFIG_DIGEST: _digest(config)})
    try:
        write_files(folder, {WEIGHTS_FILE: content, SPEC_FILE: config})
    except OSError as error:
        raise WeightsError(f"{folder} cannot be written: {error}.") from error


@dataclass(frozen=True)
class ModelFolder:
    """A folder that :func:`write_native` wrote, whose config.json has been read.

    Parameters
    ----------
    path
        The folder.
    spec
        The model's description.
    task
        Labels, preprocessing and tokenizer as JSON values.
    digest
        SHA-256 of config.json.
    """

    path: Path
    spec: PerceiverIOSpec
    task: dict[str, Any]
    digest: str

    @classmethod
    def of(cls, path: Path, config: dict[str, Any], content: bytes) -> ModelFolder:
        """Make the spec from config.json and its bytes. Raises as :func:`read_config`."""
        return cls(path, *split_config(config, str(path / SPEC_FILE)), _digest(content))

    @functools.cached_property
    def description(self) -> Tree:
        """The parameter tree of the model."""
        return PerceiverIOCore(self.spec).parameters()

    def read_weights(self) -> dict[str, np.ndarray]:
        """Read the flat weights. Raises as :func:`read_native`."""
        return _read_weights(self.path, self.digest)

    def read_attributes(self) -> dict[str, Any]:
        """Read the attributes of the model. Raises as :func:`.attributes_from_json`."""
        return attributes_from_json(self.task, str(self.path))


def config_text(spec: PerceiverIOSpec, task: Mapping[str, Any] | None = None) -> str:
    """Return the text of a model's ``config.json``: its spec and its task as JSON."""
    fields = json.loads(spec.to_json()) | ({TASK: dict(task)} if task else {})
    return json.dumps(fields, indent=2) + "\n"


def split_config(config: Mapping[str, Any], source: str) -> tuple[PerceiverIOSpec, dict[str, Any]]:
    """Make the spec and the task from the values of :func:`config_text`.

    ``source`` is where they come from, for messages. Raises as :func:`read_config`.
    """
    fields = dict(config)
    task = fields.pop(TASK, {})
    if not isinstance(task, dict):
        raise WeightsError(f"{source}: {TASK!r} is not a JSON object.")
    try:
        return PerceiverIOSpec.from_dict(fields), task
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from error


def read_config(folder: str | Path) -> tuple[PerceiverIOSpec, dict[str, Any]]:
    """Read the spec and the task of a folder that :func:`write_native` wrote.

    Raises
    ------
    WeightsError
        If there is no config, or it is not a JSON object.
    SpecError
        If it does not describe a model.
    """
    path = user_path(folder)
    content = read_json_bytes(path / SPEC_FILE)
    saved = ModelFolder.of(path, parse_json(content, path / SPEC_FILE), content)
    return saved.spec, saved.task


def read_spec(folder: str | Path) -> PerceiverIOSpec:
    """Read the spec of a folder that :func:`write_native` wrote."""
    return read_config(folder)[0]


def read_native(folder: str | Path) -> dict[str, np.ndarray]:
    """Read the flat weights of a folder that :func:`write_native` wrote.

    Raises
    ------
    WeightsError
        If they cannot be read, or were written with another config.
    """
    folder = user_path(folder)
    return _read_weights(folder, _digest(read_json_bytes(folder / SPEC_FILE)))


def _digest(config: bytes) -> str:
    return hashlib.sha256(config).hexdigest()


def _read_weights(folder: Path, digest: str) -> dict[str, np.ndarray]:
    weights = read_safetensors(folder / WEIGHTS_FILE)
    with safe_open(folder / WEIGHTS_FILE, "numpy") as file:
        written_with = (file.metadata() or {}).get(_CONFIG_DIGEST)
    if written_with not in (None, digest):
        raise WeightsError(
            f"{folder} holds weights and a {SPEC_FILE} that were not written together: either "
            "saving was interrupted or one of them was changed. Save the model again. If the "
            f"change was intended, load {WEIGHTS_FILE} alone, by its path."
        )
    return weights


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read flat weights from a safetensors file. bfloat16, which NumPy lacks, becomes float32.

    Raises
    ------
    WeightsError
        If it is not a safetensors file, is broken or too large, or has another data type that
        NumPy lacks, such as float8.
    """
    check_size([path])
    try:
        with safe_open(path, "numpy") as file:
            dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            _check_types(path, dtypes)
            arrays = {name: file.get_tensor(name) for name in dtypes if dtypes[name] != "BF16"}
        if len(arrays) < len(dtypes):
            for name, tensor in deserialize(Path(path).read_bytes()):
                if dtypes[name] == "BF16":
                    bits = np.frombuffer(tensor["data"], "<u2").reshape(tensor["shape"])
                    arrays[name] = from_bfloat16(bits)
        return arrays
    except WeightsError:
        raise
    except Exception as error:  # SafetensorError, NumPy's errors and others
        raise WeightsError(
            f"{path} is not a safetensors file, or is broken ({shown(str(error))}). "
            "If it was downloaded, download it again."
        ) from error


def _check_types(path: str | Path, dtypes: Mapping[str, str]) -> None:
    """Refuse types such as F8_E4M3: quantised weights mean nothing without their scales."""
    for name, dtype in dtypes.items():
        if dtype not in TYPES:
            raise WeightsError(
                f"{path}: {shown(name)} is of type {shown(dtype)}; expected {', '.join(TYPES)}. "
                "Convert quantised weights to one of these with the library that quantised them."
            )


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Widen exactly: the bits of a bfloat16 are the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def in_float16(name: str, array: np.ndarray) -> np.ndarray:
    """Round a weight to float16.

    Raises
    ------
    WeightsError
        If a finite number becomes infinite.
    """
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16)
    if not np.array_equal(np.isinf(rounded), np.isinf(array)):
        raise WeightsError(
            f"{name} has numbers up to {np.nanmax(np.abs(array)):.3g}; float16 ends at "
            f"{np.finfo(np.float16).max:g}. Write the model in float32."
        )
    return rounded
