"""Kinds of inputs: from data to what the reader attends to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ivy_models.transformers.perceiver_io.inputs.base import CheckedInputs, InputKind
from ivy_models.transformers.perceiver_io.inputs.grid import GridAdapter, LearnedPositions
from ivy_models.transformers.perceiver_io.inputs.modalities import InputModality, MultimodalInput
from ivy_models.transformers.perceiver_io.inputs.tokens import TokenAdapter

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

__all__ = [
    "CheckedInputs",
    "GridAdapter",
    "InputKind",
    "InputModality",
    "LearnedPositions",
    "MultimodalInput",
    "TokenAdapter",
    "kind_of_input",
]


def kind_of_input(spec: PerceiverIOSpec) -> type[InputKind]:
    """The kind that a spec's fields ask for; the one place that tells kinds apart."""
    if spec.input_modalities is not None:
        return MultimodalInput
    return GridAdapter if spec.vocabulary_size is None else TokenAdapter
