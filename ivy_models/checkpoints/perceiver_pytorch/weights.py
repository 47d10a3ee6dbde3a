"""Reads the weights of perceiver-pytorch's models: modules, states and files of them."""

from __future__ import annotations

import os
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
        arguments, source = arguments_of(source), unwrapped(source.state_dict())
        what = f"the {class_name}"
    else:
        what = "the state" if isinstance(source, Mapping) else str(source)
        source = source if isinstance(source, Mapping) else _read_file(source)
        class_name, source = _perceiver_in(source)
        _check_embeddings(class_name, arguments)
    spec = spec_of(class_name, arguments)
    arrays = {name: to_numpy(array, name) for name, array in source.items()}
    weights = _translated(spec, class_name, _canonical(spec, class_name, arrays))
    return CheckedWeights.of(spec, PerceiverIOCore(spec).parameters(), weights, what)


def _read_file(path: Any) -> dict[str, np.ndarray]:
    if not isinstance(path, (str, os.PathLike)):
        raise WeightsError(
            f"source must be a module, its state_dict() or a path, got {type(path).__name__}."
        )
    path = user_path(path)
    if not Path(path).is_file():
        raise WeightsError(f"There is no weights file {path}.")
    return read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)


def _perceiver_in(state: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class of a Perceiver, and its weights among those of a module that may be larger."""
    if states := [name for name, entry in state.items() if isinstance(entry, Mapping)]:
        raise WeightsError(
            f"source is a mapping with {', '.join(map(repr, states))} in it, not a state. Pass the "
            f"entry that is the model's state, such as source[{states[0]!r}]."
        )
    state = unwrapped(state)
    ends = [name.removesuffix("latents") for name in state if re.search(r"(^|\.)latents$", name)]
    prefixes = [end for end in ends if any(name.startswith(f"{end}layers.") for name in state)]
    if not prefixes:
        raise WeightsError(
            "The weights have no latents, so they are not the state of a Perceiver, PerceiverIO or "
            f"PerceiverLM of perceiver-pytorch. Their first names: {', '.join(list(state)[:3])}."
        )
    if len(prefixes) > 1:
        raise WeightsError(
            f"The weights are of several Perceivers: {', '.join(map(repr, prefixes))}. Pass those "
            "of one of them, with its prefix removed from their names."
        )
    (prefix,) = prefixes
    outer = prefix.removesuffix("perceiver_io.")
    if prefix != outer and {f"{outer}token_emb.weight", f"{outer}pos_emb.weight"} <= state.keys():
        class_name, prefix = "PerceiverLM", outer
    elif any(name.startswith(f"{prefix}decoder_cross_attn.") for name in state):
        class_name = "PerceiverIO"
    else:
        class_name = "Perceiver"
    inside = [name for name in state if name.startswith(prefix)]
    return class_name, {name.removeprefix(prefix): state[name] for name in inside}


def _check_embeddings(class_name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse the weights of a PerceiverLM that lack its embeddings."""
    of_tokens = [name for name in ("num_tokens", "max_seq_len") if name in arguments]
    if of_tokens and class_name != "PerceiverLM":
        raise WeightsError(
            f"{' and '.join(of_tokens)} describe a PerceiverLM, but the weights lack an embedding "
            "of it: token_emb.weight or pos_emb.weight. Pass the state_dict() of the whole module."
        )


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
