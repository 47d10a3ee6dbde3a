"""The inputs as queries, with one output for each input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivy_models.errors import SpecError
from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.queries.base import (
    Axes,
    Convert,
    OpenAxes,
    Queries,
    refuse,
)

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@dataclass(frozen=True)
class InputQueries(Queries):
    """The inputs, with their positions."""

    needs_data = True

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> InputQueries:
        if (
            spec.learn_query
            or spec.query_per_input
            or spec.input_modalities is not None
            or not spec.with_decoder
            or spec.queries_dim != spec.encoded_dim
        ):
            raise SpecError(
                "queries_from_inputs needs a decoder, learn_query=False, no query_per_input, no "
                f"input_modalities and queries_dim={spec.encoded_dim}, the channels of an input."
            )
        return cls()

    def check(
        self,
        ops: Ops,
        like: Array,
        given: Any,
        batch_shape: Axes,
        grid_shape: Axes | dict[str, Axes] | None,
        convert: Convert,
    ) -> tuple[None, Axes | dict[str, Axes]]:
        refuse(given, "that takes its inputs; pass none.")
        assert grid_shape is not None  # this kind is only for one grid
        return None, grid_shape

    def output_axes(self, given: Any, batch_shape: OpenAxes, grid_shape: Any) -> Any:
        return grid_shape

    def __call__(self, params, latents, given, inputs, input_mask):
        return inputs, None
