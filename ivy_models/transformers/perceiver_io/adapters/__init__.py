"""From task data to the inputs that a Perceiver reads."""

from ivy_models.transformers.perceiver_io.adapters.grid import GridAdapter, LearnedPositions

__all__ = ["GridAdapter", "LearnedPositions"]
