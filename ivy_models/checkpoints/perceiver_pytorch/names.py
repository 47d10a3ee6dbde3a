"""Names and layout of perceiver-pytorch's weights."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

# Releases before 0.11 have other names.
_FORMER: dict[str, dict[str, str]] = {
    "Perceiver": {
        r"^layers\.(\d+)\.0\.": r"layers.\1.cross_attn.",
        r"^layers\.(\d+)\.1\.": r"layers.\1.cross_ff.",
        r"^layers\.(\d+)\.2\.": r"layers.\1.self_attns.",
    },
    "PerceiverIO": {
        r"^cross_attend_blocks\.0\.": "cross_attend_block.cross_attn.",
        r"^cross_attend_blocks\.1\.": "cross_attend_block.cross_ff.",
        r"^layers\.(\d+)\.([01])\.": r"layers.\1.self_attns.0.\2.",
    },
}
_FORMER["PerceiverLM"] = {r"^perceiver_io\.": ""} | _FORMER["PerceiverIO"]

# The attention and the MLP of a block. Groups are the numbers of the layer and within it.
_LAYERS = {
    r"processor/layer_(\d+)/self_attention_(\d+)/": (
        "layers.{}.self_attns.{}.0",
        "layers.{}.self_attns.{}.1",
    )
}
_PERCEIVER = _LAYERS | {
    r"reader/layer_(\d+)/": ("layers.{}.cross_attn", "layers.{}.cross_ff"),
    "decoder/": ("to_logits", ""),
}
_PERCEIVER_IO = _LAYERS | {
    "reader/layer_0/": ("cross_attend_block.cross_attn", "cross_attend_block.cross_ff"),
    "decoder/cross_attention/": ("decoder_cross_attn", "decoder_ff"),
    "decoder/": ("", ""),
}
_ATTENTION = {
    "query_norm": "norm",
    "norm": "norm",
    "input_norm": "norm_context",
    "attention/query": "fn.to_q",
    "attention/key": "fn.to_kv",
    "attention/value": "fn.to_kv",
    "attention/output": "fn.to_out",
}
_MLP = {
    "mlp_norm": "norm",
    "mlp/hidden": "fn.net.0",
    "mlp/gate": "fn.net.0",
    "mlp/output": "fn.net.2",
}
_HEADS = {"Perceiver": {"norm": "1", "head": "2"}, "PerceiverIO": {"head": "to_logits"}}
_LEAVES = {"scale": "weight", "offset": "bias"}
_TABLES = {
    "latents": "latents",
    "input/embedding": "token_emb.weight",
    "input/positions": "pos_emb.weight",
}

_HALVES = {"attention/key": 0, "attention/value": 1, "mlp/hidden": 0, "mlp/gate": 1}
"""Which half of the output channels of a linear layer of two is this layer's."""

_WITHOUT_BIAS = ("attention/query", "attention/key", "attention/value")


def canonical(name: str, class_name: str) -> str:
    """Translate a name of any release to the one in release 0.11, within a ``PerceiverIO``."""
    for pattern, replacement in _FORMER[class_name].items():
        name = re.sub(pattern, replacement, name)
    return name


@dataclass(frozen=True)
class Source:
    """Where a weight of this library is among perceiver-pytorch's.

    Parameters
    ----------
    name
        Name in its state, within a ``PerceiverIO``. None: it has no such weight, and computes as
        with zeros.
    half
        0 or 1, if the weight is the first or the second half of the output channels.
    is_linear
        Whether output channels are first there and last here.
    order
        Index there of each input channel here. None: the same order.
    """

    name: str | None
    half: int | None = None
    is_linear: bool = False
    order: np.ndarray | None = None

    def view(self, array: Any) -> Any:
        """The weight in this library's layout, from a NumPy array or a tensor."""
        if self.half is not None:
            size = len(array) // 2
            array = array[:size] if self.half == 0 else array[size:]
        if self.order is not None:
            array = array[..., self.order]
        return array.T if self.is_linear else array


def source_of(name: str, spec: PerceiverIOSpec, class_name: str) -> Source:
    """Find a weight.

    Parameters
    ----------
    name
        Such as "reader/layer_0/attention/key/weight".
    spec
        Spec of a model that perceiver-pytorch has.
    class_name
        "Perceiver", "PerceiverIO" or "PerceiverLM".
    """
    if name in _TABLES:
        return Source(_TABLES[name])
    kind = "Perceiver" if class_name == "Perceiver" else "PerceiverIO"
    blocks = _PERCEIVER if kind == "Perceiver" else _PERCEIVER_IO
    block, numbers, layer = next(
        (block, match.groups(), name[match.end() :])
        for pattern, block in blocks.items()
        if (match := re.match(pattern, name))
    )
    layer, _, leaf = layer.rpartition("/")
    if leaf == "bias" and layer in _WITHOUT_BIAS:
        return Source(None)
    if name.startswith("decoder/") and layer in _HEADS[kind]:
        path = [block[0], _HEADS[kind][layer]]
    elif layer in _MLP:
        path = [block[1], _MLP[layer]]
    else:
        path = [block[0], _ATTENTION[layer]]
    theirs = ".".join(part for part in [*path, _LEAVES.get(leaf, leaf)] if part)
    reads_inputs = name.startswith("reader/") and layer in (
        "input_norm",
        "attention/key",
        "attention/value",
    )
    return Source(
        theirs.format(*numbers),
        _HALVES.get(layer),
        leaf == "weight",
        _order_of_channels(spec) if reads_inputs else None,
    )


@functools.lru_cache(maxsize=32)
def _order_of_channels(spec: PerceiverIOSpec) -> np.ndarray | None:
    """Index there of each channel of an input here.

    There the channels of an axis are together: its sines, cosines and position.
    """
    if not spec.fourier_encode_input:
        return None
    encoding = FourierPositionEncoding(spec.num_fourier_freq_bands)
    here = [np.roll(axis, -1) for axis in encoding.axis_channels(spec.num_input_axes)]
    there = spec.input_dim + np.argsort(np.concatenate(here))
    return np.concatenate([np.arange(spec.input_dim), there])
