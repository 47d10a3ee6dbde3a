"""Conversion between specs and the configurations of Hugging Face transformers' Perceivers.

A configuration gives a model's sizes; its class fixes the rest. A configuration that was made from
a spec is read back and compared with the spec, so that nothing is lost silently.
"""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

from ivy_models.errors import SpecError, WeightsError
from ivy_models.transformers.perceiver_io.inputs import InputModality
from ivy_models.transformers.perceiver_io.inputs.grid import CONVOLUTIONS
from ivy_models.transformers.perceiver_io.queries import OutputModality
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
from ivy_models.transformers.perceiver_io.spec_checks import DTYPES

MODEL_TYPE = "perceiver"
ACTIVATIONS = {
    "gelu": ("gelu", True),
    "gelu_python": ("gelu", True),
    "gelu_pytorch_tanh": ("gelu", False),
    "gelu_python_tanh": ("gelu", False),
    "gelu_new": ("gelu", False),
    "gelu_fast": ("gelu", False),
    "gelu_accurate": ("gelu", False),
    "relu": ("relu", False),
    "silu": ("silu", False),
    "swish": ("silu", False),
}
"""The ``activation`` and ``exact_gelu`` of each activation of transformers. The first name of
several for the same function is written."""

MODALITIES = ("audio", "image", "label")

# transformers' defaults for values that a configuration does not name. layer_norm_eps is left out
# because the classes do not use it: their layer norms have 1e-5, as here.
_DEFAULTS: dict[str, Any] = {
    "num_latents": 256,
    "d_latents": 1280,
    "d_model": 768,
    "num_blocks": 1,
    "num_self_attends_per_block": 26,
    "num_self_attention_heads": 8,
    "num_cross_attention_heads": 8,
    "qk_channels": None,
    "v_channels": None,
    "cross_attention_shape_for_attention": "kv",
    "self_attention_widening_factor": 1,
    "cross_attention_widening_factor": 1,
    "hidden_act": "gelu",
    "attention_probs_dropout_prob": 0.1,
    "use_query_residual": True,
    "vocab_size": 262,
    "max_position_embeddings": 2048,
    "image_size": 56,
    "train_size": [368, 496],
    "num_frames": 16,
    "audio_samples_per_frame": 1920,
    "samples_per_patch": 16,
    "output_shape": [1, 16, 224, 224],
    "output_num_channels": 512,
    "_label_trainable_num_channels": 1024,
    "dtype": "float32",
}

# This library has models for these values only; others are refused.
_ONLY = {
    "model_type": (MODEL_TYPE,),
    "hidden_act": tuple(ACTIVATIONS),
    "cross_attention_shape_for_attention": ("kv", "q"),
    "use_query_residual": (True,),
    "dtype": DTYPES,
}


# From a configuration to a spec


def spec_of(config: dict[str, Any], source: str) -> PerceiverIOSpec:
    """Return the spec of the model that a configuration describes.

    Parameters
    ----------
    config
        Contents of config.json.
    source
        Where it comes from, for error messages.

    Raises
    ------
    WeightsError
        If it describes another kind of model, or one that this library does not have.
    """
    try:
        return _spec_of(*_checked(config))
    except (SpecError, WeightsError) as error:
        raise WeightsError(f"{source}: {error}") from error


