"""Checks of what a model is called with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ivy_models.arrays import to_native
from ivy_models.errors import InputError
from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@dataclass(frozen=True)
class Call:
    """Checked arguments, with one batch axis, and the result's axes before its channels."""

    data: Array
    input_mask: Array | None
    queries: Array | None
    output_axes: tuple[int, ...]


def check_call(
    ops: Ops, spec: PerceiverIOSpec, like: Array, data: Any, mask: Any, queries: Any
) -> Call:
    """Convert a model's arguments to what its core takes.

    Parameters
    ----------
    ops
        The framework to convert to.
    spec
        The model's description.
    like
        A weight: arrays get its data type, float32 at least, and its device.
    data, mask, queries
        As the user passed them.

    Raises
    ------
    InputError
        If one of them does not fit the model.
    """
    like = ops.widen(like)
    data = to_native(ops, data, "data")
    if spec.vocabulary_size is not None:
        return _check_token_call(ops, spec, like, data, mask, queries)
    _check_data(ops, spec, data)
    batch_shape = tuple(data.shape[: -spec.num_input_axes - 1])
    batch, axes = math.prod(batch_shape), tuple(data.shape[len(batch_shape) : -1])
    data = ops.match(ops.reshape(data, (batch, *axes, spec.input_dim)), like)
    grid_shape = spec.adapter().grid_shape(axes)
    if mask is not None:
        mask = _convert_mask(ops, spec, like, mask, batch_shape, grid_shape)
        data = _zero_where_masked(ops, data, mask, grid_shape)
    queries, query_axes = _convert_queries(ops, spec, like, queries, batch_shape)
    if spec.queries_from_inputs:
        query_axes = grid_shape
    return Call(data, mask, queries, (*batch_shape, *query_axes))


def _check_token_call(
    ops: Ops, spec: PerceiverIOSpec, like: Array, tokens: Array, mask: Any, queries: Any
) -> Call:
    _check_tokens(ops, spec, tokens)
    batch_shape, length = tuple(tokens.shape[:-1]), tokens.shape[-1]
    tokens = ops.move(ops.cast(ops.reshape(tokens, (-1, length)), "int32"), like)
    if mask is not None:
        mask = _convert_mask(ops, spec, like, mask, batch_shape, (length,))
    queries, query_axes = _convert_queries(ops, spec, like, queries, batch_shape)
    if spec.query_per_input:
        query_axes = (length,)
    return Call(tokens, mask, queries, (*batch_shape, *query_axes))


def _convert_queries(
    ops: Ops, spec: PerceiverIOSpec, like: Array, queries: Any, batch_shape: tuple[int, ...]
) -> tuple[Array | None, tuple[int, ...]]:
    """Queries (B, O, E) or (1, O, E), and the axes of the result between batch and channels."""
    if queries is not None:
        queries = to_native(ops, queries, "queries")
    query_axes = _check_queries(ops, spec, queries, batch_shape)
    if queries is not None:
        queries = ops.reshape(queries, (-1, math.prod(query_axes), spec.queries_dim))
        queries = ops.match(queries, like)
    return queries, query_axes


def _check_tokens(ops: Ops, spec: PerceiverIOSpec, tokens: Array) -> None:
    shape, (max_length,) = tuple(tokens.shape), spec.learned_position_shape
    if not shape or 0 in shape:
        raise InputError(f"data has shape {shape}; expected tokens (*batch, length), at least one.")
    if shape[-1] > max_length:
        raise InputError(
            f"data has {shape[-1]} tokens; the model has positions for {max_length}. Truncate or "
            "split the sequence."
        )
    if "int" not in ops.dtype(tokens):
        raise InputError(f"data is of type {ops.dtype(tokens)}; the model takes tokens, integers.")
    if ops.is_traced(tokens):  # a program's numbers cannot be looked at
        return
    values = ops.to_numpy(tokens)
    lowest, highest = values.min(), values.max()
    if lowest < 0 or highest >= spec.vocabulary_size:
        raise InputError(
            f"data has tokens from {lowest} to {highest}; the model's are from 0 to "
            f"{spec.vocabulary_size - 1}."
        )


