"""A resampler as a pure function of weights and arrays of a framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ivy_models.layers.attention import MLP, project
from ivy_models.layers.parameters import Tree, flatten
from ivy_models.ops import Array, Ops, ops_for
from ivy_models.transformers.perceiver_io.resampler.attention import Source, attend, norm
from ivy_models.transformers.perceiver_io.resampler.checks import Call, checked
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec


def resample(
    spec: ResamplerSpec,
    params: Tree,
    inputs: Array | Sequence[Array],
    latents: Array | None = None,
    mask: Array | Sequence[Array] | None = None,
    positions: Array | Sequence[Array] | None = None,
    latent_positions: Array | None = None,
) -> Array:
    """Read any number of inputs into a fixed number of outputs.

    Attention is exact. If keys, values and scores would need much memory, the inputs are read in
    chunks, so that memory grows only with the inputs themselves. Where that is cheaper, the
    projections to keys and values are folded into the queries, as in :class:`.Reader`.

    Parameters
    ----------
    spec
        The description.
    params
        Weights as ``spec.parameters()`` describes them, arrays of any one framework. Everything
        is computed in their data type.
    inputs
        Floats (B, M, C). A list of ``num_layers`` arrays: another input for each cross-attention.
    latents
        Floats (B, N, D), or (1, N, D) for a whole batch, if the spec has no ``num_latents``.
    mask
        Booleans (B, M), True for inputs to read. With a list of inputs: a list, or one for all. If
        no input of a batch element is read, its attention is zero, before the output's projection.
    positions
        With ``rotary_dim``: numbers (B, M), or (M,) for a whole batch. With a list of inputs: a
        list, or one for all.
    latent_positions
        With ``rotary_dim``: numbers (B, N), or (N,) for a whole batch.

    Returns
    -------
    Array
        (B, N, O), where O is ``output_dim`` or D; (B, O) if ``pooled``.

    Raises
    ------
    InputError
        If an argument has another shape or type, or does not belong to the spec.
    """
    like = _some_array(params, inputs)
    ops = ops_for(like)
    call = checked(ops, spec, like, params.get("latents"), inputs, latents, mask, positions,
                   latent_positions)  # fmt: skip
    latents = call.latents
    sources = [_source(ops, spec, params, source) for source in call.sources]
    for i in range(spec.num_layers):
        layer = params[f"layer_{i}"]
        source = sources[i % len(sources)]
        latents = _block(ops, spec, layer["cross_attention"], latents, call, source)
        for j in range(spec.num_self_attention_layers):
            latents = _block(ops, spec, layer[f"self_attention_{j}"], latents, call)
    if spec.output_dim is not None:
        latents = project(ops, params["output_projection"], latents)
    if spec.output_norm:
        latents = norm(ops, spec, params["output_norm"], latents)
    return ops.mean(latents, 1) if spec.pooled else latents


def _some_array(params: Tree, inputs: Any) -> Array:
    """An array of the weights. Layers that are called hide theirs."""
    arrays = (leaf for _, leaf in flatten(params) if not callable(leaf))
    one = inputs[0] if isinstance(inputs, (list, tuple)) and inputs else inputs
    return next(arrays, one)


def _source(ops: Ops, spec: ResamplerSpec, params: Tree, source: Source) -> Source:
    if not spec.input_projection:
        return source
    return source._replace(array=project(ops, params["input_projection"], source.array))


def _block(
    ops: Ops,
    spec: ResamplerSpec,
    params: Tree,
    latents: Array,
    call: Call,
    source: Source | None = None,
) -> Array:
    """Attention to a source, or among the latents, and an MLP: (B, N, D) -> (B, N, D)."""

    def normed(name: str, x: Array) -> Array:
        return norm(ops, spec, params[name], x) if name in params else x

    queries = Source(normed("query_norm", latents), positions=call.latent_positions)
    if source is None:
        seen = [queries]
    else:
        source = source._replace(norm=params.get("input_norm"))
        seen = [source, queries] if spec.keys_from_latents else [source]
    attended = normed("attention_norm", attend(ops, spec, params["attention"], queries, seen))
    kept = source is None or spec.query_residual
    latents = latents + attended if kept else attended
    if "mlp" not in params:
        return latents
    if spec.norm_position == "after":
        return latents + normed("mlp_norm", _mlp(ops, spec, params["mlp"], latents))
    return latents + _mlp(ops, spec, params["mlp"], normed("mlp_norm", latents))


def _mlp(ops: Ops, spec: ResamplerSpec, params: Tree, x: Array) -> Array:
    activation = MLP(activation=spec.activation, exact_gelu=True)
    hidden = project(ops, params["hidden"], x)
    if spec.gated_mlp:
        hidden = hidden * activation.activate(ops, project(ops, params["gate"], x))
    else:
        hidden = activation.activate(ops, hidden)
    return project(ops, params["output"], hidden)
