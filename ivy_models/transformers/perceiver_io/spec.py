"""The description of a Perceiver IO model."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, asdict, dataclass, replace
from typing import Any, ClassVar, NoReturn

from ivy_models.base.fields import FieldMapping, check_field_names, named_fields
from ivy_models.base.pickling import PickledByFields
from ivy_models.errors import SpecError, shown
from ivy_models.layers.attention import MLP
from ivy_models.transformers.perceiver_io.decoder import Decoder, MeanDecoder
from ivy_models.transformers.perceiver_io.inputs import InputKind, InputModality, kind_of_input
from ivy_models.transformers.perceiver_io.processor import Processor
from ivy_models.transformers.perceiver_io.queries import OutputModality, Queries, kind_of_queries
from ivy_models.transformers.perceiver_io.reader import Reader
from ivy_models.transformers.perceiver_io.spec_checks import DROPOUT_RATES, check_spec_fields


@named_fields
@dataclass(frozen=True)
class PerceiverIOSpec(PickledByFields, FieldMapping):
    """The description of a Perceiver IO model. It is immutable, and is checked when it is created.

    The fields can also be read as of a mapping: ``spec["input_dim"]``, ``dict(spec)``.

    Parameters
    ----------
    input_dim
        Channels of the data.
    num_input_axes
        Axes of the data between batch and channels: 1 for a sequence, 2 for an image.
    output_dim
        Channels of an output, such as the number of classes.
    queries_dim
        E, channels of a query.
    network_depth
        Number of times that the processor's block is applied.
    num_latents
        N, the number of latents.
    latent_dim
        D, channels of a latent.
    num_cross_att_heads
        H, the number of heads, of the reader and the decoder.
    num_self_att_heads
        H, the number of heads, of the processor.
    cross_head_dim
        Channels of a head of the reader and the decoder. None: the inputs' channels C in the
        reader, and D in the decoder, divided by the number of heads.
    latent_head_dim
        Channels of a head of the processor. None: D divided by the number of heads.
    num_decoder_heads
        H of the decoder alone. None: ``num_cross_att_heads``.
    decoder_head_dim
        Channels of a head of the decoder alone. None: as ``cross_head_dim`` says.
    weight_tie_layers
        Whether all ``network_depth`` layers share one set of weights.
    untied_first_layer
        Whether the first layer has weights of its own and the others share theirs, as in the
        Perceiver (arXiv 2103.03206). Requires ``weight_tie_layers=True``.
    learn_query
        Whether the decoder's queries are learned; if not, each call passes them.
    query_shape
        Axes of the learned queries, and so of the output. For a classifier, ``[]`` gives outputs
        (B, output_dim) and ``[1]`` gives (B, 1, output_dim).
    attn_dropout
        Dropout rate of attention weights, for training in torch, Keras, JAX or Paddle. A call of
        the Ivy module is inference and applies no dropout.
    fc_dropout
        Dropout rate of the outputs of MLPs, applied like ``attn_dropout``.
    seq_dropout
        Share of the inputs that the latents do not read in training, chosen at random in each
        call.
    num_lat_att_per_layer
        Number of self-attention layers in the processor's block.
    cross_attend_in_every_layer
        Whether the latents read the inputs again before every layer, not only the first.
    with_decoder
        Whether there is a decoder; if not, the model returns the latents.
    with_final_head
        Whether a linear layer maps the decoder's output to ``output_dim`` channels. The heads of
        ``output_modalities`` come after it, or take its place.
    pooling
        "mean": instead of attention from queries, the decoder is the mean of the latents and its
        layer norm, as in the Perceiver (arXiv 2103.03206). The output has no axes (B, output_dim);
        without the final head it has D channels. None: queries attend to the latents.
    fourier_encode_input
        Whether inputs get Fourier features of their positions.
    num_fourier_freq_bands
        Frequency bands for each axis. 0: the positions alone.
    max_fourier_freq
        The resolution that the highest band resolves, one number or one for each axis. None: the
        size of the data in each call.
    fourier_band_spacing
        Whether the bands' frequencies are equally spaced, "linear", or each is a multiple of the
        one before it, "logarithmic".
    num_position_axes
        A, if each call gives the positions of its inputs as coordinates (*batch, M, A), such as
        those of points: data are (*batch, M, input_dim), and ``num_input_axes`` is 1. Positions
        get Fourier features, which need ``max_fourier_freq``; or, with
        ``fourier_encode_input=False``, a learned projection to ``learned_position_dim`` channels.
    position_range
        Lowest and highest coordinate, one pair or one for each axis. They are mapped to -1 and 1.
    num_query_position_axes
        A, if the queries that each call passes are coordinates (*batch, *query_axes, A), at which
        the model decodes. Their Fourier features go through a linear layer to ``queries_dim``
        channels. Requires ``learn_query=False`` and ``max_fourier_freq``.
    device
        "cpu", "cuda", "cuda:1", "gpu:0", or a device of any framework, stored as a name; None:
        the one of ``ivy.set_default_device``, or else the framework's default.
    dtype
        Data type of weights and computation: "float32", "float64", "bfloat16" or "float16", or
        that of any framework, stored as a name.
        In half precision the reader, layer norms and softmax still compute in float32.
    stem
        Transformation of the data's channels before positions are added. None: no transformation.
        "projection": a linear layer. "column_projection": a linear layer for each of the learned
        positions, such as the columns of a table. "convolution": convolution, batch norm, ReLU and
        max pool, which reduce each of two axes to a quarter. "centred_convolution": the same with
        the padding of Hugging Face transformers, which reduces 224 to 55 instead of 56.
        "two_convolutions": twice a convolution, instance norm, ReLU and max pool, which reduce each
        axis to a quarter as well, for images from which a new model learns. "frame_pair": for data
        (*batch, 2, height, width, input_dim), the 3x3 neighbourhoods of a pixel in both frames,
        through a linear layer.
    stem_dim
        Channels after the stem.
    learned_position_shape
        Size of the data, for learned positions instead of Fourier features.
    learned_position_dim
        Channels of the learned positions, or of the learned projection of given ones.
    query_residual
        Whether the decoder adds its queries to the result of attention.
    reader_v_dim, processor_v_dim, decoder_v_dim
        Channels of the values over all heads. None: those of queries and keys.
    vocabulary_size
        Number of different tokens, if the data are tokens (*batch, length), integers, instead of
        floats. Each token gets an embedding of ``input_dim`` channels, to which the learned
        position is added. ``learned_position_shape`` is the longest sequence; a shorter one needs
        no padding.
    query_per_input
        Whether there is a query for each position, so that a sequence shorter than
        ``query_shape`` gets as many outputs as it has tokens. The query of a masked token attends
        to nothing.
    tied_head
        Whether the head's weight is the tokens' embedding, transposed.
    queries_from_inputs
        Whether the inputs, with their positions, are the decoder's queries, with one output for
        each input. Requires ``learn_query=False``, and ``queries_dim`` equal to the inputs'
        channels.
    output_scale
        Factor of the outputs.
    patch_shape
        Size, along each axis, of the patches of data that become one input each. The data's
        sizes must be multiples of it. None: every element is an input.
    exact_gelu
        Whether the activation "gelu" is the exact GELU, as in Hugging Face transformers, not the
        approximation by tanh with which the published models were trained.
    input_modalities
        Kinds of data that are read together. The data are then a mapping from their names,
        ``input_dim`` is the width to which all are padded, and ``num_input_axes`` is 1.
    output_modalities
        Kinds of outputs. The outputs are then a mapping from their names, ``queries_dim`` is the
        width to which all queries are padded, and ``output_dim`` is the width that the
        modalities' heads get.
    reader_widening_factor, processor_widening_factor, decoder_widening_factor
        Hidden channels of the MLPs, as multiples of D in the reader and the processor, and of E
        in the decoder. 0: no MLP after attention.
    activation
        Activation of every MLP: "gelu", "relu" or "silu".
    gated_mlp
        Whether every MLP has gates: its hidden channels are multiplied by the activation of a
        second linear layer. With "gelu" this is GEGLU, and with "silu" SwiGLU.

    Raises
    ------
    SpecError
        If a field has a wrong type or value, or two of them contradict each other.
    """

    input_dim: int
    num_input_axes: int
    output_dim: int
    queries_dim: int = 1024
    network_depth: int = 8
    num_latents: int = 512
    latent_dim: int = 1024
    num_cross_att_heads: int = 1
    num_self_att_heads: int = 8
    cross_head_dim: int | None = None
    latent_head_dim: int | None = None
    weight_tie_layers: bool = True
    learn_query: bool = True
    query_shape: Sequence[int] | None = None
    attn_dropout: float = 0.0
    fc_dropout: float = 0.0
    num_lat_att_per_layer: int = 6
    cross_attend_in_every_layer: bool = False
    with_decoder: bool = True
    with_final_head: bool = True
    fourier_encode_input: bool = True
    num_fourier_freq_bands: int = 6
    max_fourier_freq: float | Sequence[float] | None = None
    device: Any = None
    dtype: Any = "float32"
    stem: str | None = None
    stem_dim: int | None = None
    learned_position_shape: Sequence[int] | None = None
    learned_position_dim: int | None = None
    query_residual: bool = True
    reader_v_dim: int | None = None
    processor_v_dim: int | None = None
    decoder_v_dim: int | None = None
    vocabulary_size: int | None = None
    query_per_input: bool = False
    tied_head: bool = False
    queries_from_inputs: bool = False
    output_scale: float = 1.0
    patch_shape: Sequence[int] | None = None
    exact_gelu: bool = False
    num_decoder_heads: int | None = None
    decoder_head_dim: int | None = None
    input_modalities: Sequence[InputModality] | None = None
    output_modalities: Sequence[OutputModality] | None = None
    reader_widening_factor: int = 1
    processor_widening_factor: int = 1
    decoder_widening_factor: int = 1
    activation: str = "gelu"
    gated_mlp: bool = False
    fourier_band_spacing: str = "linear"
    num_position_axes: int | None = None
    position_range: Sequence[float] | Sequence[Sequence[float]] = (-1.0, 1.0)
    num_query_position_axes: int | None = None
    seq_dropout: float = 0.0
    pooling: str | None = None
    untied_first_layer: bool = False

    OTHER_NAMES: ClassVar[dict[str, str]] = {
        "num_classes": "output_dim",
        "num_labels": "output_dim",
        "in_chans": "input_dim",
        "d_latents": "latent_dim",
        "num_heads": "num_self_att_heads",
        "dropout": "fc_dropout",
        "hidden_act": "activation",
        "widening_factor": "processor_widening_factor",
        "self_attention_widening_factor": "processor_widening_factor",
        "cross_attention_widening_factor": "reader_widening_factor",
    }
    """Names of fields in other libraries, to suggest the field's own name."""

    def __post_init__(self):
        check_spec_fields(self)

    # The parts that the spec describes

    @property
    def encoded_dim(self) -> int:
        """C, channels of an input with its position."""
        return self.input().num_channels

    def input(self) -> InputKind:
        """The kind of inputs, which turns data into inputs."""
        return self._input

    def adapter(self) -> InputKind:
        """The former name of :meth:`input`."""
        return self._input

    @functools.cached_property
    def _input(self) -> InputKind:
        return kind_of_input(self).of(self)

    def reader(self) -> Reader:
        return Reader(
            self.latent_dim,
            self.encoded_dim,
            self.num_cross_att_heads,
            _total(self.num_cross_att_heads, self.cross_head_dim),
            self.reader_v_dim,
            self._mlp(self.reader_widening_factor),
        )

    def processor(self) -> Processor:
        return Processor(
            self.latent_dim,
            self.num_lat_att_per_layer,
            self.num_self_att_heads,
            _total(self.num_self_att_heads, self.latent_head_dim),
            self.processor_v_dim,
            self._mlp(self.processor_widening_factor),
        )

    def decoder(self) -> Decoder | MeanDecoder | None:
        if not self.with_decoder:
            return None
        output_dim = self.output_dim if self.with_final_head else None
        if self.pooling is not None:
            return MeanDecoder(self.latent_dim, output_dim)
        return Decoder(
            self.queries_dim,
            self.latent_dim,
            output_dim,
            self.decoder_heads[0],
            _total(*self.decoder_heads),
            self.decoder_v_dim,
            query_residual=self.query_residual,
            mlp=self._mlp(self.decoder_widening_factor),
        )

    def _mlp(self, widening_factor: int) -> MLP:
        return MLP(widening_factor, self.activation, self.exact_gelu, self.gated_mlp)

    def weights_of_layer(self, layer: int) -> int:
        """Index of the weights of one of the ``network_depth`` layers."""
        if not self.weight_tie_layers:
            return layer
        return min(layer, 1) if self.untied_first_layer else 0

    @property
    def decoder_heads(self) -> tuple[int, int | None]:
        """H of the decoder, and the channels of one of its heads."""
        return (
            self.num_decoder_heads or self.num_cross_att_heads,
            self.decoder_head_dim or self.cross_head_dim,
        )

    @property
    def has_dropout(self) -> bool:
        """Whether training drops anything."""
        return any(getattr(self, name) for name in DROPOUT_RATES)

    def queries(self) -> Queries:
        """The kind of queries, with which the decoder attends."""
        return self._queries

    @functools.cached_property
    def _queries(self) -> Queries:
        return kind_of_queries(self).of(self)

    # JSON

    def to_dict(self) -> dict[str, Any]:
        """Copy every field into nested dicts, lists and numbers."""
        return asdict(self)

    def to_json(self) -> str:
        """Write every field as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PerceiverIOSpec:
        """Read what :meth:`to_dict` gave.

        Raises
        ------
        SpecError
            If the names are not those of this class's fields, or a value does not fit.
        """
        check_field_names(cls, values)
        try:
            return cls(**values)
        except TypeError as error:
            raise SpecError(f"A spec needs more fields: {error}.") from error

    @classmethod
    def from_json(cls, text: str) -> PerceiverIOSpec:
        """Read a spec that :meth:`to_json` wrote.

        Raises
        ------
        SpecError
            If the text is not a JSON object of this class's fields.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise SpecError(
                f"A spec must be a JSON object, but this is not JSON: {error}."
            ) from error
        if not isinstance(values, dict):
            raise SpecError(f"A spec must be a JSON object, got {type(values).__name__}.")
        return cls.from_dict(values)

    def replace(self, **changes: Any) -> PerceiverIOSpec:
        """Copy with some fields changed.

        Raises
        ------
        SpecError
            If a field does not exist or the copy contradicts itself.
        """
        check_field_names(type(self), changes)
        return replace(self, **changes)


def _refuse_assignment(spec: PerceiverIOSpec, name: str, value: Any) -> NoReturn:
    raise FrozenInstanceError(
        f"A spec cannot be changed; make a copy with spec.replace({name}={shown(repr(value))})."
    )


# Not in the class: dataclass makes one of its own there, whose message names no remedy.
setattr(PerceiverIOSpec, "__setattr__", _refuse_assignment)  # noqa: B010  type checkers


def _total(heads: int, head_dim: int | None) -> int | None:
    return None if head_dim is None else heads * head_dim
