"""Kinds of inputs, which turn data into the inputs of the reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ivy_models.transformers.perceiver_io.inputs.base import CheckedInputs, InputKind
from ivy_models.transformers.perceiver_io.inputs.coordinates import CoordinateInput
from ivy_models.transformers.perceiver_io.inputs.grid import GridAdapter, LearnedPositions
from ivy_models.transformers.perceiver_io.inputs.modalities import InputModality, MultimodalInput
from ivy_models.transformers.perceiver_io.inputs.tokens import TokenAdapter

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

__all__ = [
    "CheckedInputs",
    "CoordinateInput",
    "GridAdapter",
    "InputKind",
    "InputModality",
    "LearnedPositions",
    "MultimodalInput",
    "TokenAdapter",
    "kind_of_input",
]


def kind_of_input(spec: PerceiverIOSpec) -> type[InputKind]:
    """Return the kind of inputs that a spec describes. Only this function distinguishes kinds."""
    if spec.input_modalities is not None:
        return MultimodalInput
    if spec.num_position_axes is not None:
        return CoordinateInput
    return GridAdapter if spec.vocabulary_size is None else TokenAdapter
