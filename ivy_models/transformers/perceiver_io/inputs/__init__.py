"""Kinds of inputs: from data to what the reader attends to."""

from ivy_models.transformers.perceiver_io.inputs.grid import GridAdapter, LearnedPositions
from ivy_models.transformers.perceiver_io.inputs.modalities import InputModality, MultimodalInput
from ivy_models.transformers.perceiver_io.inputs.tokens import TokenAdapter

__all__ = ["GridAdapter", "InputModality", "LearnedPositions", "MultimodalInput", "TokenAdapter"]
