"""Checks that the fields of a spec fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ivy_models.base.devices import device_name
from ivy_models.base.dtypes import dtype_name
from ivy_models.base.fields import (
    Validator,
    axes,
    check_fields,
    count,
    flag,
    number,
    numbers,
    optional,
    positive_int,
    positive_number,
    ranges,
    sizes,
    text,
)
from ivy_models.errors import SpecError
from ivy_models.layers.attention import ACTIVATIONS
from ivy_models.transformers.perceiver_io.inputs import InputModality
from ivy_models.transformers.perceiver_io.inputs.base import check_spacing
from ivy_models.transformers.perceiver_io.inputs.stems import check_stem
from ivy_models.transformers.perceiver_io.queries import OutputModality

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

DROPOUT_RATES = ("attn_dropout", "fc_dropout", "seq_dropout")
"""Fields that matter only in training."""

DTYPES = ("float32", "float64", "bfloat16", "float16")

MAX_LAYERS = 10_000
"""Maximum number of self-attention layers, each of which adds names to the parameter tree."""

MAX_AXES = 16
"""Maximum number of axes of the data. With the model's other axes, NumPy broadcasts at most 32."""


def check_spec_fields(spec: PerceiverIOSpec) -> None:
    """Check each field, and combinations of fields.

    Raises
    ------
    SpecError
        If a field has a wrong type or value, or two of them contradict each other.
    """
    check_fields(spec, **_VALIDATORS)
    _check_size(spec)
    check_stem(spec)
    _check_tokens(spec)
    spec.input()
    if spec.learned_position_shape is not None and spec.fourier_encode_input:
        raise SpecError(
            "Positions are either learned or Fourier features: with "
            "learned_position_shape set fourier_encode_input=False."
        )
    spec.queries()
    _check_coordinates(spec)
    _check_heads(spec)
    _check_activation(spec)
    for name in DROPOUT_RATES:
        if not 0 <= getattr(spec, name) < 1:
            raise SpecError(f"{name} must be in [0, 1), got {getattr(spec, name)}.")
    if spec.dtype not in DTYPES:
        raise SpecError(f"dtype must be one of {', '.join(DTYPES)}, got {spec.dtype!r}.")


def _check_size(spec: PerceiverIOSpec) -> None:
    """Limit what a small untrusted file can ask for, such as a billion layers."""
    layers = spec.network_depth * spec.num_lat_att_per_layer
    if layers > MAX_LAYERS:
        raise SpecError(
            f"network_depth={spec.network_depth} times num_lat_att_per_layer="
            f"{spec.num_lat_att_per_layer} makes {layers:,} layers; the limit is "
            f"{MAX_LAYERS:,} (MAX_LAYERS of {__name__})."
        )
    if spec.untied_first_layer and not spec.weight_tie_layers:
        raise SpecError(
            "untied_first_layer=True needs weight_tie_layers=True: without it no layers share "
            "weights. Leave one of them out."
        )
    if spec.num_input_axes > MAX_AXES:
        raise SpecError(f"num_input_axes must be at most {MAX_AXES}, got {spec.num_input_axes}.")


def _check_tokens(spec: PerceiverIOSpec) -> None:
    if spec.vocabulary_size is None and (spec.query_per_input or spec.tied_head):
        raise SpecError("query_per_input and tied_head need tokens as data: set vocabulary_size.")
    if spec.tied_head and (
        not (spec.with_decoder and spec.with_final_head)
        or (spec.output_dim, spec.queries_dim) != (spec.vocabulary_size, spec.input_dim)
    ):
        raise SpecError(
            "tied_head needs a decoder with a head from queries_dim=input_dim to "
            f"output_dim=vocabulary_size channels: from {spec.input_dim} to "
            f"{spec.vocabulary_size}, got from {spec.queries_dim} to {spec.output_dim}."
        )


def _check_coordinates(spec: PerceiverIOSpec) -> None:
    has_queries = spec.num_query_position_axes is not None
    check_spacing(spec, spec.fourier_encode_input or has_queries)
    has_coordinates = has_queries or spec.num_position_axes is not None
    if spec.position_range != (-1, 1) and not has_coordinates:
        raise SpecError(
            "position_range is for coordinates: set num_position_axes or num_query_position_axes."
        )


def _check_heads(spec: PerceiverIOSpec) -> None:
    decoder_heads, decoder_head_dim = spec.decoder_heads
    for what, width, heads, head_dim, hint in (
        ("input", spec.encoded_dim, spec.num_cross_att_heads, spec.cross_head_dim, "cross"),
        ("latent", spec.latent_dim, decoder_heads, decoder_head_dim, "decoder"),
        ("latent", spec.latent_dim, spec.num_self_att_heads, spec.latent_head_dim, "latent"),
    ):
        if head_dim is None and width % heads:
            raise SpecError(
                f"{width} {what} channels cannot be divided among {heads} attention heads. "
                f"Change the number of heads, or set {hint}_head_dim."
            )
    for name, heads in (
        ("reader_v_dim", spec.num_cross_att_heads),
        ("processor_v_dim", spec.num_self_att_heads),
        ("decoder_v_dim", decoder_heads),
    ):
        if (getattr(spec, name) or 0) % heads:
            raise SpecError(f"{name}={getattr(spec, name)} cannot be divided among {heads} heads.")


