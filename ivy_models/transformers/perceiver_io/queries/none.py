"""No queries: a model without a decoder, whose results are its latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
class NoQueries(Queries):
    """No queries.

    Parameters
    ----------
    num_latents
        N, the number of latents.
    """

    num_latents: int

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> NoQueries:
        return cls(spec.num_latents)

    def check(
        self,
        ops: Ops,
        like: Array,
        given: Any,
        batch_shape: Axes,
        grid_shape: Axes | dict[str, Axes] | None,
        convert: Convert,
    ) -> tuple[None, Axes]:
        refuse(given, "without a decoder; pass none.")
        return None, (self.num_latents,)

    def output_axes(self, given: Any, batch_shape: OpenAxes, grid_shape: Any) -> Any:
        return (self.num_latents,)
