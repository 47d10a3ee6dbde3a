"""Reads the weights of perceiver-pytorch's models: modules, states and files of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.base.paths import user_path
from ivy_models.checkpoints.check import CheckedWeights
from ivy_models.checkpoints.folder import read_safetensors
from ivy_models.checkpoints.perceiver_pytorch.arguments import (
    arguments_of,
    class_of,
    spec_of,
)
from ivy_models.checkpoints.perceiver_pytorch.names import canonical, source_of
from ivy_models.checkpoints.pickles.torch_file import read_torch
from ivy_models.checkpoints.wrappers import unwrapped
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import flatten
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


def read_perceiver_pytorch(source: Any, arguments: Mapping[str, Any]) -> CheckedWeights:
    """Read a model of perceiver-pytorch.

    Parameters
    ----------
    source
        A module, its ``state_dict()``, or a file of that: what ``torch.save`` wrote, or
        ``.safetensors``.
    arguments
        Arguments of the constructor that made the model; none for a module.

    Returns
    -------
    CheckedWeights
        The model's spec and weights.

    Raises
    ------
    WeightsError
        If the source cannot be read, the arguments do not fit it, or no spec describes the model.
    """
    if hasattr(source, "named_modules"):
        if arguments:
            raise WeightsError(
                f"A module has its own arguments; leave out {', '.join(arguments)}. To give them, "
                "pass its state_dict()."
            )
        class_name = class_of(source)
        if class_name is None:
            raise WeightsError(
                f"{type(source).__module__}.{type(source).__qualname__} is not Perceiver, "
                "PerceiverIO or PerceiverLM of perceiver-pytorch. If it computes as one of them, "
                "pass its state_dict() and the arguments of that class."
            )
        arguments, source = arguments_of(source), source.state_dict()
        what = f"the {class_name}"
    else:
        what = "the state" if isinstance(source, Mapping) else str(source)
        source = source if isinstance(source, Mapping) else _read_file(source)
        class_name = _class_of_names(source)
    spec = spec_of(class_name, arguments)
    arrays = {name: to_numpy(array, name) for name, array in unwrapped(source).items()}
    weights = _translated(spec, class_name, _canonical(spec, class_name, arrays))
    return CheckedWeights.of(spec, PerceiverIOCore(spec).parameters(), weights, what)


def _read_file(path: Any) -> dict[str, np.ndarray]:
    path = user_path(path)
    if not Path(path).is_file():
        raise WeightsError(f"There is no weights file {path}.")
    return read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)


def _class_of_names(names: Mapping[str, Any]) -> str:
    plain = unwrapped(names)
    if "latents" not in plain and "perceiver_io.latents" not in plain:
        raise WeightsError(
            "The weights have no latents, so they are not the state of a Perceiver, PerceiverIO or "
            f"PerceiverLM of perceiver-pytorch. Their first names: {', '.join(list(names)[:3])}."
        )
    if "perceiver_io.latents" in plain:
        return "PerceiverLM"
    is_io = any(name.startswith("decoder_cross_attn.") for name in plain)
    return "PerceiverIO" if is_io else "Perceiver"


def _canonical(
    spec: PerceiverIOSpec, class_name: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Rename the weights, and keep only one copy of those that layers share."""

    def shared(match: re.Match) -> str:
        return f"layers.{spec.weights_of_layer(int(match[1]))}."

    renamed: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        new = canonical(name, class_name)
        if new.startswith("attn_residuals."):
            raise WeightsError(
                "The model has attn_residual, attention over the results of earlier layers, which "
                "this library does not have."
            )
        new = re.sub(r"^layers\.(\d+)\.", shared, new)
        if new in renamed and not np.array_equal(renamed[new], array, equal_nan=True):
            raise WeightsError(
                f"{name} differs from the same weight of another layer, so the model was not made "
                "with weight_tie_layers=True."
            )
        renamed[new] = array
    return renamed


def _translated(
    spec: PerceiverIOSpec, class_name: str, arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The weights by this library's names; those that are not used keep their own."""
    weights, used = {}, set()
    for name, parameter in flatten(PerceiverIOCore(spec).parameters()):
        source = source_of(name, spec, class_name)
        if source.name is None:
            weights[name] = np.zeros(parameter.shape, np.float32)
        elif source.name in arrays:
            used.add(source.name)
            weights[name] = np.array(source.view(arrays[source.name]), order="C")
    return weights | {name: array for name, array in arrays.items() if name not in used}