def _check_data(ops: Ops, spec: PerceiverIOSpec, data: Array) -> None:
    axes = ", ".join(f"axis_{i}" for i in range(spec.num_input_axes))
    expected = f"(*batch, {axes}, {spec.input_dim})"
    shape = tuple(data.shape)
    if len(shape) < spec.num_input_axes + 1:
        raise InputError(f"data has shape {shape}; expected {expected}: it has too few axes.")
    if shape[-1] != spec.input_dim:
        hint = ""
        if spec.input_dim in shape:
            hint = " The channels go last."
        raise InputError(
            f"data has shape {shape}, {shape[-1]} channels; expected {expected}, "
            f"{spec.input_dim} channels.{hint}"
        )
    if 0 in shape:
        raise InputError(f"data has shape {shape}, which holds nothing; expected {expected}.")
    size = shape[-spec.num_input_axes - 1 : -1]
    if spec.stem == "frame_pair" and size[0] != 2:
        raise InputError(
            f"data has shape {shape}; expected two frames, (*batch, 2, height, width, "
            f"{spec.input_dim})."
        )
    if spec.patch_shape and any(s % p for s, p in zip(size, spec.patch_shape, strict=True)):
        raise InputError(
            f"data has axes {size}, which are no multiples of the patches' {spec.patch_shape}. "
            "Crop or pad it."
        )
    positions, size = spec.learned_position_shape, spec.adapter().grid_shape(size)
    if positions is not None and size != positions:
        raise InputError(
            f"The model has learned positions for inputs of size {positions}; got {size}. "
            "Resize the data, or build the model with another learned_position_shape."
        )
    if not _is_float(ops, data):
        raise InputError(
            f"data is of type {ops.dtype(data)}; the model takes floats. Prepare images with "
            "model.preprocessing(image), or convert the array yourself if its numbers are "
            "already what the model expects."
        )


def _convert_mask(
    ops: Ops,
    spec: PerceiverIOSpec,
    like: Array,
    mask: Any,
    batch_shape: tuple[int, ...],
    axes: tuple[int, ...],
) -> Array:
    """Mask (*batch, *axes), or (*axes) for a whole batch -> booleans (B, M)."""
    mask = to_native(ops, mask, "mask")
    if spec.stem in ("convolution", "frame_pair"):
        raise InputError(
            f'mask is not possible with stem="{spec.stem}": it mixes neighbours, '
            "so no input of the reader belongs to one element of the data."
        )
    if tuple(mask.shape) not in {(*batch_shape, *axes), axes}:
        raise InputError(
            f"mask has shape {tuple(mask.shape)}; expected {(*batch_shape, *axes)}, "
            f"or {axes} for the whole batch: True where an input takes part."
        )
    if _is_float(ops, mask):
        raise InputError(
            f"mask is of type {ops.dtype(mask)}; expected booleans, True where an input takes part."
        )
    batch, num_inputs = math.prod(batch_shape), math.prod(axes)
    mask = ops.reshape(ops.cast(mask, "bool"), (-1, num_inputs))
    return ops.move(ops.broadcast_to(mask, (batch, num_inputs)), like)


def _zero_where_masked(ops: Ops, data: Array, mask: Array, grid_shape: tuple[int, ...]) -> Array:
    """Data (B, *axes, C) without what stands at masked inputs: NaN too must not reach the sums."""
    batch, *axes, _ = data.shape
    patch_shape = [size // grid for size, grid in zip(axes, grid_shape, strict=True)]
    mask = ops.reshape(mask, [batch, *(n for grid in grid_shape for n in (grid, 1)), 1])
    spread = [batch, *(n for pair in zip(grid_shape, patch_shape, strict=True) for n in pair), 1]
    mask = ops.reshape(ops.broadcast_to(mask, spread), (batch, *axes, 1))
    return ops.where(mask, data, 0.0)


def _check_queries(
    ops: Ops, spec: PerceiverIOSpec, queries: Array | None, batch_shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Axes of the result between batch and channels."""
    if not spec.with_decoder:
        if queries is not None:
            raise InputError("queries were passed to a model without a decoder; pass none.")
        return (spec.num_latents,)
    if spec.queries_from_inputs:
        if queries is not None:
            raise InputError("queries were passed to a model that takes its inputs; pass none.")
        return ()
    if spec.learn_query:
        if queries is not None:
            raise InputError(
                "queries were passed to a model that learned its own; pass none, or build the "
                "model with learn_query=False."
            )
        return spec.query_shape
    if queries is None:
        raise InputError(
            "The model has learn_query=False, so each call passes queries=..., of shape "
            f"(*batch, *query_axes, {spec.queries_dim})."
        )
    shape = tuple(queries.shape)
    if len(shape) < 2 or shape[-1] != spec.queries_dim:
        raise InputError(
            f"queries have shape {shape}; expected (*batch, *query_axes, {spec.queries_dim}), "
            "or the same without batch for queries that a whole batch shares."
        )
    if 0 in shape or not _is_float(ops, queries):
        raise InputError(
            f"queries are floats and at least one; got shape {shape} of type {ops.dtype(queries)}."
        )
    shared = (
        len(shape) - 1 == len(spec.query_shape) if spec.query_shape is not None else len(shape) == 2
    )
    query_axes = shape[:-1] if shared else shape[len(batch_shape) : -1]
    if (not shared and shape[: len(batch_shape)] != batch_shape) or not query_axes:
        raise InputError(
            f"queries have shape {shape}, which does not begin with the data's batch axes "
            f"{batch_shape}; pass (O, {spec.queries_dim}) for queries that a whole batch shares."
        )
    if spec.query_shape is not None and query_axes != spec.query_shape:
        raise InputError(
            f"queries have axes {query_axes}; the spec's query_shape is {spec.query_shape}."
        )
    return query_axes


def _is_float(ops: Ops, x: Array) -> bool:
    return "float" in ops.dtype(x)
