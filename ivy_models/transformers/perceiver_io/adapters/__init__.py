"""From task data to the inputs that a Perceiver reads, and from what it decodes to outputs."""

from ivy_models.transformers.perceiver_io.adapters.grid import GridAdapter, LearnedPositions
from ivy_models.transformers.perceiver_io.adapters.multimodal_input import (
    InputModality,
    MultimodalInput,
)
from ivy_models.transformers.perceiver_io.adapters.multimodal_output import (
    MultimodalOutput,
    OutputModality,
)
from ivy_models.transformers.perceiver_io.adapters.tokens import TokenAdapter

__all__ = [
    "GridAdapter",
    "InputModality",
    "LearnedPositions",
    "MultimodalInput",
    "MultimodalOutput",
    "OutputModality",
    "TokenAdapter",
]
