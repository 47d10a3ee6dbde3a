"""Folders of models of the package perceiver-io 0.11, which its classes for transformers saved.

config.json has the package's own configuration as ``model_config``, so its code is not needed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ivy_models.base.fields import (
    Validator,
    flag,
    number,
    optional,
    positive_int,
    sizes,
)
from ivy_models.checkpoints.huggingface.attributes import labels_and_tokenizer
from ivy_models.checkpoints.huggingface.weights import (
    CONFIG_FILE,
    from_torch_layout,
    read_arrays,
)
from ivy_models.errors import SpecError, WeightsError, shown
from ivy_models.layers.parameters import Tree, flatten
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

_TASKS = ("image-classifier", "text-classifier", "masked-language-model")

# Options, as a validator and the package's default. None as validator: an option of training.
_Options = Mapping[str, tuple[Validator | None, Any]]
_ATTENTION: _Options = {
    "num_cross_attention_heads": (positive_int, 8),
    "num_cross_attention_qk_channels": (optional(positive_int), None),
    "num_cross_attention_v_channels": (optional(positive_int), None),
    "cross_attention_widening_factor": (positive_int, 1),
    "dropout": (number, 0.0),
    "init_scale": (None, None),
    "freeze": (None, None),
}
_ENCODER: _Options = {
    **_ATTENTION,
    "num_cross_attention_layers": (positive_int, 1),
    "first_cross_attention_layer_shared": (flag, False),
    "num_self_attention_heads": (positive_int, 8),
    "num_self_attention_qk_channels": (optional(positive_int), None),
    "num_self_attention_v_channels": (optional(positive_int), None),
    "num_self_attention_layers_per_block": (positive_int, 8),
    "num_self_attention_blocks": (positive_int, 1),
    "first_self_attention_block_shared": (flag, True),
    "self_attention_widening_factor": (positive_int, 1),
}
_IMAGE = {"image_shape": (sizes, (224, 224, 3)), "num_frequency_bands": (positive_int, 32)}
_TEXT = {
    "vocab_size": (positive_int, 10003),
    "max_seq_len": (positive_int, 256),
    "num_input_channels": (positive_int, 64),
    "params": (None, None),
}
_DECODER = {**_ATTENTION, "cross_attention_residual": (flag, True)}
_CLASSES = {
    "num_output_queries": (positive_int, 1),
    "num_output_query_channels": (positive_int, 256),
    "num_classes": (positive_int, 100),
}
_TOKENS = {
    "num_output_query_channels": (optional(positive_int), None),
    "vocab_size": (positive_int, 10003),
    "max_seq_len": (positive_int, 512),
}
_MODEL: _Options = {
    "num_latents": (positive_int, 512),
    "num_latent_channels": (positive_int, 512),
    "activation_checkpointing": (None, None),
    "activation_offloading": (None, None),
}

_NAMES = {
    "latents": "0.latent_provider._query",
    "queries": "1.output_query_provider._query",
    "input/embedding": "0.input_adapter.txt_embedding.weight",
    "input/positions": "0.input_adapter.pos_embedding.weight",
    r"reader/layer_(\d)/(.+)": "0.cross_attn_{}.{}",
    r"processor/layer_(\d)/self_attention_(\d+)/(.+)": "0.self_attn_{}.{}.{}",
    "decoder/cross_attention/(.+)": "1.cross_attn.{}",
    "decoder/head/(.+)": "1.output_adapter.linear.{}",
}
_TIED_NAMES = {**_NAMES, "decoder/head/(.+)": "1.output_adapter.{}"}
_WITHIN_LAYERS = {
    "query_norm": "0.module.q_norm",
    "input_norm": "0.module.kv_norm",
    "norm": "0.module.norm",
    "attention/query": "0.module.attention.q_proj",
    "attention/key": "0.module.attention.k_proj",
    "attention/value": "0.module.attention.v_proj",
    "attention/output": "0.module.attention.o_proj",
    "mlp_norm": "1.module.0",
    "mlp/hidden": "1.module.1",
    "mlp/output": "1.module.3",
    "scale": "weight",
    "offset": "bias",
}
_PREFIX = "backend_model."
_POSITIONS = "0.input_adapter.position_encoding.position_encoding"


def is_perceiver_io(config: Mapping[str, Any]) -> bool:
    """Whether the contents of a config.json are of a model of the package perceiver-io."""
    return str(config.get("model_type")).startswith(("perceiver-io-", "perceiver-ar-"))


@dataclass(frozen=True)
class PerceiverIOPackageFolder:
    """A folder of the package perceiver-io, whose config.json has been read.

    Parameters
    ----------
    path
        The folder.
    config
        Contents of its config.json.
    spec
        The model's description.
    """

    path: Path
    config: Mapping[str, Any]
    spec: PerceiverIOSpec

    @classmethod
    def of(cls, path: Path, config: Mapping[str, Any]) -> PerceiverIOPackageFolder:
        """Make the spec from a folder's config.json.

        Raises
        ------
        WeightsError
            If it describes a model that this library does not have, or has unknown options.
        """
        try:
            return cls(path, config, spec_of(config))
        except SpecError as error:
            raise WeightsError(f"{path / CONFIG_FILE}: {error}") from error

    @functools.cached_property
    def description(self) -> Tree:
        """The parameter tree of the model."""
        return PerceiverIOCore(self.spec).parameters()

    def read_weights(self) -> dict[str, np.ndarray]:
        """Read the flat weights, by this library's names; others keep their own.

        Raises
        ------
        WeightsError
            If they cannot be read.
        """
        arrays = {n.removeprefix(_PREFIX): array for n, array in read_arrays(self.path).items()}
        arrays.pop(_POSITIONS, None)
        weights, used = {}, set()
        for name, _ in flatten(self.description):
            for theirs in _places(name, self.spec):
                if theirs in arrays:
                    used.add(theirs)
                    array = arrays[theirs]
                    is_table = name in ("input/embedding", "input/positions")
                    array = array if is_table else from_torch_layout(name, array)
                    weights[name] = np.array(array, order="C")
                    break
        return weights | {name: array for name, array in arrays.items() if name not in used}

    def read_attributes(self) -> dict[str, Any]:
        """Read labels and tokenizer. Preprocessing of the package needs its code."""
        return labels_and_tokenizer(self.config, self.spec)


def _places(name: str, spec: PerceiverIOSpec) -> list[str]:
    """Where a weight may be: a later layer without weights of its own has those of the first."""
    for pattern, theirs in (_TIED_NAMES if spec.tied_head else _NAMES).items():
        if match := re.fullmatch(pattern, name):
            *numbers, last = match.groups() or ("",)
            branch, _, leaf = last.rpartition("/")
            parts = [_WITHIN_LAYERS.get(part, part) for part in (branch, leaf) if part]
            within = ".".join(parts)
            if name.startswith("decoder/") and not spec.query_residual:
                within = within.replace("0.module.", "0.", 1)
            if not name.startswith(("reader/", "processor/")):
                return [theirs.format(within)]
            layer, *more = numbers
            layers = ["1"] if layer == "0" else ["n", "1"]
            return [theirs.format(number, *more, within) for number in layers]
    raise KeyError(name)


def spec_of(config: Mapping[str, Any]) -> PerceiverIOSpec:
    """Return the spec of the model of a config.json.

    Raises
    ------
    SpecError
        If it describes a model that this library does not have, or has unknown options.
    """
    kind = str(config["model_type"])
    task = kind.removeprefix("perceiver-io-")
    if task not in _TASKS:
        raise SpecError(
            f"model_type is {shown(kind)} of the package perceiver-io; this library reads "
            f"{', '.join(f'perceiver-io-{known}' for known in _TASKS)}."
        )
    parts = dict(_mapping("model_config", config.get("model_config")))
    is_image = task == "image-classifier"
    e = _checked("encoder", parts.pop("encoder", {}), _ENCODER, _IMAGE if is_image else _TEXT)
    decoder_options = _TOKENS if task == "masked-language-model" else _CLASSES
    d = _checked("decoder", parts.pop("decoder", {}), _DECODER, decoder_options)
    m = _checked("model_config", parts, _MODEL)
    inputs, input_dim = _image(e) if is_image else _text(e)
    outputs = _tokens(e, d) if task == "masked-language-model" else _classes(d)
    query_dim = outputs["queries_dim"]
    reader_dim = input_dim if is_image else m.num_latent_channels
    return PerceiverIOSpec(
        **inputs,
        **outputs,
        **_layers(e),
        num_latents=m.num_latents,
        latent_dim=m.num_latent_channels,
        num_cross_att_heads=e.num_cross_attention_heads,
        cross_head_dim=_head_dim("encoder", e, "cross", reader_dim),
        reader_v_dim=e.num_cross_attention_v_channels,
        num_self_att_heads=e.num_self_attention_heads,
        latent_head_dim=_head_dim("encoder", e, "self", m.num_latent_channels),
        processor_v_dim=e.num_self_attention_v_channels,
        num_decoder_heads=d.num_cross_attention_heads,
        decoder_head_dim=_head_dim("decoder", d, "cross", query_dim),
        decoder_v_dim=d.num_cross_attention_v_channels,
        query_residual=d.cross_attention_residual,
        reader_widening_factor=e.cross_attention_widening_factor,
        processor_widening_factor=e.self_attention_widening_factor,
        decoder_widening_factor=d.cross_attention_widening_factor,
        attn_dropout=e.dropout,
        exact_gelu=True,
    )


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"{name} must be a mapping of options, got {shown(repr(value))}.")
    return value


def _checked(name: str, given: Any, *known: _Options) -> SimpleNamespace:
    """The options of a part, with defaults, as attributes."""
    options = {option: pair for group in known for option, pair in group.items()}
    given = _mapping(name, given)
    for option in given:
        if option not in options:
            raise SpecError(
                f"{name} has the option {shown(option)}, which this library does not support."
            )
    values = {}
    for option, (validator, default) in options.items():
        value = given.get(option, default)
        values[option] = value if validator is None else validator(f"{name}.{option}", value)
    return SimpleNamespace(**values)


def _head_dim(name: str, part: SimpleNamespace, kind: str, default: int) -> int:
    """Channels of a head, from those of all heads."""
    heads = getattr(part, f"num_{kind}_attention_heads")
    channels = getattr(part, f"num_{kind}_attention_qk_channels") or default
    if channels % heads:
        raise SpecError(
            f"{name}: {channels} channels of {kind}-attention cannot be divided among {heads} "
            "heads."
        )
    return channels // heads


def _image(e: SimpleNamespace) -> tuple[dict[str, Any], int]:
    """The spec's fields of the inputs, and their channels."""
    *shape, channels = e.image_shape
    fields = {
        "input_dim": channels,
        "num_input_axes": len(shape),
        "num_fourier_freq_bands": e.num_frequency_bands,
        "max_fourier_freq": tuple(shape),
    }
    return fields, channels + len(shape) * (2 * e.num_frequency_bands + 1)


