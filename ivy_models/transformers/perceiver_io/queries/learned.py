"""Learned queries, which are the same for all data, unless a call passes others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivy_models.errors import SpecError
from ivy_models.ops import Array, Ops, ops_for
from ivy_models.transformers.perceiver_io.decoder import Decoder
from ivy_models.transformers.perceiver_io.parameters import Tree, table
from ivy_models.transformers.perceiver_io.queries.base import Axes, Convert, OpenAxes
from ivy_models.transformers.perceiver_io.queries.given import GivenQueries

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


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
