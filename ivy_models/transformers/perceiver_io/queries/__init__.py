"""Kinds of queries: what the decoder attends with."""

from ivy_models.transformers.perceiver_io.queries.modalities import (
    MultimodalOutput,
    OutputModality,
)

__all__ = ["MultimodalOutput", "OutputModality"]
