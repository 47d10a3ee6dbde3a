"""Tokens, such as the bytes of a text or a category: integers (B, M) or (B,)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.features import Features, Inputs
from ivy_models.layers.parameters import Tree, table
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
from ivy_models.transformers.perceiver_io.unread import rows_at

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.inputs.base import InputFields


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
        Number of positions. Sequences may be shorter. None: an element of the batch is one token,
        without a position.
    """

    vocabulary_size: int
    dim: int
    max_length: int | None

    @classmethod
    def of(cls, spec: InputFields) -> TokenAdapter:
        lengths = tuple(spec.learned_position_shape or ())
        if (
            spec.num_input_axes > 1
            or spec.stem is not None
            or len(lengths) != spec.num_input_axes
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
        return cls(spec.vocabulary_size, spec.input_dim, lengths[0] if lengths else None)

    def takes_tokens(self, _name: str = "data") -> bool:
        return True

    @property
    def num_channels(self) -> int:
        """C, channels of an input."""
        return self.dim

    @property
    def num_grid_axes(self) -> int:
        """Axes of the inputs."""
        return 0 if self.max_length is None else 1

    def open_shape(self) -> OpenAxes:
        return (None,) * self.num_grid_axes

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        tree: Tree = {"embedding": table(self.vocabulary_size, self.dim)}
        if self.max_length is not None:
            tree["positions"] = table(self.max_length, self.dim)
        return tree

    @property
    def longest_padding(self) -> int | None:
        return self.max_length

    def check_shape(self, shape: OpenAxes, name: str = "data") -> None:
        """Check the shape of tokens, (*batch, length) or (*batch,).

        Raises
        ------
        InputError
            If there are no tokens, or more tokens than positions.
        """
        if len(shape) < self.num_grid_axes or 0 in shape:
            expected = "(*batch,)" if self.max_length is None else "(*batch, length)"
            raise InputError(f"{name} has shape {shape}; expected tokens {expected}, at least one.")
        length = shape[-1] if self.num_grid_axes else None
        if length is not None and self.max_length is not None and length > self.max_length:
            raise InputError(
                f"{name} has {length} tokens; the model has positions for {self.max_length}. "
                "Truncate or split the sequence."
            )

    def check(
        self,
        ops: Ops,
        like: Array,
        data: Any,
        mask: Any,
        convert: Convert,
        modality: str | None = None,
    ) -> CheckedInputs:
        """Do as the base class says, for all data or for one modality."""
        name = modality or "data"
        tokens = convert(data, name)
        self.check_shape(ops.known_shape(tokens), name)
        if "int" not in ops.dtype(tokens):
            raise InputError(
                f"{name} is of type {ops.dtype(tokens)}; expected tokens, which are integers."
            )
        # A traced array has no values yet.
        if not (ops.is_traced(tokens) or ops.waits_for(tokens)):
            self._check_values(ops.to_numpy(tokens), name)
        batch_shape, axes = self._split(ops.shape(tokens))
        tokens = ops.move(ops.cast(ops.reshape(tokens, (-1, *axes)), "int32"), like)
        if mask is not None:
            mask = convert_mask(ops, like, mask, batch_shape, axes, convert, modality)
        return CheckedInputs(tokens, mask, batch_shape, axes)

    def _check_values(self, tokens: np.ndarray, name: str) -> None:
        lowest, highest = tokens.min(), tokens.max()
        if lowest < 0 or highest >= self.vocabulary_size:
            raise InputError(
                f"{name} has tokens from {lowest} to {highest}; the model's are from 0 to "
                f"{self.vocabulary_size - 1}."
            )

    def _split(self, shape: Any) -> tuple[Any, Any]:
        num_batch_axes = len(shape) - self.num_grid_axes
        return tuple(shape[:num_batch_axes]), tuple(shape[num_batch_axes:])

    def split_shape(self, shape: OpenAxes, name: str = "data") -> tuple[OpenAxes, OpenAxes]:
        self.check_shape(shape, name)
        return self._split(shape)

    def data_shape(self, size: Sequence[int] | None, output_shapes: Mapping[str, Axes]) -> Axes:
        if size is None:
            size = () if self.max_length is None else (self.max_length,)
        shape = size_of_axes(size, self.num_grid_axes)
        self.check_shape(shape)
        return shape

    def adapt(self, params: Tree, data: Array, mask: Array | None) -> tuple[Inputs, Array | None]:
        return self(params, data), mask

    def __call__(self, params: Tree, tokens: Array) -> Inputs:
        """Adapt tokens (B, M) or (B,), whole numbers from 0 to V - 1.

        The inputs are in float32 where the weights are of half precision, like those of a grid.
        """
        ops, embedding = ops_for(tokens), params["embedding"]
        if self.max_length is None:
            tokens = ops.reshape(tokens, (-1, 1))
        length = ops.shape(tokens)[1]

        def embed(tokens):
            return embedding(tokens) if callable(embedding) else ops.look_up(embedding, tokens)

        rows = rows_at(ops, embed, tokens, self.vocabulary_size)
        embedded = ops.widen(rows)
        if self.max_length is not None:
            embedded = embedded + ops.widen(ops.slice(params["positions"], 0, length, 0))
        return Inputs((length,), Features(embedded))
