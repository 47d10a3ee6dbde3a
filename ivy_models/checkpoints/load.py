"""Reads weights from a file or folder of any supported format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ivy_models.base.paths import user_path
from ivy_models.checkpoints.check import check_fresh, check_magnitudes, check_spec, check_weights
from ivy_models.checkpoints.folder import WEIGHTS_FILE, read_native, read_safetensors, read_spec
from ivy_models.checkpoints.haiku import read_haiku
from ivy_models.checkpoints.huggingface.weights import is_huggingface, read_huggingface
from ivy_models.errors import WeightsError
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.parameters import (
    Tree,
    flatten,
    initialise,
    is_within,
    unflatten,
)
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

PICKLES = (".pystate", ".pickle", ".pkl")


def load_weights(
    path: str | Path, spec: PerceiverIOSpec, fresh: Sequence[str] = (), seed: int = 0
) -> Tree:
    """Read weights for a model and check them.

    Parameters
    ----------
    path
        A folder in this library's format or Hugging Face transformers', a ``.safetensors``
        file, or a pickle of the original implementation (``.pystate``, ``.pickle``, ``.pkl``).
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
    """
    path = user_path(path)
    if not path.exists():
        raise WeightsError(f"There is no weights file {path}.")
    description = PerceiverIOCore(spec).parameters()
    check_fresh(description, fresh)
    if path.is_dir() and is_huggingface(path):
        published, weights = read_huggingface(path)
        check_spec(published, spec, str(path), fresh)
    elif path.is_dir():
        check_spec(read_spec(path), spec, str(path), fresh)
        weights = read_native(path)
    elif path.suffix == ".safetensors":
        weights = read_safetensors(path)
    elif path.suffix in PICKLES:
        weights = read_haiku(path, description, fresh)
    else:
        raise WeightsError(
            f"{path} has an unknown format. Weights are a folder with {WEIGHTS_FILE}, a "
            f".safetensors file, or a pickle of the original ({', '.join(PICKLES)})."
        )
    loaded, drawn = {}, {}
    for name, parameter in flatten(description):
        (drawn if is_within(name, fresh) else loaded)[name] = parameter
    weights = {name: array for name, array in weights.items() if not is_within(name, fresh)}
    check_weights(loaded, weights, str(path))
    check_magnitudes(spec, weights, str(path))
    return unflatten(weights | dict(flatten(initialise(drawn, seed))))
