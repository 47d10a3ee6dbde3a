"""The original implementation's checkpoints: Haiku parameters, in a pickle.

The names of the weights in a model's description are translated to Haiku's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.checkpoints.pickles.unpickle import unpickle
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import Tree, flatten, is_within

_LEAVES = {
    "weight": "w",
    "bias": "b",
    "scale": "scale",
    "offset": "offset",
    "latents": "pos_embs",
    "queries": "pos_embs",
    "positions": "pos_embs",
    "padding": "pos_embs",
    "mask_token": "pos_embs",
    "embedding": "embeddings",
    "mean": "average",
    "variance": "average",
}

# Haiku numbers the layers of one kind within a scope, in the order of their calls.
_PROJECTIONS = {
    "query": "linear",
    "key": "linear_1",
    "value": "linear_2",
    "output": "linear_3",
}
_MLP = {"hidden": "linear", "output": "linear_1"}
_CROSS_NORMS = {
    "query_norm": "layer_norm",
    "input_norm": "layer_norm_1",
    "mlp_norm": "layer_norm_2",
}
_SELF_NORMS = {"norm": "layer_norm", "mlp_norm": "layer_norm_1"}

_ADAPTER = "image_preprocessor/~"
_ATTENTION = {
    r"reader/layer_0/(.+)": ("{encoder}/cross_attention", _CROSS_NORMS),
    r"processor/layer_0/self_attention_0/(.+)": ("{encoder}/self_attention", _SELF_NORMS),
    r"processor/layer_0/self_attention_(\d+)/(.+)": ("{encoder}/self_attention_{0}", _SELF_NORMS),
    r"decoder/cross_attention/(.+)": ("{decoder}/cross_attention", _CROSS_NORMS),
}
_SCOPES = {
    "latents": "{encoder}/trainable_position_encoding",
    "queries": "{decoder}/~/trainable_position_encoding",
    "decoder/head": "{decoder}/output",
    "input/projection": f"{_ADAPTER}/conv2_d",
    "input/convolution": f"{_ADAPTER}/conv2_d_downsample/~/conv",
    "input/batch_norm": f"{_ADAPTER}/conv2_d_downsample/~/batchnorm",
    "input/batch_norm/mean": f"{_ADAPTER}/conv2_d_downsample/~/batchnorm/~/mean_ema",
    "input/batch_norm/variance": f"{_ADAPTER}/conv2_d_downsample/~/batchnorm/~/var_ema",
    "input/positions": f"{_ADAPTER}_build_network_inputs/trainable_position_encoding",
    "input/position_projection": (
        f"{_ADAPTER}_build_network_inputs/position_encoding_projector/linear"
    ),
}


@dataclass(frozen=True)
class HaikuLayout:
    """Haiku's names for the parts of one of the original's models."""

    encoder: str
    decoder: str
    scopes: Mapping[str, str]
    """Scopes, keyed by this library's branches or names."""


IMAGE = HaikuLayout("perceiver_encoder/~", "classification_decoder/~/basic_decoder", _SCOPES)
LANGUAGE = HaikuLayout(
    "perceiver_encoder/~",
    "basic_decoder",
    _SCOPES
    | {
        "input/embedding": "embed",
        "input/positions": "trainable_position_encoding",
        "decoder/head": "embedding_decoder",
    },
)


FLOW = HaikuLayout(
    "perceiver_encoder/~",
    "flow_decoder/~/basic_decoder",
    _SCOPES | {"input/patch_projection": f"{_ADAPTER[:-2]}/patches_linear"},
)


_LABEL_QUERIES = "classification_decoder/~/basic_decoder/~/trainable_position_encoding"
VIDEO = HaikuLayout(
    "encoder/~",
    "multimodal_decoder/~/basic_decoder",
    {
        "latents": _SCOPES["latents"],
        "decoder/head": _SCOPES["decoder/head"],
        **{
            f"input/{modality}/{vector}": f"multimodal_preprocessor/{modality}_{vector}"
            for modality in ("audio", "image", "label")
            for vector in ("padding", "mask_token")
        },
        **{
            f"queries/{modality}/padding": f"multimodal_decoder/~decoder_query/{modality}_padding"
            for modality in ("audio", "image", "label")
        },
        "queries/label/queries": _LABEL_QUERIES,
        "outputs/audio": "audio_postprocessor/linear",
        "outputs/image": "projection_postprocessor/linear",
        "outputs/label": "classification_postprocessor/linear",
    },
)


def layout_of(description: Tree) -> HaikuLayout:
    """Return the layout of the original's model with this parameter tree."""
    adapter = description.get("input", {})
    if "outputs" in description:
        return VIDEO
    if "embedding" in adapter:
        return LANGUAGE
    return FLOW if "patch_projection" in adapter else IMAGE