def _check_activation(spec: PerceiverIOSpec) -> None:
    if spec.activation not in ACTIVATIONS:
        raise SpecError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, got {spec.activation!r}. "
            "With gated_mlp=True, gelu gives GEGLU and silu SwiGLU; silu is also called swish."
        )
    if spec.exact_gelu and spec.activation != "gelu":
        raise SpecError(
            f"exact_gelu=True needs activation='gelu', got {spec.activation!r}. Set "
            "exact_gelu=False."
        )


def _modalities(kind: type) -> Validator:
    """Accept a list of modalities, as objects or from JSON, and sort it by name."""

    def check(name: str, value: Any) -> tuple:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence) or not value:
            raise SpecError(f"{name} must be a list of {kind.__name__}, got {value!r}.")
        modalities = [_modality(kind, name, v) for v in value]
        names = [modality.name for modality in modalities]
        if len({*names}) < len(names):
            raise SpecError(f"{name} must have different names, got {', '.join(names)}.")
        return tuple(sorted(modalities, key=lambda modality: modality.name))

    return check


def _modality(kind: type, name: str, value: Any) -> InputModality | OutputModality:
    if isinstance(value, Mapping):
        try:
            value = kind(**value)
        except TypeError as error:
            raise SpecError(f"{name}: {value!r} is not an {kind.__name__}: {error}.") from error
    if not isinstance(value, kind):
        raise SpecError(f"{name} must be a list of {kind.__name__}; it contains {value!r}.")
    return value


_VALIDATORS: dict[str, Validator] = {
    "input_dim": positive_int,
    "num_input_axes": positive_int,
    "output_dim": positive_int,
    "queries_dim": positive_int,
    "network_depth": positive_int,
    "num_latents": positive_int,
    "latent_dim": positive_int,
    "num_cross_att_heads": positive_int,
    "num_self_att_heads": positive_int,
    "cross_head_dim": optional(positive_int),
    "latent_head_dim": optional(positive_int),
    "weight_tie_layers": flag,
    "learn_query": flag,
    "query_shape": optional(axes),
    "attn_dropout": number,
    "fc_dropout": number,
    "num_lat_att_per_layer": positive_int,
    "cross_attend_in_every_layer": flag,
    "with_decoder": flag,
    "with_final_head": flag,
    "fourier_encode_input": flag,
    "num_fourier_freq_bands": count,
    "max_fourier_freq": optional(numbers(positive_number)),
    "device": optional(device_name),
    "dtype": dtype_name,
    "stem": optional(text),
    "stem_dim": optional(positive_int),
    "learned_position_shape": optional(sizes),
    "learned_position_dim": optional(positive_int),
    "query_residual": flag,
    "reader_v_dim": optional(positive_int),
    "processor_v_dim": optional(positive_int),
    "decoder_v_dim": optional(positive_int),
    "vocabulary_size": optional(positive_int),
    "query_per_input": flag,
    "tied_head": flag,
    "queries_from_inputs": flag,
    "output_scale": number,
    "patch_shape": optional(sizes),
    "exact_gelu": flag,
    "num_decoder_heads": optional(positive_int),
    "decoder_head_dim": optional(positive_int),
    "input_modalities": optional(_modalities(InputModality)),
    "output_modalities": optional(_modalities(OutputModality)),
    "reader_widening_factor": count,
    "processor_widening_factor": count,
    "decoder_widening_factor": count,
    "activation": text,
    "gated_mlp": flag,
    "fourier_band_spacing": text,
    "num_position_axes": optional(positive_int),
    "position_range": ranges,
    "num_query_position_axes": optional(positive_int),
    "seq_dropout": number,
    "pooling": optional(text),
    "untied_first_layer": flag,
}


def check_without_dropout(spec: PerceiverIOSpec) -> None:
    """Check that a model computes the same in training.

    Raises
    ------
    SpecError
        If the spec has dropout, which calls do not apply.
    """
    if spec.has_dropout:
        rates = {name: getattr(spec, name) for name in DROPOUT_RATES if getattr(spec, name)}
        zeros = ", ".join(f"{name}=0.0" for name in rates)
        raise SpecError(
            f"The model has {' and '.join(f'{name}={rate}' for name, rate in rates.items())}, "
            "but this module does not apply dropout. Train a native module of it "
            "(to_torch_module, to_keras_model, to_jax, to_paddle_module), or rebuild it without "
            f"dropout: PerceiverIO(model.spec.replace({zeros}), v=model.v)."
        )