def _text(e: SimpleNamespace) -> tuple[dict[str, Any], int]:
    fields = {
        "input_dim": e.num_input_channels,
        "num_input_axes": 1,
        "vocabulary_size": e.vocab_size,
        "fourier_encode_input": False,
        "learned_position_shape": (e.max_seq_len,),
    }
    return fields, e.num_input_channels


def _classes(d: SimpleNamespace) -> dict[str, Any]:
    number = d.num_output_queries
    return {
        "output_dim": d.num_classes,
        "queries_dim": d.num_output_query_channels,
        "query_shape": () if number == 1 else (number,),
    }


def _tokens(e: SimpleNamespace, d: SimpleNamespace) -> dict[str, Any]:
    is_tied = d.num_output_query_channels is None
    return {
        "output_dim": d.vocab_size,
        "queries_dim": d.num_output_query_channels or e.num_input_channels,
        "query_shape": (d.max_seq_len,),
        "query_per_input": True,
        "tied_head": is_tied,
    }


def _layers(e: SimpleNamespace) -> dict[str, Any]:
    blocks, reads = e.num_self_attention_blocks, e.num_cross_attention_layers
    if reads not in (1, blocks):
        raise SpecError(
            f"encoder.num_cross_attention_layers is {reads}; this library reads the inputs once, "
            f"or before each of the {blocks} blocks."
        )
    is_shared = e.first_self_attention_block_shared
    if reads > 1:
        is_shared = is_shared and e.first_cross_attention_layer_shared
    return {
        "network_depth": blocks,
        "num_lat_att_per_layer": e.num_self_attention_layers_per_block,
        "cross_attend_in_every_layer": reads > 1,
        "untied_first_layer": not is_shared and blocks > 1,
    }
