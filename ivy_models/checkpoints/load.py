"""Reads models and weights from a file or folder of any supported format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ivy_models.base.paths import user_path
from ivy_models.checkpoints.check import CheckedWeights, check_spec, fresh_branches
from ivy_models.checkpoints.files import parse_json, read_json_bytes
from ivy_models.checkpoints.folder import SPEC_FILE, WEIGHTS_FILE, ModelFolder, read_safetensors
from ivy_models.checkpoints.haiku import read_haiku
from ivy_models.checkpoints.hdf5 import is_hdf5, read_hdf5
from ivy_models.checkpoints.huggingface.weights import HuggingFaceFolder, is_huggingface
from ivy_models.checkpoints.perceiver_io_package import PerceiverIOPackageFolder, is_perceiver_io
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import (
    Tree,
    flatten,
    initialise,
    is_within,
)
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

PICKLES = (".pystate", ".pickle", ".pkl")


def open_folder(path: Path) -> ModelFolder | HuggingFaceFolder | PerceiverIOPackageFolder:
    """Read the config.json of a model that this library, transformers or perceiver-io saved.

    Returns
    -------
    ModelFolder, HuggingFaceFolder or PerceiverIOPackageFolder
        Has the model's ``spec`` and reads its weights and attributes when asked.

    Raises
    ------
    WeightsError, SpecError
        If there is no config.json, or it does not describe a model.
    """
    content = read_json_bytes(path / SPEC_FILE)
    config = parse_json(content, path / SPEC_FILE)
    if is_perceiver_io(config):
        return PerceiverIOPackageFolder.of(path, config)
    if is_huggingface(config):
        return HuggingFaceFolder.of(path, config)
    return ModelFolder.of(path, config, content)


def load_weights(
    path: str | Path, spec: PerceiverIOSpec, fresh: Sequence[str] = (), seed: int = 0
) -> Tree:
    """Read weights for a model and check them.

    Parameters
    ----------
    path
        A folder in this library's format or Hugging Face transformers', a ``.safetensors``
        file, a pickle of the original implementation (``.pystate``, ``.pickle``, ``.pkl``), or
        an HDF5 file of :meth:`.PerceiverIO.save_weights` with any name.
    spec
        Spec of the model.
    fresh
        Branches to draw at random. The file's weights for them are ignored.
    seed
        Seed of the random weights.

    Returns
    -------
    dict
        Parameter tree of NumPy arrays.

    Raises
    ------
    SpecError
        If the model has no such branch.
    WeightsError
        If the file does not exist, cannot be read, or does not fit the model.
    BackendError
        If it is an HDF5 file and the package h5py is not installed.
    """
    description = PerceiverIOCore(spec).parameters()
    fresh = fresh_branches(description, fresh)
    return load_checked(path, spec, description, fresh, seed).tree


def load_checked(
    path: str | Path, spec: PerceiverIOSpec, description: Tree, fresh: Sequence[str], seed: int
) -> CheckedWeights:
    """Do the same for a spec whose parameter tree is known, and for all fresh branches."""
    path = user_path(path)
    if not path.exists():
        raise WeightsError(f"There is no weights file {path}.")
    if path.is_dir():
        saved = open_folder(path)
        check_spec(saved.spec, spec, str(path), fresh)
        weights = saved.read_weights()
    elif path.suffix == ".safetensors":
        weights = read_safetensors(path)
    elif path.suffix in PICKLES:
        weights = read_haiku(path, description, fresh)
    elif is_hdf5(path):
        weights = read_hdf5(path)
    elif path.suffix == ".ckpt":
        raise WeightsError(
            f"{path} is a checkpoint of Lightning, which holds Python objects beside the weights. "
            "Convert it with the package that wrote it: perceiver-io's convert_checkpoint writes "
            "a folder that this library reads."
        )
    else:
        raise WeightsError(
            f"{path} has an unknown format. Weights are a folder with {WEIGHTS_FILE}, a "
            f".safetensors file, a pickle of the original ({', '.join(PICKLES)}), or an HDF5 file."
        )
    loaded = {name: array for name, array in weights.items() if not is_within(name, fresh)}
    to_draw = {name: leaf for name, leaf in flatten(description) if is_within(name, fresh)}
    drawn = dict(flatten(initialise(to_draw, seed)))
    return CheckedWeights.of(spec, description, loaded | drawn, str(path))
