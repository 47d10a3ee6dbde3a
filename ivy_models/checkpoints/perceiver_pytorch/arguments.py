"""From the arguments of perceiver-pytorch's classes to specs.

The weights do not say how many heads and which frequencies a model has; the arguments of its
constructor do. A module remembers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ivy_models.checkpoints.perceiver_pytorch.names import canonical
from ivy_models.errors import SpecError, WeightsError, did_you_mean, shown
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

REQUIRED = object()
"""In place of the default of an argument that has none."""

_SIZES: dict[str, Any] = {
    "depth": REQUIRED,
    "num_latents": 512,
    "latent_dim": 512,
    "cross_heads": 1,
    "latent_heads": 8,
    "cross_dim_head": 64,
    "latent_dim_head": 64,
    "weight_tie_layers": False,
    "attn_residual": False,
    "attn_residual_rank": 64,
    "inverted_cross_attn": False,
}
_IO = {**_SIZES, "dim": REQUIRED, "decoder_ff": False, "seq_dropout_prob": 0.0}

CLASSES: dict[str, dict[str, Any]] = {
    "Perceiver": {
        **_SIZES,
        "num_freq_bands": REQUIRED,
        "max_freq": REQUIRED,
        "input_channels": 3,
        "input_axis": 2,
        "num_classes": 1000,
        "attn_dropout": 0.0,
        "ff_dropout": 0.0,
        "fourier_encode_data": True,
        "self_per_cross_attn": 1,
        "final_classifier_head": True,
    },
    "PerceiverIO": {**_IO, "queries_dim": REQUIRED, "logits_dim": None},
    "PerceiverLM": {**_IO, "num_tokens": REQUIRED, "max_seq_len": REQUIRED},
}
"""The arguments of each class, with their defaults."""


def spec_of(class_name: str, arguments: Mapping[str, Any]) -> PerceiverIOSpec:
    """Return the spec of the model that a class makes of its arguments.

    Parameters
    ----------
    class_name
        "Perceiver", "PerceiverIO" or "PerceiverLM".
    arguments
        The constructor's, by name. Those with a default may be left out.

    Raises
    ------
    WeightsError
        If arguments are missing, are not the class's, or ask for a model that no spec describes.
    """
    defaults = CLASSES[class_name]
    for name in arguments:
        if name not in defaults:
            raise WeightsError(
                f"{class_name} of perceiver-pytorch has no argument {shown(name)}. "
                f"{did_you_mean(name, list(defaults))}"
            )
    values = defaults | dict(arguments)
    if missing := [name for name, value in values.items() if value is REQUIRED]:
        raise WeightsError(
            f"{class_name} of perceiver-pytorch needs {', '.join(missing)}. Pass the arguments "
            "with which the model was made; its weights alone do not determine them."
        )
    given = SimpleNamespace(**values)
    inverted = given.inverted_cross_attn
    if any(inverted) if isinstance(inverted, (list, tuple)) else inverted:
        raise WeightsError(_lacks("inverted_cross_attn", "attention normalised over its queries"))
    for name in ("depth", "self_per_cross_attn"):
        if values.get(name) == 0:
            raise WeightsError(_lacks(f"{name}=0", "no self-attention"))
    if given.attn_residual:
        raise WeightsError(_lacks("attn_residual", "attention over the results of earlier layers"))
    try:
        return PerceiverIOSpec(**_shared(given), **_KINDS[class_name](given))
    except SpecError as error:
        raise WeightsError(f"The arguments of {class_name} describe no model: {error}") from error


def _lacks(name: str, what: str) -> str:
    return f"The model has {name}, {what}, which this library does not have."


def _shared(given: SimpleNamespace) -> dict[str, Any]:
    return {
        "network_depth": given.depth,
        "num_latents": given.num_latents,
        "latent_dim": given.latent_dim,
        "num_cross_att_heads": given.cross_heads,
        "num_self_att_heads": given.latent_heads,
        "cross_head_dim": given.cross_dim_head,
        "latent_head_dim": given.latent_dim_head,
        "weight_tie_layers": given.weight_tie_layers,
        "reader_widening_factor": 4,
        "processor_widening_factor": 4,
        "exact_gelu": True,
        "gated_mlp": True,
    }


def _perceiver(given: SimpleNamespace) -> dict[str, Any]:
    head: dict[str, Any] = {"with_decoder": False, "output_dim": given.latent_dim}
    if given.final_classifier_head:
        head = {"pooling": "mean", "output_dim": given.num_classes}
    positions: dict[str, Any] = {"fourier_encode_input": False}
    if given.fourier_encode_data:
        positions = {
            "num_fourier_freq_bands": given.num_freq_bands,
            "max_fourier_freq": given.max_freq,
        }
    return {
        "input_dim": given.input_channels,
        "num_input_axes": given.input_axis,
        "num_lat_att_per_layer": given.self_per_cross_attn,
        "cross_attend_in_every_layer": True,
        "untied_first_layer": given.weight_tie_layers,
        "attn_dropout": given.attn_dropout,
        "fc_dropout": given.ff_dropout,
        **head,
        **positions,
    }


def _perceiver_io(given: SimpleNamespace) -> dict[str, Any]:
    return {
        "input_dim": given.dim,
        "num_input_axes": 1,
        "output_dim": given.logits_dim or given.queries_dim,
        "queries_dim": given.queries_dim,
        "with_final_head": given.logits_dim is not None,
        "fourier_encode_input": False,
        "learn_query": False,
        "query_residual": False,
        "num_lat_att_per_layer": 1,
        "decoder_widening_factor": 4 if given.decoder_ff else 0,
        "seq_dropout": given.seq_dropout_prob,
    }


def _perceiver_lm(given: SimpleNamespace) -> dict[str, Any]:
    given = SimpleNamespace(**vars(given), queries_dim=given.dim, logits_dim=given.num_tokens)
    return _perceiver_io(given) | {
        "vocabulary_size": given.num_tokens,
        "learned_position_shape": (given.max_seq_len,),
        "queries_from_inputs": True,
    }


_KINDS = {"Perceiver": _perceiver, "PerceiverIO": _perceiver_io, "PerceiverLM": _perceiver_lm}


# From a module to the arguments that made it


_FULL_NAMES = (
    "perceiver_pytorch.perceiver_pytorch.Perceiver",
    "perceiver_pytorch.perceiver_io.PerceiverIO",
    "perceiver_pytorch.perceiver_io.PerceiverLM",
)


def class_of(module: Any) -> str | None:
    """Name of the class of a module of perceiver-pytorch, or None if it is another module.

    A module that was accelerated has the class that it had before.
    """
    kind = next(k for k in type(module).__mro__ if not k.__module__.startswith("ivy_models."))
    is_theirs = f"{kind.__module__}.{kind.__qualname__}" in _FULL_NAMES
    return kind.__name__ if is_theirs else None


def arguments_of(module: Any) -> dict[str, Any]:
    """The arguments with which a module of :data:`CLASSES` was made."""
    name = class_of(module)
    assert name is not None
    named = module.named_modules(remove_duplicate=False)
    parts = {canonical(path + ".", name)[:-1]: part for path, part in named}
    inner = module.perceiver_io if name == "PerceiverLM" else module
    reads = "layers.0" if name == "Perceiver" else "cross_attend_block"
    cross, latent = parts[f"{reads}.cross_attn"], parts.get("layers.0.self_attns.0.0")
    first = 1 if name == "Perceiver" else 0
    layer = "layers.{}.self_attns.0.0"
    num_latents, latent_dim = inner.latents.shape
    arguments = {
        "depth": len(inner.layers),
        "num_latents": num_latents,
        "latent_dim": latent_dim,
        "cross_heads": cross.fn.heads,
        "cross_dim_head": cross.fn.to_q.out_features // cross.fn.heads,
        "weight_tie_layers": len(inner.layers) > first + 1
        and parts.get(layer.format(first)) is parts.get(layer.format(first + 1)),
    }
    options = {"attn_residual": "has_attn_residual", "inverted_cross_attn": "inverted_cross_attn"}
    for option, attribute in options.items():
        if hasattr(inner, attribute):  # releases before 0.11 have fewer options
            arguments[option] = getattr(inner, attribute)
    if latent is not None:
        arguments["latent_heads"] = latent.fn.heads
        arguments["latent_dim_head"] = latent.fn.to_q.out_features // latent.fn.heads
    input_dim = cross.norm_context.normalized_shape[0]
    if name == "Perceiver":
        return arguments | _arguments_of_perceiver(module, parts, input_dim)
    arguments |= {
        "dim": input_dim,
        "decoder_ff": inner.decoder_ff is not None,
        "seq_dropout_prob": inner.seq_dropout_prob,
    }
    logits_dim = getattr(inner.to_logits, "out_features", None)
    if name == "PerceiverLM":
        return arguments | {"num_tokens": logits_dim, "max_seq_len": module.pos_emb.num_embeddings}
    queries_dim = inner.decoder_cross_attn.norm.normalized_shape[0]
    return arguments | {"queries_dim": queries_dim, "logits_dim": logits_dim}


def _arguments_of_perceiver(module: Any, parts: Mapping[str, Any], input_dim: int) -> dict:
    num_bands, num_axes = module.num_freq_bands, module.input_axis
    position_dim = num_axes * (2 * num_bands + 1) if module.fourier_encode_data else 0
    head = module.to_logits[2] if hasattr(module.to_logits, "__len__") else None
    return {
        "num_freq_bands": num_bands,
        "max_freq": module.max_freq,
        "input_axis": num_axes,
        "input_channels": input_dim - position_dim,
        "fourier_encode_data": module.fourier_encode_data,
        "self_per_cross_attn": sum(f"layers.0.self_attns.{i}" in parts for i in range(len(parts))),
        "attn_dropout": parts["layers.0.cross_attn"].fn.dropout.p,
        "ff_dropout": parts["layers.0.cross_ff"].fn.net[3].p,
        "final_classifier_head": head is not None,
        **({} if head is None else {"num_classes": head.out_features}),
    }