def _checked(config: dict[str, Any]) -> tuple[str, SimpleNamespace]:
    """Return the class's name and every value that its spec depends on."""
    values = _DEFAULTS | {"dtype": config.get("torch_dtype") or "float32"} | config
    for name, allowed in _ONLY.items():
        if values.get(name) not in allowed:
            raise WeightsError(
                f"{name} is {values.get(name)!r}; this library reads "
                f"{' or '.join(map(repr, allowed))}."
            )
    names = values.get("architectures")
    if names not in [[name] for name in CLASSES]:
        raise WeightsError(
            f"architectures is {names!r}; this library reads one of {', '.join(CLASSES)}."
        )
    for name, default in _DEFAULTS.items():
        if not _is_like(values[name], default):
            raise WeightsError(f"{name} is {values[name]!r}; expected a value such as {default!r}.")
    labels = values.get("id2label")
    values["num_labels"] = len(labels) if isinstance(labels, dict) else values.get("num_labels", 2)
    return names[0], SimpleNamespace(**values)


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value has the type of a default. Sizes are whole numbers of at least 1."""
    if isinstance(default, list):
        same_length = isinstance(value, list) and len(value) == len(default)
        return same_length and all(_is_like(size, 1) for size in value)
    if default is None:
        return value is None or _is_like(value, 1)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(default)) and (type(default) is not int or value >= 1)


def _spec_of(name: str, config: SimpleNamespace) -> PerceiverIOSpec:
    model = CLASSES[name](config)
    if model.get("query_shape") == (1,) and getattr(config, "query_shape", None) == []:
        model["query_shape"] = ()
    latent_dim = config.d_latents
    inputs: dict[str, Any] = {"output_dim": 1, "num_self_att_heads": 1} | model
    encoded_dim = PerceiverIOSpec(**inputs).encoded_dim
    is_masked_lm = name == "PerceiverForMaskedLM"
    reads_like_inputs = config.cross_attention_shape_for_attention == "kv"

    processor_qk = config.qk_channels or latent_dim
    processor_v = config.v_channels or processor_qk
    if processor_v != latent_dim:
        raise WeightsError(
            f"the processor's values have {processor_v} channels (v_channels, or qk_channels if "
            f"that is null), but transformers adds them to latents of "
            f"d_latents={latent_dim} channels."
        )
    reader_heads = config.num_cross_attention_heads
    reader_qk = config.qk_channels or (encoded_dim if reads_like_inputs else latent_dim)
    head_dim = None if reader_qk == encoded_dim else reader_qk // reader_heads

    decoder_heads = 8 if is_masked_lm else 1
    decoder_qk = latent_dim if reads_like_inputs else model["queries_dim"]
    if is_masked_lm:
        decoder_qk = 8 * 32
    activation, exact_gelu = ACTIVATIONS[config.hidden_act]
    usual_qk = decoder_heads * head_dim if head_dim else latent_dim
    return PerceiverIOSpec(
        **{"output_dim": config.num_labels} | model,
        network_depth=config.num_blocks,
        num_latents=config.num_latents,
        latent_dim=latent_dim,
        num_cross_att_heads=reader_heads,
        num_self_att_heads=config.num_self_attention_heads,
        num_decoder_heads=None if decoder_heads == reader_heads else decoder_heads,
        cross_head_dim=head_dim,
        latent_head_dim=(
            None if processor_qk == latent_dim else processor_qk // config.num_self_attention_heads
        ),
        decoder_head_dim=None if decoder_qk == usual_qk else decoder_qk // decoder_heads,
        reader_v_dim=_unless(config.v_channels, reader_qk),
        processor_v_dim=_unless(config.v_channels, processor_qk),
        decoder_v_dim=_unless(config.d_model, decoder_qk) if is_masked_lm else None,
        num_lat_att_per_layer=config.num_self_attends_per_block,
        attn_dropout=config.attention_probs_dropout_prob,
        reader_widening_factor=config.cross_attention_widening_factor,
        processor_widening_factor=config.self_attention_widening_factor,
        activation=activation,
        exact_gelu=exact_gelu,
        dtype=config.dtype,
    )


def _unless(value: int | None, usual: int) -> int | None:
    return None if value == usual else value


_CLASSIFIER = {"query_shape": (1,), "query_residual": True}


def _text(config: SimpleNamespace) -> dict[str, Any]:
    return {
        "input_dim": config.d_model,
        "num_input_axes": 1,
        "fourier_encode_input": False,
        "learned_position_shape": (config.max_position_embeddings,),
        "vocabulary_size": config.vocab_size,
    }


def _masked_lm(config: SimpleNamespace) -> dict[str, Any]:
    return _text(config) | {
        "output_dim": config.vocab_size,
        "queries_dim": config.d_model,
        "query_shape": (config.max_position_embeddings,),
        "query_per_input": True,
        "query_residual": False,
        "tied_head": True,
    }


def _sequence_classification(config: SimpleNamespace) -> dict[str, Any]:
    return _text(config) | _CLASSIFIER | {"queries_dim": config.d_latents}


def _image(config: SimpleNamespace, **changes: Any) -> dict[str, Any]:
    image = {
        "input_dim": 3,
        "num_input_axes": 2,
        "queries_dim": config.d_latents,
        "num_fourier_freq_bands": 64,
    }
    return _CLASSIFIER | image | changes


def _image_learned(config: SimpleNamespace) -> dict[str, Any]:
    return _image(
        config,
        fourier_encode_input=False,
        stem="projection",
        stem_dim=256,
        learned_position_shape=(config.image_size, config.image_size),
        learned_position_dim=256,
    )


def _image_fourier(config: SimpleNamespace) -> dict[str, Any]:
    return _image(config, max_fourier_freq=(224, 224))


def _image_conv(config: SimpleNamespace) -> dict[str, Any]:
    return _image(
        config,
        max_fourier_freq=(56, 56),
        stem="centred_convolution",
        stem_dim=64,
    )


def _optical_flow(config: SimpleNamespace) -> dict[str, Any]:
    return {
        "input_dim": 3,
        "num_input_axes": 3,
        "output_dim": 2,
        "queries_dim": 64 + 2 * (2 * 64 + 1),
        "learn_query": False,
        "num_fourier_freq_bands": 64,
        "max_fourier_freq": tuple(config.train_size),
        "stem": "frame_pair",
        "stem_dim": 64,
        "query_residual": False,
        "queries_from_inputs": True,
        "output_scale": 1 / 100,  # the original also multiplies by 20
    }


def _multimodal(config: SimpleNamespace) -> dict[str, Any]:
    samples = config.num_frames * config.audio_samples_per_frame
    sound = {
        "num_fourier_freq_bands": 192,
        "max_fourier_freq": (samples,),
        "patch_shape": (config.samples_per_patch,),
    }
    image = {
        "num_fourier_freq_bands": 32,
        "max_fourier_freq": (config.num_frames, config.image_size, config.image_size),
    }
    label_dim = config._label_trainable_num_channels
    inputs = (
        InputModality("audio", 1, 1, **sound),
        InputModality("image", 3, 3, **image, patch_shape=(1, 4, 4)),
        InputModality("label", config.num_labels, 0),
    )
    outputs = (
        OutputModality("audio", 1, (samples // config.samples_per_patch,), **sound),
        OutputModality("image", 3, tuple(config.output_shape[1:]), **image),
        OutputModality("label", config.num_labels, (1,), learned_query_dim=label_dim),
    )
    return {
        "input_dim": max(modality.adapter().num_channels for modality in inputs) + 4,
        "num_input_axes": 1,
        "output_dim": config.output_num_channels,
        "queries_dim": max(modality.query_dim for modality in outputs) + 2,
        "learn_query": False,
        "fourier_encode_input": False,
        "query_residual": False,
        "input_modalities": inputs,
        "output_modalities": outputs,
    }


CLASSES = {
    "PerceiverForMaskedLM": _masked_lm,
    "PerceiverForSequenceClassification": _sequence_classification,
    "PerceiverForImageClassificationLearned": _image_learned,
    "PerceiverForImageClassificationFourier": _image_fourier,
    "PerceiverForImageClassificationConvProcessing": _image_conv,
    "PerceiverForOpticalFlow": _optical_flow,
    "PerceiverForMultimodalAutoencoding": _multimodal,
}
"""For each class of transformers, a function from a configuration to fields of a spec."""


# From a spec to a configuration


def config_of(spec: PerceiverIOSpec) -> dict[str, Any]:
    """Return the configuration of the model that a spec describes.

    Raises
    ------
    WeightsError
        If no class of transformers describes the model. The message names the fields in which the
        nearest one differs.
    """
    name = _nearest_class(spec)
    config = _DEFAULTS | {
        "architectures": [name],
        "model_type": MODEL_TYPE,
        "num_latents": spec.num_latents,
        "d_latents": spec.latent_dim,
        "num_blocks": spec.network_depth,
        "num_self_attends_per_block": spec.num_lat_att_per_layer,
        "num_self_attention_heads": spec.num_self_att_heads,
        "num_cross_attention_heads": spec.num_cross_att_heads,
        "v_channels": spec.processor_v_dim or spec.reader_v_dim,
        "cross_attention_widening_factor": spec.reader_widening_factor,
        "self_attention_widening_factor": spec.processor_widening_factor,
        "hidden_act": _hidden_act(spec),
        "attention_probs_dropout_prob": spec.attn_dropout,
        "dtype": spec.dtype,
        **_query_widths(spec, name),
    }
    num_labels, positions = spec.output_dim, list(spec.learned_position_shape or ())
    if name in ("PerceiverForMaskedLM", "PerceiverForSequenceClassification"):
        config |= {
            "d_model": spec.input_dim,
            "vocab_size": spec.vocabulary_size,
            "max_position_embeddings": positions[0],
        }
    elif name == "PerceiverForImageClassificationLearned":
        config["image_size"] = positions[0]
    elif name == "PerceiverForOpticalFlow":
        config["train_size"] = _sizes(spec.max_fourier_freq, 2)
    elif name == "PerceiverForMultimodalAutoencoding":
        sizes, num_labels = _multimodal_sizes(spec)
        config |= sizes
    if spec.query_shape == ():  # transformers ignores it: its outputs never have the axis
        config["query_shape"] = []
    config["id2label"] = {str(label): f"LABEL_{label}" for label in range(num_labels)}
    config["label2id"] = {f"LABEL_{label}": label for label in range(num_labels)}
    _check_same(spec, spec_of(config, name), name)
    return config


def _query_widths(spec: PerceiverIOSpec, name: str) -> dict[str, Any]:
    """The values from which transformers gets the channels of queries and keys.

    ``qk_channels`` counts in the encoder alone, and the shape for attention where that is None.
    """
    heads, head_dim = spec.decoder_heads
    if name == "PerceiverForMaskedLM" or spec.queries_dim == spec.latent_dim:  # no trace in decoder
        like_queries = spec.cross_head_dim is not None and spec.latent_head_dim is None
    else:
        like_queries = spec.queries_dim == (heads * head_dim if head_dim else spec.latent_dim)
    qk_channels = None
    if spec.latent_head_dim is not None:
        qk_channels = spec.num_self_att_heads * spec.latent_head_dim
    elif spec.cross_head_dim is not None and not like_queries:
        qk_channels = spec.latent_dim
    shape = "q" if like_queries else "kv"
    return {"qk_channels": qk_channels, "cross_attention_shape_for_attention": shape}


def _hidden_act(spec: PerceiverIOSpec) -> str:
    return next(
        name for name, fields in ACTIVATIONS.items() if fields == (spec.activation, spec.exact_gelu)
    )


def _nearest_class(spec: PerceiverIOSpec) -> str:
    if spec.input_modalities is not None or spec.output_modalities is not None:
        return "PerceiverForMultimodalAutoencoding"
    if spec.vocabulary_size is not None:
        kind = "MaskedLM" if spec.tied_head else "SequenceClassification"
    elif spec.stem == "frame_pair":
        kind = "OpticalFlow"
    elif spec.stem in CONVOLUTIONS:
        kind = "ImageClassificationConvProcessing"
    elif spec.learned_position_shape is not None:
        kind = "ImageClassificationLearned"
    else:
        kind = "ImageClassificationFourier"
    return f"PerceiverFor{kind}"


def _multimodal_sizes(spec: PerceiverIOSpec) -> tuple[dict[str, Any], int]:
    """Return a configuration's values for sound and images, and the number of labels."""
    outputs = {modality.name: modality for modality in spec.output_modalities or ()}
    if set(outputs) != set(MODALITIES):
        raise WeightsError(
            "transformers' multimodal Perceiver has the modalities audio, image and label; "
            f"output_modalities are {', '.join(outputs) or 'None'}."
        )
    audio, image, label = (outputs[name] for name in MODALITIES)
    num_frames, image_size, _ = _sizes(image.max_fourier_freq, 3)
    (num_samples,) = _sizes(audio.max_fourier_freq, 1)
    return {
        "num_frames": num_frames,
        "audio_samples_per_frame": max(num_samples // num_frames, 1),
        "samples_per_patch": _sizes(audio.patch_shape, 1)[0],
        "image_size": image_size,
        "output_shape": [1, *image.query_shape],
        "output_num_channels": spec.output_dim,
        "_label_trainable_num_channels": label.learned_query_dim or 1,
    }, label.output_dim


def _sizes(value: Any, count: int) -> list[int]:
    """Return a field of one whole number per axis.

    A field of another form becomes ones, so that the comparison with the spec reports it.
    """
    if isinstance(value, tuple) and len(value) == count:
        return [max(int(size), 1) for size in value]
    return [1] * count


def _check_same(spec: PerceiverIOSpec, written: PerceiverIOSpec, name: str) -> None:
    names = [field.name for field in fields(spec) if field.name != "device"]
    differing = [n for n in names if getattr(spec, n) != getattr(written, n)]
    if differing:
        rows = [f"  {n}: {getattr(spec, n)!r}, not {getattr(written, n)!r}" for n in differing]
        raise WeightsError(
            f"transformers has no class for this model. The nearest is {name}, which has other "
            "values than this spec:\n" + "\n".join(rows)
        )
