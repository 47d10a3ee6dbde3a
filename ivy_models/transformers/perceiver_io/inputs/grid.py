"""Data on a regular grid, such as an image, a sequence or a video: (B, *axes, channels)."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.features import Inputs
from ivy_models.layers.parameters import (
    Tree,
    lecun_normal,
    linear,
    map_tree,
    table,
)
from ivy_models.layers.patches import space_to_depth
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.ops import Array, Ops, is_shape, ops_for
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
from ivy_models.transformers.perceiver_io.inputs.stems import (
    CONVOLUTIONS,
    MIXING_STEMS,
    STEMS,
    Stem,
    projected,
)

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.inputs.base import InputFields

__all__ = ["CONVOLUTIONS", "MIXING_STEMS", "GridAdapter", "LearnedPositions"]

LARGEST = 1e15
"""Inputs above this are rescaled. Layer norm ignores scale, and the position channels are
negligible at this size, but squaring 1e20 overflows float32."""


@dataclass(frozen=True)
class LearnedPositions:
    """A table of positions put through a linear layer.

    Parameters
    ----------
    shape
        The grid that the table is for.
    dim
        Channels of the table and of the encoded positions.
    """

    shape: tuple[int, ...]
    dim: int

    def num_channels(self, _num_axes: int) -> int:
        return self.dim

    def parameters(self) -> Tree:
        return {
            "positions": table(math.prod(self.shape), self.dim),
            "position_projection": linear(self.dim, self.dim, lecun_normal),
        }


@dataclass(frozen=True)
class GridAdapter(InputKind):
    """Turn data on a grid into inputs with positions.

    Parameters
    ----------
    data_dim
        Channels of the data.
    num_axes
        Axes of the grid.
    stem
        What happens to the channels first. None: nothing. "projection": a linear layer.
        "column_projection": a linear layer for each of the learned positions. "frame_pair": data
        (B, 2, Y, X, channels); the 3x3 neighbourhoods of a pixel in both frames, padded with zeros,
        through a linear layer. "convolution": a 7x7 convolution of stride 2, batch norm with its
        stored statistics, ReLU, and a 3x3 max pool of stride 2, padded as TensorFlow does.
        "centred_convolution": the same, but the convolution is padded by 3 on every side and the
        max pool not at all. "two_convolutions": twice a 3x3 convolution of stride 1, instance norm
        of most channels, ReLU, and a 3x3 max pool of stride 2, padded as TensorFlow does.
    stem_dim
        Channels after the stem.
    positions
        How positions are encoded, if at all.
    patch_shape
        Size of the patches that become an input each, along each axis; the channels of a
        patch are all of its elements'. None: every element is an input.
    """

    data_dim: int
    num_axes: int
    stem: str | None = None
    stem_dim: int | None = None
    positions: FourierPositionEncoding | LearnedPositions | None = None
    patch_shape: Sequence[int] | None = None

    @classmethod
    def of(cls, spec: InputFields) -> GridAdapter:
        stem = STEMS[spec.stem]
        if stem.num_data_axes not in (None, spec.num_input_axes):
            raise SpecError(
                f'stem="{spec.stem}" needs data {stem.layout}, with {stem.num_data_axes} axes, got '
                f"num_input_axes={spec.num_input_axes}; set it to {stem.num_data_axes}."
            )
        if (spec.learned_position_shape is None) != (spec.learned_position_dim is None):
            raise SpecError("learned_position_shape and learned_position_dim go together.")
        if stem.mixes and spec.patch_shape is not None:
            raise SpecError('patch_shape needs stem=None or stem="projection".')
        for name in ("learned_position_shape", "max_fourier_freq", "patch_shape"):
            check_one_an_axis(spec, name, spec.num_input_axes - stem.num_lost_axes)
        positions = None
        if spec.learned_position_shape is not None and spec.learned_position_dim is not None:
            shape = tuple(spec.learned_position_shape)
            positions = LearnedPositions(shape, spec.learned_position_dim)
        elif stem.needs_positions:
            raise SpecError(
                f'stem="{spec.stem}" needs learned positions: set learned_position_shape, '
                "learned_position_dim and fourier_encode_input=False."
            )
        elif spec.fourier_encode_input and spec.num_fourier_freq_bands is not None:
            positions = FourierPositionEncoding(
                spec.num_fourier_freq_bands,
                spec.max_fourier_freq,
                spacing=spec.fourier_band_spacing,
            )
        patch_shape = None if spec.patch_shape is None else tuple(spec.patch_shape)
        return cls(
            spec.input_dim, spec.num_input_axes, spec.stem, spec.stem_dim, positions, patch_shape
        )

    @functools.cached_property
    def _stem(self) -> Stem:
        learned = self.positions if isinstance(self.positions, LearnedPositions) else None
        count = 0 if learned is None else math.prod(learned.shape)
        return STEMS[self.stem](self.patch_dim, self.stem_dim or self.patch_dim, count)

    @property
    def num_channels(self) -> int:
        """C, channels of an input."""
        positions = self.positions.num_channels(self.num_grid_axes) if self.positions else 0
        return (self.stem_dim or self.patch_dim) + positions

    @property
    def patch_dim(self) -> int:
        """Channels of a patch of data."""
        return math.prod(self.patch_shape or ()) * self.data_dim

    @property
    def num_grid_axes(self) -> int:
        """Axes of the grid of inputs."""
        return self.num_axes - STEMS[self.stem].num_lost_axes

    def grid_shape(self, data_shape: Axes) -> Axes:
        """Size of each axis of the grid of inputs, from that of the data's axes."""
        if self.patch_shape is not None:
            pairs = zip(data_shape, self.patch_shape, strict=True)
            data_shape = tuple(size // patch for size, patch in pairs)
        return self._stem.grid_shape(data_shape)

    def _fixed(self, axes: Any) -> Any:
        """Replace open sizes by numbers where the model takes only one size."""
        size: Any = (None,) * self.num_grid_axes
        if isinstance(self.positions, LearnedPositions) and not self._stem.shrinks:
            patch_shape = self.patch_shape or (1,) * self.num_grid_axes
            size = [s * p for s, p in zip(self.positions.shape, patch_shape, strict=True)]
        pairs = zip(axes, self._stem.data_shape(tuple(size)), strict=True)
        return tuple(given if only is None else only for given, only in pairs)

    def _open_grid_shape(self, axes: OpenAxes) -> OpenAxes:
        grid_shape = self.grid_shape(tuple(1 if size is None else size for size in axes))
        axes = axes[len(axes) - len(grid_shape) :]
        pairs = zip(axes, grid_shape, strict=True)
        return tuple(None if size is None else inputs for size, inputs in pairs)

    def open_shape(self) -> OpenAxes:
        return (*self._fixed((None,) * self.num_axes), self.data_dim)

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        tree = self._stem.parameters()
        if isinstance(self.positions, LearnedPositions):
            tree |= self.positions.parameters()
        return tree

    def check_shape(self, shape: OpenAxes, name: str = "data") -> None:
        """Check the shape of data, (*batch, *axes, data_dim).

        Raises
        ------
        InputError
            If it does not fit.
        """
        names = "".join(f"axis_{i}, " for i in range(self.num_axes))
        what, expected = f"{name} has shape {shape}", f"(*batch, {names}{self.data_dim})"
        if len(shape) < self.num_axes + 1:
            raise InputError(f"{what}; expected {expected}: it has too few axes.")
        if shape[-1] != self.data_dim:
            hint = " The channels go last." if self.data_dim in shape else ""
            raise InputError(
                f"{what}, {shape[-1]} channels; expected {expected}, {self.data_dim} "
                f"channels.{hint}"
            )
        if 0 in shape:
            raise InputError(f"{what}, which is empty; expected {expected}.")
        axes = shape[len(shape) - self.num_axes - 1 : -1]
        patch_shape = self.patch_shape
        if patch_shape and any(
            size is not None and size % patch for size, patch in zip(axes, patch_shape, strict=True)
        ):
            raise InputError(
                f"{name} has axes {axes}, which are not multiples of the patches' {patch_shape}. "
                "Crop or pad it."
            )
        self._stem.check_size(what, axes)
        grid_shape = self._open_grid_shape(axes)
        learned = self.positions if isinstance(self.positions, LearnedPositions) else None
        if learned is not None and not is_shape(grid_shape, learned.shape):
            raise InputError(
                f"{what}, which makes inputs of size {grid_shape}; the model has learned positions "
                f"for inputs of size {learned.shape}. Resize the data, or build the model with "
                "another learned_position_shape."
            )

    def check_data(self, ops: Ops, data: Array, name: str = "data") -> Axes:
        """Check the shape and the type of data; return the batch axes.

        Raises
        ------
        InputError
            If they do not fit.
        """
        self.check_shape(ops.known_shape(data, self.data_dim), name)
        if not ops.is_float(data):
            raise InputError(
                f"{name} is of type {ops.dtype(data)}; the model takes floats. Prepare images with "
                "the model's preprocessing, or in transformers with its image processor; or "
                "convert the array yourself if its numbers are already what the model expects."
            )
        return ops.shape(data)[: len(data.shape) - self.num_axes - 1]

    def check(
        self,
        ops: Ops,
        like: Array,
        data: Any,
        mask: Any,
        convert: Convert,
        modality: str | None = None,
    ) -> CheckedInputs:
        """Do as the base class says, for all data or for one modality.

        The mask of a modality is that of the grid of inputs, so any stem may have one.
        """
        if mask is not None and self._stem.mixes and modality is None:
            raise InputError(
                f'mask is not possible with stem="{self.stem}": it mixes neighbours, '
                "so no input of the reader belongs to one element of the data."
            )
        name = modality or "data"
        data = convert(data, name)
        batch_shape = self.check_data(ops, data, name)
        axes = self._fixed(ops.shape(data)[len(batch_shape) : -1])
        data = ops.match(ops.reshape(data, (-1, *axes, self.data_dim)), like)
        grid_shape = self.grid_shape(axes)
        if mask is not None:
            mask = convert_mask(ops, like, mask, batch_shape, grid_shape, convert, modality)
            data = self._zero_where_masked(ops, data, mask, grid_shape)
        return CheckedInputs(data, mask, batch_shape, grid_shape)

    def _zero_where_masked(self, ops: Ops, data: Array, mask: Array, grid_shape: Axes) -> Array:
        """Zero the data (B, *axes, C) of masked inputs, so that NaN there cannot reach the sums.

        A stem that mixes neighbours reads data of masked inputs for others too. It zeroes the data
        of batch elements whose inputs are all masked.
        """
        batch, *axes, _ = ops.shape(data)
        if self._stem.mixes:
            some = ops.sum(ops.cast(mask, "float32"), -1, keepdims=True) > 0
            return ops.where(ops.reshape(some, (batch, *(1 for _ in axes), 1)), data, 0.0)
        patch_shape = [size // grid for size, grid in zip(axes, grid_shape, strict=True)]
        mask = ops.reshape(mask, [batch, *(n for grid in grid_shape for n in (grid, 1)), 1])
        sizes = (n for pair in zip(grid_shape, patch_shape, strict=True) for n in pair)
        mask = ops.reshape(ops.broadcast_to(mask, [batch, *sizes, 1]), (batch, *axes, 1))
        return ops.where(mask, data, 0.0)

    def split_shape(self, shape: OpenAxes, name: str = "data") -> tuple[OpenAxes, OpenAxes]:
        self.check_shape(shape, name)
        num_batch_axes = len(shape) - self.num_axes - 1
        grid_shape = self._open_grid_shape(shape[num_batch_axes:-1])
        return tuple(shape[:num_batch_axes]), grid_shape

    def data_shape(self, size: Sequence[int] | None, output_shapes: Mapping[str, Axes]) -> Axes:
        size = size_of_axes(self._trained_size() if size is None else size, self.num_grid_axes)
        shape = (*self._stem.data_shape(size), self.data_dim)
        self.check_shape(shape)
        return shape

    def _trained_size(self) -> Axes:
        """The size that the positions were made for."""
        size = None
        if isinstance(self.positions, LearnedPositions):
            size = self.positions.shape
        elif self.positions is not None:
            size = self.positions.max_resolution
        if size is None or self._stem.shrinks:  # positions tell the grid's size, not the data's
            raise InputError("The spec does not fix the size of the model's data: pass a size.")
        size = size if isinstance(size, Sequence) else (size,) * self.num_grid_axes
        patch_shape = self.patch_shape or (1,) * len(size)
        return tuple(int(s) * p for s, p in zip(size, patch_shape, strict=True))

    def adapt(self, params: Tree, data: Array, mask: Array | None) -> tuple[Inputs, Array | None]:
        return self(params, data), mask

    def __call__(self, params: Tree, data: Array) -> Inputs:
        """Adapt data (B, *axes, data_dim).

        The inputs are in float32 where the weights are of half precision: pixels and
        positions need more than its 8 or 11 bits.
        """
        ops = ops_for(data)
        params = map_tree(ops.widen, params)
        if self.patch_shape is not None:
            data = space_to_depth(data, self.patch_shape)
        if self._stem.mixes:  # scale neighbouring elements, which are mixed, by one factor
            shape = ops.shape(data)[1:]
            flat = with_finite_squares(ops, ops.reshape(data, (-1, math.prod(shape))))
            data = ops.reshape(flat, (-1, *shape))
        else:
            data = with_finite_squares(ops, data)
        data = self._stem(ops, params, data)
        shape = ops.shape(data)[1:-1]
        flat = ops.reshape(data, (-1, math.prod(shape), data.shape[-1]))
        positions = self.positions
        if isinstance(positions, LearnedPositions):
            positions = projected(params["position_projection"], params["positions"])
        return Inputs(shape, self._stem.features(params, flat), positions)


def with_finite_squares(ops: Ops, data: Array) -> Array:
    """(..., channels), each element's channels scaled down together where one is huge."""
    size = ops.max(ops.maximum(data, 0 - data), -1, keepdims=True)
    return data * (LARGEST / ops.maximum(ops.detach(size), LARGEST))
