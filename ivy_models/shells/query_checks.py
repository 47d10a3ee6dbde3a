"""Checks of the queries that a model is called with."""

from __future__ import annotations

import math
from typing import Any

from ivy_models.arrays import to_native
from ivy_models.errors import InputError
from ivy_models.ops import Array, Ops, is_shape
from ivy_models.shells.input_checks import check_names
from ivy_models.transformers.perceiver_io.queries import OutputModality
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

Queries = Array | dict[str, Array | None] | None

Axes = tuple[int, ...]


def check_queries(
    ops: Ops,
    spec: PerceiverIOSpec,
    like: Array,
    queries: Any,
    batch_shape: Axes,
    grid_shape: Axes | None,
) -> tuple[Queries, Axes | dict[str, Axes]]:
    """Convert a model's queries to what its core takes.

    Parameters
    ----------
    ops, spec, like
        As in :func:`.check_inputs`.
    queries
        As the user passed them.
    batch_shape, grid_shape
        Of the data.

    Returns
    -------
    tuple
        Queries (B, O, E) or (1, O, E), or by modality which of them; and the axes of the
        result between batch and channels, by modality where there are several.

    Raises
    ------
    InputError
        If they do not fit the model.
    """
    if spec.output_modalities is not None:
        return _check_indices(ops, spec, like, queries)
    if queries is not None:
        queries = to_native(ops, queries, "queries")
    query_axes = _check_queries(ops, spec, queries, batch_shape)
    if queries is not None:
        queries = ops.reshape(queries, (-1, math.prod(query_axes), spec.queries_dim))
        queries = ops.match(queries, ops.widen(like))
    if spec.queries_from_inputs or spec.query_per_input:
        query_axes = grid_shape
    return queries, query_axes


def _check_indices(
    ops: Ops, spec: PerceiverIOSpec, like: Array, queries: Any
) -> tuple[dict[str, Array | None], dict[str, Axes]]:
    modalities = {modality.name: modality for modality in spec.output_modalities}
    queries = dict.fromkeys(modalities) if queries is None else queries
    check_names("queries", queries, modalities)
    if not queries:
        raise InputError(f"queries name no modality to decode, of {', '.join(modalities)}.")
    indices, axes = {}, {}
    for name in sorted(queries):
        modality = modalities[name]
        if queries[name] is None:
            indices[name], axes[name] = None, modality.output_shape
        else:
            indices[name] = _convert_indices(ops, like, modality, queries[name])
            axes[name] = (indices[name].shape[0], *(modality.patch_shape or ()))
    return indices, axes


def _convert_indices(ops: Ops, like: Array, modality: OutputModality, indices: Any) -> Array:
    name = f'queries["{modality.name}"]'
    indices = to_native(ops, indices, name)
    if len(indices.shape) != 1 or 0 in indices.shape or "int" not in ops.dtype(indices):
        raise InputError(
            f"{name} are the places of queries, whole numbers (n,); got shape "
            f"{tuple(indices.shape)} of type {ops.dtype(indices)}."
        )
    if not ops.is_traced(indices):  # a program's numbers cannot be looked at
        values = ops.to_numpy(indices)
        if values.min() < 0 or values.max() >= modality.num_queries:
            raise InputError(
                f"{name} go from {values.min()} to {values.max()}; the model's are from 0 to "
                f"{modality.num_queries - 1}."
            )
    return ops.move(ops.cast(indices, "int32"), like)


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
    if 0 in shape or not ops.is_float(queries):
        raise InputError(
            f"queries are floats and at least one; got shape {shape} of type {ops.dtype(queries)}."
        )
    shared = (
        len(shape) - 1 == len(spec.query_shape) if spec.query_shape is not None else len(shape) == 2
    )
    query_axes = shape[:-1] if shared else shape[len(batch_shape) : -1]
    begins = is_shape(shape[: len(batch_shape)], batch_shape)
    if (not shared and not begins) or not query_axes:
        raise InputError(
            f"queries have shape {shape}, which does not begin with the data's batch axes "
            f"{batch_shape}; pass (O, {spec.queries_dim}) for queries that a whole batch shares."
        )
    if spec.query_shape is not None and query_axes != spec.query_shape:
        raise InputError(
            f"queries have axes {query_axes}; the spec's query_shape is {spec.query_shape}."
        )
    return query_axes
