"""Perceiver IO as a pure function of weights and arrays of a framework."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ivy_models.base.pickling import PickledByFields
from ivy_models.layers.attention import AttentionRecord, Dropout
from ivy_models.layers.features import Inputs, dense, size_of
from ivy_models.layers.parameters import Tree, apply, table
from ivy_models.ops import Array, Ops, ops_for
from ivy_models.transformers.perceiver_io.decoder import Decoder
from ivy_models.transformers.perceiver_io.inputs.grid import with_finite_squares
from ivy_models.transformers.perceiver_io.reader import Reader
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

ByModality = Mapping[str, Array]


@dataclass(frozen=True)
class PerceiverIOCore(PickledByFields):
    """The whole model: data -> adapter -> reader -> processor -> decoder -> output.

    It has no weights and no state, so the arrays' framework can trace, compile and differentiate
    a call. It does not check its arguments; the shells do.

    Parameters
    ----------
    spec
        The model's description.
    plain_reader
        Whether to read with plain attention, all scores at once; see :class:`.Reader`.
    processor
        Function that replaces the spec's processor, such as the same one compiled.
    rematerialise
        Whether the backward pass stores only the input of each of the processor's layers and
        recomputes the rest, as it always does for chunks of the reader and the decoder.
    plain_decoder
        Whether to decode with plain attention; see :class:`.Decoder`.
    """

    spec: PerceiverIOSpec
    plain_reader: bool | None = None
    processor: Callable[[Tree, Array], Array] | None = None
    rematerialise: bool = False
    plain_decoder: bool = False

    # Made once, not in each call.

    @functools.cached_property
    def _reader(self) -> Reader:
        return self.spec.reader()

    @functools.cached_property
    def _block(self) -> Callable[..., Array]:
        return self.processor or replace(self.spec.processor(), rematerialise=self.rematerialise)

    @functools.cached_property
    def _decoder(self) -> Any:  # the kind of queries says which decoder it needs
        decoder = self.spec.decoder()
        if isinstance(decoder, Decoder):
            return replace(decoder, plain=self.plain_decoder)
        return decoder

    def parameters(self) -> Tree:
        """Describe the weights."""
        spec = self.spec
        layers = spec.weights_of_layer(spec.network_depth - 1) + 1
        reads = layers if spec.cross_attend_in_every_layer else 1
        tree = {
            "input": spec.input().parameters(),
            "latents": table(spec.num_latents, spec.latent_dim),
            "reader": {f"layer_{i}": self._reader.parameters() for i in range(reads)},
            "processor": {f"layer_{i}": spec.processor().parameters() for i in range(layers)},
        }
        if decoder := self._decoder:
            branches = {"queries": {}, "decoder": decoder.parameters()}
            if spec.tied_head:
                del branches["decoder"]["head"]["weight"]
            tree |= branches | spec.queries().parameters(decoder)
        return {name: branch for name, branch in tree.items() if branch}

    def __call__(
        self,
        params: Tree,
        data: Array | ByModality,
        input_mask: Array | ByModality | None = None,
        queries: Array | Mapping[str, Array | None] | None = None,
        dropout_key: Any = None,
    ) -> Array | dict[str, Array]:
        """Run the model.

        Parameters
        ----------
        params
            Weights as :meth:`parameters` describes them.
        data
            (B, *axes, input_dim), or tokens (B, M); with ``input_modalities`` a dict by modality.
        input_mask
            Booleans (B, M), True for inputs to read. By modality, the mask token replaces inputs
            whose mask is False.
        queries
            (B, O, E) or (1, O, E), if they are not learned. With ``output_modalities``, for each
            modality to decode, indices of its queries (n,), or None for all.
        dropout_key
            In training, the key of :meth:`.Ops.dropout`. None: no dropout.

        Returns
        -------
        Array or dict
            (B, O, output_dim); without the head (B, O, E); without the decoder the latents
            (B, N, D). With ``output_modalities``, as in :class:`.MultimodalOutput`.
        """
        dropout = self._dropout(dropout_key)
        latents, outputs = self.run(params, data, input_mask, queries, dropout)
        return outputs if self.spec.with_decoder else latents

    def run(
        self,
        params: Tree,
        data: Any,
        input_mask: Any = None,
        queries: Any = None,
        dropout: Dropout | None = None,
        record: AttentionRecord | None = None,
    ) -> tuple[Array, Any]:
        """Return the latents (B, N, D) and the outputs (None without a decoder) of a call.

        ``record`` gets the attention weights.
        """
        inputs, input_mask = self.adapt(params, data, input_mask)
        ops = ops_for(params["latents"])
        read_mask = input_mask
        if dropout is not None:
            size = size_of(ops, inputs)
            read_mask = dropout.at(ops, 2).of_inputs(ops, params["latents"], size, input_mask)
            dropout = dropout if dropout.is_in_layers else None
        encoding, decoding = (dropout and dropout.at(ops, number) for number in (0, 1))
        latents = self.to_latents(params, inputs, read_mask, encoding, record)
        if not self.spec.with_decoder:
            return latents, None
        outputs = self.to_outputs(params, latents, queries, inputs, input_mask, decoding, record)
        return latents, outputs

    def _dropout(self, key: Any) -> Dropout | None:
        spec = self.spec
        if key is None or not spec.has_dropout:
            return None
        return Dropout(spec.attn_dropout, spec.fc_dropout, spec.seq_dropout, key)

    def encode(
        self,
        params: Tree,
        data: Array | ByModality,
        input_mask: Array | ByModality | None = None,
    ) -> Array:
        """Read and process the data; returns the latents (B, N, D). Arguments as in a call."""
        return self.to_latents(params, *self.adapt(params, data, input_mask))

    def decode(
        self, params: Tree, latents: Array, queries: Array | Mapping[str, Array | None] | None
    ) -> Array | dict[str, Array]:
        """Decode latents (B, N, D), if the queries do not depend on the data."""
        ops = ops_for(latents)
        # Only the layer norm of the latents is used, so rescaling is harmless. float16 cannot
        # overflow here.
        scaled = ops.match(with_finite_squares(ops, ops.widen(latents)), latents)
        return self.to_outputs(params, scaled, queries)

    # The three steps of a run

    def adapt(
        self, params: Tree, data: Any, input_mask: Any = None
    ) -> tuple[Inputs | Sequence[Inputs], Array | None]:
        """Turn data and mask into the reader's inputs and their mask (B, M)."""
        kind, weights = self.spec.input(), params.get("input", {})
        if not callable(weights):
            return kind.adapt(weights, data, input_mask)

        def compute(weights, data):
            inputs, _ = kind.adapt(weights, data, input_mask)
            return dense(ops_for(params["latents"]), inputs, params["latents"])

        inputs = Inputs.from_array(weights(data, compute))
        return inputs, None if kind.has_modalities else input_mask

    def to_latents(
        self,
        params: Tree,
        inputs: Inputs | Sequence[Inputs],
        input_mask: Array | None = None,
        dropout: Dropout | None = None,
        record: AttentionRecord | None = None,
    ) -> Array:
        """Read and process the result of :meth:`adapt`; returns the latents (B, N, D)."""
        ops, spec = ops_for(params["latents"]), self.spec
        reader, processor = self._reader, self._block

        # Layers with tied weights still use independent dropout keys.
        # A layer of a loop has no number yet, so the index of its weights is an argument.
        def read(latents, layer, shared):
            drops = dropout and dropout.at(ops, 2 * layer)
            recorded = record and record.reader.append
            settings = inputs, input_mask, self.plain_reader, drops, recorded
            return apply_layer(
                params["reader"], shared, latents, lambda w, z: reader(w, z, *settings)
            )

        def process(latents, layer, shared):
            # A replacement of the processor need not accept dropout and records.
            more = {}
            if dropout is not None:
                more["dropout"] = dropout.at(ops, 2 * layer + 1)
            if record is not None:
                more["record"] = record.processor.append
            return apply_layer(
                params["processor"], shared, latents, lambda w, z: processor(w, z, **more)
            )

        latents = read(params["latents"][None], 0, 0)
        if not spec.weight_tie_layers:
            for layer in range(spec.network_depth):
                if layer and spec.cross_attend_in_every_layer:
                    latents = read(latents, layer, layer)
                latents = process(latents, layer, layer)
        elif not (spec.cross_attend_in_every_layer or spec.untied_first_layer):
            latents = ops.loop(spec.network_depth, lambda i, z: process(z, i, 0), latents)
        else:
            shared = spec.weights_of_layer(1)

            def later(i, z):
                z = read(z, i + 1, shared) if spec.cross_attend_in_every_layer else z
                return process(z, i + 1, shared)

            latents = process(latents, 0, 0)
            if spec.network_depth > 1:  # compilers also trace a loop of no turns
                latents = ops.loop(spec.network_depth - 1, later, latents)
        return latents

    def to_outputs(
        self,
        params: Tree,
        latents: Array,
        queries: Array | Mapping[str, Array | None] | None = None,
        inputs: Inputs | Sequence[Inputs] | None = None,
        input_mask: Array | None = None,
        dropout: Dropout | None = None,
        record: AttentionRecord | None = None,
    ) -> Any:
        """Decode latents (B, N, D) from :meth:`to_latents`; returns the outputs of a call.

        ``inputs`` and their mask are needed only if the queries come from them.
        """
        ops, spec, decoder = ops_for(latents), self.spec, self._decoder
        assert decoder is not None  # the shells request outputs only with a decoder

        def decode(weights, latents):
            if spec.tied_head:
                embedding = params["input"]["embedding"]
                weights = {**weights, "head": tied_head(ops, embedding, weights["head"])}
            return spec.queries().decode(
                decoder,
                {**params, "decoder": weights},
                latents,
                queries,
                inputs,
                input_mask,
                dropout,
                record and record.decoder.append,
            )

        outputs = apply(params["decoder"], latents, decode)
        if spec.output_scale == 1:
            return outputs
        # Ivy makes TensorFlow promote half precision with a number to float32.
        return ops.cast(outputs * spec.output_scale, ops.dtype(outputs))


def apply_layer(params: Any, number: int, x: Array, compute: Callable[[Tree, Array], Array]) -> Any:
    """Apply the layer of that number of the reader or the processor."""
    return apply(params, x, lambda w, x: apply(w[f"layer_{number}"], x, compute))


def tied_head(ops: Ops, embedding: Any, head: Any) -> Any:
    """The decoder's head, which has its bias alone, with the weight of the embedding."""
    weight = ops.transpose(getattr(embedding, "weight", embedding), (1, 0))
    if callable(head):
        return lambda x: head(x, lambda own, x: ops.linear(x, weight, own["bias"]))
    return {"weight": weight, **head}