def haiku_name(name: str, layout: HaikuLayout = IMAGE) -> tuple[str, str, str]:
    """Translate a weight's name.

    Parameters
    ----------
    name
        Such as "processor/layer_0/self_attention_1/mlp/hidden/weight".
    layout
        The original's model.

    Returns
    -------
    tuple of str
        Section ("params" or "state"), scope and name in the original's checkpoint.

    Raises
    ------
    WeightsError
        If the original has no such weight.
    """
    branch, _, leaf = name.rpartition("/")
    scope = layout.scopes.get(name) or layout.scopes.get(branch) or _attention_scope(branch)
    scope = scope.format(encoder=layout.encoder, decoder=layout.decoder)
    section = "state" if leaf in ("mean", "variance") else "params"
    if layout is LANGUAGE and branch == "decoder/head":
        return section, scope, leaf  # a bare bias, which Haiku does not call "b"
    return section, scope, _LEAVES[leaf]


def _attention_scope(branch: str) -> str:
    for pattern, (scope, norms) in _ATTENTION.items():
        if match := re.fullmatch(pattern, branch):
            *numbers, rest = match.groups()
            scope = scope.replace("{0}", "".join(numbers))
            return f"{scope}/{_layer_scope(rest, norms)}"
    part = branch.split("/")[0]
    if part in ("reader", "processor"):
        why = "its layers share their weights and read the inputs once"
        advice = "Use weight_tie_layers=True and cross_attend_in_every_layer=False"
    else:
        why = "the spec is not that of a published model"
        advice = f"Use that spec, or initialise these weights at random: fresh=[{part!r}]"
    raise WeightsError(
        f"The original implementation has no counterpart of {branch}: {why}. {advice}."
    )


def _layer_scope(rest: str, norms: dict[str, str]) -> str:
    part, _, projection = rest.partition("/")
    if part == "attention":
        return f"attention/{_PROJECTIONS[projection]}"
    if part == "mlp":
        if projection not in _MLP:
            raise WeightsError(
                f"The original implementation has no counterpart of mlp/{projection}: its MLPs "
                "have no gates. Use gated_mlp=False."
            )
        return f"mlp/{_MLP[projection]}"
    return norms[part]


def _names_of(layout: HaikuLayout, num_layers: int) -> Iterator[str]:
    """Every name that a weight of the layout can have in this library."""
    blocks = {
        "reader/layer_0": _CROSS_NORMS,
        "decoder/cross_attention": _CROSS_NORMS,
        **{f"processor/layer_0/self_attention_{i}": _SELF_NORMS for i in range(num_layers)},
    }
    branches = list(layout.scopes)
    for block, norms in blocks.items():
        branches += [f"{block}/attention/{name}" for name in _PROJECTIONS]
        branches += [f"{block}/mlp/{name}" for name in _MLP]
        branches += [f"{block}/{name}" for name in norms]
    for branch in branches:
        yield branch
        yield from (f"{branch}/{leaf}" for leaf in _LEAVES)


def read_haiku(
    path: str | Path, description: Tree, fresh: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read a checkpoint of the original implementation.

    Parameters
    ----------
    path
        The pickle.
    description
        The parameter tree of the model that the weights are for.
    fresh
        Branches to leave out, even if the file's weights for them do not fit the model.

    Returns
    -------
    dict
        Arrays by this library's names. Weights that the model does not have keep their own
        names, so that a check against the description finds them.

    Raises
    ------
    WeightsError
        If the file cannot be read or the original has no such model.
    """
    content = unpickle(path)
    if not {"params", "state"} >= set(content):
        content = {"params": content}
    found: dict[tuple[str, str, str], Any] = {
        (section, scope, name): array
        for section, scopes in content.items()
        for scope, arrays in scopes.items()
        for name, array in _arrays_of(arrays, scope, path)
    }
    weights, layout = {}, layout_of(description)
    num_layers = len({scope for _, scope, _ in found})  # upper bound: each has its own scopes
    for name in _names_of(layout, num_layers) if fresh else ():
        if name.rpartition("/")[2] in _LEAVES and is_within(name, fresh):
            found.pop(haiku_name(name, layout), None)
    for name, parameter in flatten(description):
        if is_within(name, fresh):
            continue
        array = found.pop(haiku_name(name, layout), None)
        if array is not None:
            weights[name] = _without_unit_axes(array, parameter.shape)
    for (_, scope, name), array in found.items():
        if name not in ("counter", "hidden"):  # moving averages' own state
            weights[f"{scope}/{name}"] = array
    return weights


def _arrays_of(arrays: Any, scope: str, path: str | Path):
    if not isinstance(arrays, dict) or any(isinstance(a, dict) for a in arrays.values()):
        raise WeightsError(f"{path}: {scope!r} must hold arrays by name, got other values.")
    return arrays.items()


def _without_unit_axes(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Drop leading axes of size 1, which Haiku keeps for broadcasting, if ``shape`` has fewer."""
    extra = array.ndim - len(shape)
    if extra > 0 and array.shape[:extra] == (1,) * extra:
        return array.reshape(array.shape[extra:])
    return array
