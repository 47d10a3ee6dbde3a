"""A learned query for each position of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivy_models.errors import SpecError
from ivy_models.ops import Array, Ops, ops_for
from ivy_models.transformers.perceiver_io.queries.base import Axes, Convert, OpenAxes, refuse
from ivy_models.transformers.perceiver_io.queries.given import LearnedQueries

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@dataclass(frozen=True)
class PerInputQueries(LearnedQueries):
    """Learned queries. A sequence uses as many of them as it has tokens.

    The query of a masked token attends to nothing.
    """

    needs_data = True

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> PerInputQueries:
        longest = spec.learned_position_shape
        if longest is None or not spec.learn_query or spec.query_shape != longest:
            raise SpecError(
                "query_per_input needs learn_query=True and a query for each position: "
                f"query_shape={list(longest or ())}, got {spec.query_shape}."
            )
        return cls(tuple(longest), spec.queries_dim, not spec.query_residual)

    def check(
        self,
        ops: Ops,
        like: Array,
        given: Any,
        batch_shape: Axes,
        grid_shape: Axes | dict[str, Axes] | None,
        convert: Convert,
    ) -> tuple[None, Axes | dict[str, Axes]]:
        refuse(given, "that has a learned query for each token; pass none.")
        assert grid_shape is not None  # this kind is only for tokens
        return None, grid_shape

    def output_axes(self, given: Any, batch_shape: OpenAxes, grid_shape: Any) -> Any:
        return grid_shape

    def __call__(self, params, latents, given, inputs, input_mask):
        queries, _ = super().__call__(params, latents, given, inputs, input_mask)
        return ops_for(latents).slice(queries, 0, inputs.num_inputs, 1), input_mask
