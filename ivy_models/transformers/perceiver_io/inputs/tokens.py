"""Sequences of tokens, such as the bytes of a text: integers (B, M)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.errors import InputError, SpecError
from ivy_models.ops import Array, Ops, ops_for
from ivy_models.transformers.perceiver_io.inputs.base import (
    Axes,
    CheckedInputs,
    Convert,
    InputKind,
    OpenAxes,
    check_one_an_axis,
    convert_mask,
    size_of_axes,
)
from ivy_models.transformers.perceiver_io.inputs.features import Features, Inputs
from ivy_models.transformers.perceiver_io.parameters import Tree, table
from ivy_models.transformers.perceiver_io.unread import rows_at

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@dataclass(frozen=True)
class TokenAdapter(InputKind):
    """Turn tokens into their embeddings, plus a learned vector for each position.

    Parameters
    ----------
    vocabulary_size
        V, the number of different tokens.
    dim
        C, channels of an embedding.
    max_length
        Number of positions. Sequences may be shorter.
    """

    vocabulary_size: int
    dim: int
    max_length: int

    holds_tokens = True

    @classmethod
    def of(cls, spec: PerceiverIOSpec) -> TokenAdapter:
        positions = spec.learned_position_shape
        if (
            spec.num_input_axes != 1
            or spec.stem is not None
            or positions is None
            or len(positions) != 1
            or spec.vocabulary_size is None
        ):
            raise SpecError(
                "Tokens (vocabulary_size) have one axis, no stem and learned positions: set "
                "num_input_axes=1, learned_position_shape=[longest sequence] and "
                "fourier_encode_input=False, and leave out stem and learned_position_dim."
            )
        if spec.learned_position_dim is not None:
            raise SpecError(
                "Tokens have learned positions of input_dim channels: leave out "
                "learned_position_dim."
            )
        if spec.patch_shape is not None:
            raise SpecError("patch_shape is for data without tokens: leave it out.")
        check_one_an_axis(spec, "max_fourier_freq", 1)
        return cls(spec.vocabulary_size, spec.input_dim, positions[0])

    @property
    def num_channels(self) -> int:
        """C, channels of an input."""
        return self.dim

    @property
    def num_grid_axes(self) -> int:
        """Axes of the inputs."""
        return 1

    def open_shape(self) -> OpenAxes:
        return (None,)

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        return {
            "embedding": table(self.vocabulary_size, self.dim),
            "positions": table(self.max_length, self.dim),
        }

    @property
    def longest_padding(self) -> int:
        return self.max_length

    def check_shape(self, shape: OpenAxes) -> None:
        """Check the shape of tokens, (*batch, length).

        Raises
        ------
        InputError
            If there are no tokens, or more tokens than positions.
        """
        if not shape or 0 in shape:
            raise InputError(
                f"data has shape {shape}; expected tokens (*batch, length), at least one."
            )
        length = shape[-1]
        if length is not None and length > self.max_length:
            raise InputError(
                f"data has {length} tokens; the model has positions for {self.max_length}. "
                "Truncate or split the sequence."
            )

    def check(self, ops: Ops, like: Array, data: Any, mask: Any, convert: Convert) -> CheckedInputs:
        tokens = convert(data, "data")
        self.check_shape(ops.known_shape(tokens))
        if "int" not in ops.dtype(tokens):
            raise InputError(
                f"data is of type {ops.dtype(tokens)}; the model takes tokens, integers."
            )
        # A traced array has no values yet.
        if not (ops.is_traced(tokens) or ops.waits_for(tokens)):
            self._check_values(ops.to_numpy(tokens))
        *batch_shape, length = ops.shape(tokens)
        tokens = ops.move(ops.cast(ops.reshape(tokens, (-1, length)), "int32"), like)
        if mask is not None:
            mask = convert_mask(ops, like, mask, "mask", tuple(batch_shape), (length,), convert)
        return CheckedInputs(tokens, mask, tuple(batch_shape), (length,))

    def _check_values(self, tokens: np.ndarray) -> None:
        lowest, highest = tokens.min(), tokens.max()
        if lowest < 0 or highest >= self.vocabulary_size:
            raise InputError(
                f"data has tokens from {lowest} to {highest}; the model's are from 0 to "
                f"{self.vocabulary_size - 1}."
            )

    def split_shape(self, shape: OpenAxes) -> tuple[OpenAxes, OpenAxes]:
        self.check_shape(shape)
        return tuple(shape[:-1]), tuple(shape[-1:])

    def data_shape(self, size: Sequence[int] | None, output_shapes: Mapping[str, Axes]) -> Axes:
        shape = size_of_axes((self.max_length,) if size is None else size, 1)
        self.check_shape(shape)
        return shape

    def adapt(self, params: Tree, data: Array, mask: Array | None) -> tuple[Inputs, Array | None]:
        return self(params, data), mask

    def __call__(self, params: Tree, tokens: Array) -> Inputs:
        """Adapt tokens (B, M), whole numbers from 0 to V - 1.

        The inputs are in float32 where the weights are of half precision, like those of a grid.
        """
        ops, embedding = ops_for(params["positions"]), params["embedding"]
        length = ops.shape(tokens)[1]
        positions = ops.slice(params["positions"], 0, length, 0)

        def embed(tokens):
            return embedding(tokens) if callable(embedding) else ops.look_up(embedding, tokens)

        rows = rows_at(ops, embed, tokens, self.vocabulary_size)
        embedded = ops.widen(rows) + ops.widen(positions)
        return Inputs((length,), Features(embedded))
