"""Queries that each call passes, or that are learned and a call may replace."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.parameters import Tree, table
from ivy_models.ops import Array, Ops, is_shape, ops_for
from ivy_models.transformers.perceiver_io.decoder import Decoder
from ivy_models.transformers.perceiver_io.inputs.base import convert_mask
from ivy_models.transformers.perceiver_io.inputs.grid import with_finite_squares
from ivy_models.transformers.perceiver_io.queries.base import Axes, Convert, OpenAxes, Queries

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@dataclass(frozen=True)
class GivenQueries(Queries):
    """Floats (*batch, *axes, dim), or (*axes, dim) for a whole batch.

    Parameters
    ----------
    shape
        Axes of the queries. None: any axes, or exactly one if the whole batch shares the queries.
    dim
        E, channels of a query.
    rescales
        Whether huge queries are scaled down. This is correct if only their layer norm is used.
    """

    shape: Axes | None
    dim: int
    rescales: bool

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> GivenQueries:
        shape = None if spec.query_shape is None else tuple(spec.query_shape)
        return cls(shape, spec.queries_dim, not spec.query_residual)

    def argument_shape(self) -> OpenAxes | None:
        return (*((None,) if self.shape is None else self.shape), self.dim)

    def call_shape(self) -> Axes | None:
        if self.shape is None:
            raise InputError(
                "The spec does not fix the number of queries, which each call passes. Set "
                "query_shape to fix it."
            )
        return math.prod(self.shape), self.dim

    def with_mask(self, given: Any, query_mask: Any) -> Any:
        if isinstance(given, Mapping):
            raise InputError(
                "queries is a mapping, which is for models with output_modalities; expected an "
                f"array (*batch, *query_axes, {self.dim})."
            )
        if query_mask is None or given is None:
            return super().with_mask(given, query_mask)
        return {"queries": given, "mask": query_mask}

    def check(
        self,
        ops: Ops,
        like: Array,
        given: Any,
        batch_shape: Axes,
        grid_shape: Axes | dict[str, Axes] | None,
        convert: Convert,
    ) -> tuple[Any, Axes | dict[str, Axes]]:
        given, mask = parts_of(given)
        queries = None if given is None else convert(given, "queries")
        shape = None if queries is None else ops.known_shape(queries, self.dim)
        num_axes = len(self.output_axes(shape, batch_shape, grid_shape))
        axes = ops.shape(queries)[-1 - num_axes : -1]
        if not ops.is_float(queries):
            raise InputError(f"queries are of type {ops.dtype(queries)}; expected floats.")
        queries = ops.reshape(queries, (-1, math.prod(axes), self.dim))
        if mask is None:
            return ops.match(self._prepared(ops, queries), ops.widen(like)), axes
        named: Any = {"argument": "query_mask", "element": "a query"}
        mask = convert_mask(ops, like, mask, batch_shape, axes, convert, **named)
        queries = self._prepared(ops, queries, mask[..., None])
        return {"queries": ops.match(queries, ops.widen(like)), "mask": mask}, axes

    def _prepared(self, ops: Ops, queries: Array, mask: Array | None = None) -> Array:
        """Queries (..., O, E) with zeros where the mask (B, O, 1) is False."""
        if mask is None:
            return queries
        return ops.where(mask, ops.move(queries, like=mask), 0.0)

    def output_axes(self, given: Any, batch_shape: OpenAxes, grid_shape: Any) -> Any:
        if given is None:
            raise InputError(
                "The model has learn_query=False, so each call passes queries=..., of shape "
                f"(*batch, *query_axes, {self.dim})."
            )
        shape = tuple(given)
        if len(shape) < (1 if self.shape == () else 2) or shape[-1] != self.dim:
            raise InputError(
                f"queries have shape {shape}; expected (*batch, *query_axes, {self.dim}), "
                "or the same without batch for queries that a whole batch shares."
            )
        if 0 in shape:
            raise InputError(f"queries are empty; got shape {shape}.")
        is_shared = len(shape) - 1 == (1 if self.shape is None else len(self.shape))
        axes = shape[:-1] if is_shared else shape[len(batch_shape) : -1]
        if not is_shared and not is_shape(shape[: len(batch_shape)], batch_shape):
            raise InputError(
                f"queries have shape {shape}, which does not begin with the data's batch axes "
                f"{batch_shape}; pass (O, {self.dim}) for queries that a whole batch shares."
            )
        if not axes and self.shape is None:
            raise InputError(
                f"queries have shape {shape}, the data's batch axes and channels; expected "
                f"(*batch, *query_axes, {self.dim}). For one query per element without an axis, "
                "set the spec's query_shape=()."
            )
        if self.shape is not None and not is_shape(axes, self.shape):
            raise InputError(f"queries have axes {axes}; the spec's query_shape is {self.shape}.")
        return axes if self.shape is None else self.shape

    def __call__(self, params, latents, given, inputs, input_mask):
        ops, (given, mask) = ops_for(latents), parts_of(given)
        return ops.match(with_finite_squares(ops, given) if self.rescales else given, latents), mask

    def decode(
        self,
        decoder,
        params,
        latents,
        given,
        inputs=None,
        input_mask=None,
        dropout=None,
        record=None,
    ):
        if given is not None and not self.rescales:
            decoder = replace(decoder, huge_queries=True)
        return super().decode(decoder, params, latents, given, inputs, input_mask, dropout, record)


def parts_of(given: Any) -> tuple[Any, Any]:
    """The queries and their mask, if any, of what a call gave."""
    return (given["queries"], given["mask"]) if isinstance(given, Mapping) else (given, None)


@dataclass(frozen=True)
class LearnedQueries(GivenQueries):
    """A table of queries, one for each output, where a call passes none.

    Parameters
    ----------
    shape
        Axes of the queries, and so of the output; O is their product.
    dim
        E, channels of a query.
    rescales
        As :class:`GivenQueries` takes it.
    """

    shape: Axes

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> LearnedQueries:
        if spec.query_shape is None:
            raise SpecError(
                "learn_query=True needs query_shape, the axes of the learned queries: "
                "[] for a classifier, [height, width] for a map. "
                "To pass queries at each call set learn_query=False."
            )
        return cls(tuple(spec.query_shape), spec.queries_dim, not spec.query_residual)

    def parameters(self, decoder: Decoder) -> Tree:
        return {"queries": table(math.prod(self.shape), self.dim)}

    def argument_shape(self) -> OpenAxes | None:
        return None

    def call_shape(self) -> Axes | None:
        return None

    def check(
        self,
        ops: Ops,
        like: Array,
        given: Any,
        batch_shape: Axes,
        grid_shape: Axes | dict[str, Axes] | None,
        convert: Convert,
    ) -> tuple[Array | None, Axes | dict[str, Axes]]:
        if given is None:
            return None, self.shape
        return super().check(ops, like, given, batch_shape, grid_shape, convert)

    def output_axes(self, given: Any, batch_shape: OpenAxes, grid_shape: Any) -> Any:
        return self.shape if given is None else super().output_axes(given, batch_shape, grid_shape)

    def __call__(self, params, latents, given, inputs, input_mask):
        if given is None:
            return ops_for(latents).match(params["queries"][None], latents), None
        return super().__call__(params, latents, given, inputs, input_mask)
