"""No queries: the decoder averages the latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivy_models.errors import SpecError
from ivy_models.layers.attention import Dropout, Record
from ivy_models.layers.features import Inputs
from ivy_models.layers.parameters import Tree
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

POOLINGS = ("mean",)


@dataclass(frozen=True)
class PooledLatents(Queries):
    """One output without axes, from all latents."""

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> PooledLatents:
        if spec.pooling not in POOLINGS:
            raise SpecError(
                f"pooling must be one of {', '.join(map(repr, POOLINGS))} or None, got "
                f"{spec.pooling!r}."
            )
        if (
            not spec.with_decoder
            or spec.query_shape is not None
            or spec.query_per_input
            or spec.queries_from_inputs
            or spec.tied_head
            or spec.num_query_position_axes is not None
            or spec.output_modalities is not None
        ):
            raise SpecError(
                f'With pooling="{spec.pooling}" no queries attend to the latents: set '
                "with_decoder=True, and leave out query_shape, query_per_input, "
                "queries_from_inputs, num_query_position_axes, output_modalities and tied_head."
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
    ) -> tuple[None, Axes]:
        refuse(given, "that averages its latents; pass none.")
        return None, ()

    def output_axes(self, given: Any, batch_shape: OpenAxes, grid_shape: Any) -> Any:
        return ()

    def decode(
        self,
        decoder: Any,
        params: Tree,
        latents: Array,
        given: Any,
        inputs: Inputs | Sequence[Inputs] | None = None,
        input_mask: Array | None = None,
        dropout: Dropout | None = None,
        record: Record | None = None,
    ) -> Array:
        return decoder(params["decoder"], latents, record)
