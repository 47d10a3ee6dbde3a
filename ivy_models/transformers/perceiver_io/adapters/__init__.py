"""From task data to the inputs that a Perceiver reads."""

from ivy_models.transformers.perceiver_io.adapters.grid import GridAdapter, LearnedPositions
from ivy_models.transformers.perceiver_io.adapters.tokens import TokenAdapter

__all__ = ["GridAdapter", "LearnedPositions", "TokenAdapter"]
