"""Kinds of queries, with which the decoder attends to the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ivy_models.transformers.perceiver_io.queries.base import Queries
from ivy_models.transformers.perceiver_io.queries.coordinates import CoordinateQueries
from ivy_models.transformers.perceiver_io.queries.from_inputs import InputQueries
from ivy_models.transformers.perceiver_io.queries.given import GivenQueries, LearnedQueries
from ivy_models.transformers.perceiver_io.queries.modalities import (
    ModalityQueries,
    MultimodalOutput,
    OutputModality,
)
from ivy_models.transformers.perceiver_io.queries.none import NoQueries
from ivy_models.transformers.perceiver_io.queries.per_input import PerInputQueries
from ivy_models.transformers.perceiver_io.queries.pooled import PooledLatents

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

__all__ = ["CoordinateQueries", "MultimodalOutput", "OutputModality", "Queries", "kind_of_queries"]


def kind_of_queries(spec: PerceiverIOSpec) -> type[Queries]:
    """Return the kind of queries that a spec describes. Only this function distinguishes kinds."""
    if spec.pooling is not None:
        return PooledLatents
    if spec.num_query_position_axes is not None:
        return CoordinateQueries
    if spec.output_modalities is not None:
        return ModalityQueries
    if spec.queries_from_inputs:
        return InputQueries
    if not spec.with_decoder:
        return NoQueries
    if spec.query_per_input:
        return PerInputQueries
    return LearnedQueries if spec.learn_query else GivenQueries
