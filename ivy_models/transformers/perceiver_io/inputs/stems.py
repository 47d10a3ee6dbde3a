"""Stems, which transform a grid's channels before positions are added; one class for each."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.features import Features
from ivy_models.layers.parameters import (
    Parameter,
    Tree,
    lecun_normal,
    linear,
    ones,
    truncated_normal,
    zeros,
)
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.ops import Array, Ops, ops_for
from ivy_models.ops.base import LAYER_NORM_EPSILON, read_only, same_padding
from ivy_models.transformers.perceiver_io.inputs.base import Axes, OpenAxes

if TYPE_CHECKING:
    from ivy_models.transformers.perceiver_io.inputs.base import InputFields


@dataclass(frozen=True)
class Stem:
    """No stem: the channels do not change. The other stems derive from this class.

    Parameters
    ----------
    data_dim
        Channels of the data, or of a whole patch.
    dim
        Channels after the stem.
    num_positions
        M, the number of learned positions. 0: there are none.
    """

    data_dim: int
    dim: int
    num_positions: int = 0

    mixes: ClassVar[bool] = False
    """Whether an input combines several elements of the data, which excludes masks and patches."""

    needs_positions: ClassVar[bool] = False
    """Whether there must be learned positions."""

    num_data_axes: ClassVar[int | None] = None
    """Number of axes that the data must have. None: any number."""

    num_lost_axes: ClassVar[int] = 0
    """Number of axes of the data that the grid of inputs does not have."""

    shrinks: ClassVar[bool] = False
    """Whether the grid of inputs is smaller than the data."""

    layout: ClassVar[str] = ""
    """Shape of the data of a batch element, for errors, if ``num_data_axes`` is set."""

    def grid_shape(self, data_shape: Axes) -> Axes:
        """Size of each axis of the grid, from that of the data's axes."""
        return data_shape

    def check_size(self, what: str, data_shape: OpenAxes) -> None:
        """Check the size of the data's axes, None where it is open; ``what`` begins an error.

        Raises
        ------
        InputError
            If the stem does not support it.
        """

    def data_shape(self, size: Axes) -> Axes:
        """The data's axes, from a size of each axis that has positions."""
        return size

    def parameters(self) -> Tree:
        """Describe the stem's weights."""
        return {}

    def __call__(self, ops: Ops, params: Tree, data: Array) -> Array:
        """Turn data (B, *axes, data_dim) into (B, *grid, channels)."""
        return data

    def features(self, params: Tree, flat: Array) -> Features:
        """Return the inputs' channels for the result of a call as (B, M, channels)."""
        return Features(flat)


class Projection(Stem):
    """A linear layer, which the reader folds into its own projections."""

    def parameters(self) -> Tree:
        return {"projection": linear(self.data_dim, self.dim, lecun_normal)}

    def features(self, params: Tree, flat: Array) -> Features:
        return projected(params["projection"], flat)


class ColumnProjection(Stem):
    """A linear layer for each position, for positions that hold different things.

    It embeds the columns of a table. Its weight (M data_dim, dim) has the rows of each column in
    turn. Without it, the values of all columns are read by the same weights.
    """

    needs_positions = True

    def parameters(self) -> Tree:
        fan_in = truncated_normal(self.data_dim**-0.5)  # of each column
        return {
            "column_projection": linear(self.num_positions * self.data_dim, self.dim, fan_in),
        }

    def __call__(self, ops: Ops, params: Tree, data: Array) -> Array:
        layer, axes = params["column_projection"], ops.shape(data)[1:-1]
        data = ops.reshape(data, (-1, self.num_positions, self.data_dim))
        if callable(layer):
            own = np.eye(self.num_positions, dtype=np.float32)[..., None]
            data = data[:, :, None] * ops.constant(own, data)
            data = layer(ops.reshape(data, (-1, self.num_positions, math.prod(data.shape[2:]))))
        else:
            weight = ops.reshape(layer["weight"], (self.num_positions, self.data_dim, self.dim))
            data = ops.matmul(ops.transpose(data, (1, 0, 2)), weight)
            data = ops.transpose(data, (1, 0, 2)) + layer["bias"]
        return ops.reshape(data, (-1, *axes, self.dim))


class FramePair(Stem):
    """The 3x3 neighbourhoods of a pixel in both frames, through a linear layer."""

    mixes, num_data_axes, num_lost_axes = True, 3, 1
    layout = "(2, height, width, channels)"

    def grid_shape(self, data_shape: Axes) -> Axes:
        return data_shape[1:]

    def check_size(self, what: str, data_shape: OpenAxes) -> None:
        if data_shape[0] not in (2, None):
            raise InputError(
                f"{what}; expected two frames, (*batch, 2, height, width, {self.data_dim})."
            )

    def data_shape(self, size: Axes) -> Axes:
        return (2, *size)

    def parameters(self) -> Tree:
        return {"patch_projection": linear(2 * 9 * self.data_dim, self.dim, lecun_normal)}

    def __call__(self, ops: Ops, params: Tree, data: Array) -> Array:
        projection = params["patch_projection"]
        if callable(projection):
            return projection(_neighbourhoods(ops, data))
        return _project_neighbourhoods(ops, projection["weight"], data) + projection["bias"]


class Convolution(Stem):
    """Convolution, batch norm, ReLU and max pool, padded as TensorFlow does; sizes round up."""

    mixes, num_data_axes, shrinks = True, 2, True
    layout = "(height, width, channels)"

    def grid_shape(self, data_shape: Axes) -> Axes:
        return tuple((size + 3) // 4 for size in data_shape)

    def parameters(self) -> Tree:
        shape = (self.dim,)
        return {
            "convolution": {"weight": Parameter((7, 7, self.data_dim, self.dim), lecun_normal)},
            "batch_norm": {
                "scale": Parameter(shape, ones),
                "offset": Parameter(shape, zeros),
                "mean": Parameter(shape, zeros, trainable=False),
                "variance": Parameter(shape, ones, trainable=False),
            },
        }

    def __call__(self, ops: Ops, params: Tree, data: Array) -> Array:
        data = self._normalised(ops, params, data)
        return ops.max_pool2d(ops.maximum(data, 0), window=3, stride=2)

    def _normalised(self, ops: Ops, params: Tree, data: Array) -> Array:
        """Convolution and batch norm, in one step unless one of them must be called."""
        convolution, batch_norm = params["convolution"], params["batch_norm"]
        if not callable(convolution) and not callable(batch_norm):
            scale, shift = _scale_and_shift(ops, batch_norm)
            return self._convolve(ops, convolution["weight"] * scale, data) + shift
        if callable(convolution):
            data = convolution(data, self._padding(data))
        else:
            data = self._convolve(ops, convolution["weight"], data)
        if callable(batch_norm):
            return batch_norm(data)
        scale, shift = _scale_and_shift(ops, batch_norm)
        return data * scale + shift

    def _convolve(self, ops: Ops, weight: Array, data: Array) -> Array:
        return ops.conv2d(data, weight, stride=2)

    def _padding(self, data: Array) -> tuple[tuple[int, int], ...]:
        """Zeros before and after each axis, for a convolution that does not pad."""
        return tuple(same_padding(size, 7, 2) for size in data.shape[1:3])


class CentredConvolution(Convolution):
    """The same with the convolution padded by 3 on every side, and no padding of the max pool.

    Sizes round down.
    """

    def grid_shape(self, data_shape: Axes) -> Axes:
        return tuple((size - 1) // 4 for size in data_shape)

    def check_size(self, what: str, data_shape: OpenAxes) -> None:
        if any(size is not None and size < 5 for size in data_shape):
            raise InputError(
                f'{what}; stem="centred_convolution" needs at least 5 elements on each axis.'
            )

    def __call__(self, ops: Ops, params: Tree, data: Array) -> Array:
        data = self._normalised(ops, params, data)
        # Of the pool, keep only windows that lie within the data.
        return ops.max_pool2d(ops.maximum(data, 0), window=3, stride=1)[:, 1:-1:2, 1:-1:2]

    def _convolve(self, ops: Ops, weight: Array, data: Array) -> Array:
        # With stride 1, windows are centred. Keep every second window.
        return ops.conv2d(data, weight, stride=1)[:, ::2, ::2]

    def _padding(self, data: Array) -> tuple[tuple[int, int], ...]:
        return (3, 3), (3, 3)


class TwoConvolutions(Stem):
    """Twice a 3x3 convolution, instance norm, ReLU and max pool; sizes round up.

    Trained from scratch, it learns shapes of any colour from few images, which the published stem
    does not. An eighth of the channels is not normalised, because instance norm removes brightness
    and colour, as in IBN-Net (arXiv 1807.09441).
    """

    mixes, num_data_axes, shrinks = True, 2, True
    layout = "(height, width, channels)"

    def grid_shape(self, data_shape: Axes) -> Axes:
        return tuple((size + 3) // 4 for size in data_shape)

    def parameters(self) -> Tree:
        dims = (self.data_dim, self.dim)
        return {
            f"convolution_{i}": {"weight": Parameter((3, 3, dim, self.dim), lecun_normal)}
            for i, dim in enumerate(dims)
        }

    def __call__(self, ops: Ops, params: Tree, data: Array) -> Array:
        for name in self.parameters():
            convolution = params[name]
            if callable(convolution):
                data = convolution(data, ((1, 1), (1, 1)))
            else:
                data = ops.conv2d(data, convolution["weight"], stride=1)
            data = ops.widen(data)
            mean, deviation = self._moments(ops, data)
            # Max pool first: it gives the same, as the rest never decreases, and leaves less to do.
            data = ops.max_pool2d(data, window=3, stride=2)
            data = ops.maximum((data - mean) / deviation, 0)
        return data

    def _moments(self, ops: Ops, data: Array) -> tuple[Array, Array]:
        """Mean and deviation (B, 1, 1, dim) of each image, or 0 and 1 for the last channels."""
        is_normed = np.arange(self.dim) < self.dim - max(1, self.dim // 8)
        normed = ops.constant(is_normed.astype(np.float32), data)
        mean = normed * _mean(ops, data)
        centred = data - mean
        deviation = ops.sqrt(_mean(ops, centred * centred) + LAYER_NORM_EPSILON)
        return mean, normed * deviation + (1 - normed)


def _mean(ops: Ops, data: Array) -> Array:
    """Mean of each channel of each image (B, Y, X, C), as (B, 1, 1, C)."""
    return ops.mean(ops.mean(data, 1, keepdims=True), 2, keepdims=True)


STRIDES = {"convolution": 2, "convolution_0": 1, "convolution_1": 1}
"""Strides of the stems' convolutions by their names in the parameter tree."""

STEMS: dict[str | None, type[Stem]] = {
    None: Stem,
    "projection": Projection,
    "column_projection": ColumnProjection,
    "convolution": Convolution,
    "centred_convolution": CentredConvolution,
    "two_convolutions": TwoConvolutions,
    "frame_pair": FramePair,
}
"""The class for each value of a spec's ``stem``."""

CONVOLUTIONS = tuple(
    name for name, stem in STEMS.items() if name is not None and issubclass(stem, Convolution)
)
"""Stems of the published model for images. They differ in their padding."""

PADDED_POOLS = ("convolution", "two_convolutions")
"""Stems whose max pool pads by an amount that depends on the size."""

MIXING_STEMS = tuple(name for name, stem in STEMS.items() if stem.mixes)
"""Stems that combine several elements of the data to an input."""


def check_stem(spec: InputFields) -> None:
    """Check that a stem exists and has its channels.

    Raises
    ------
    SpecError
        If it has not.
    """
    if spec.stem not in STEMS:
        raise SpecError(f"stem must be one of {', '.join(map(repr, STEMS))}, got {spec.stem!r}.")
    if (spec.stem is None) != (spec.stem_dim is None):
        raise SpecError(
            f"Set both stem and stem_dim, or neither; got stem={spec.stem!r} and "
            f"stem_dim={spec.stem_dim}."
        )


def projected(layer: Any, base: Array, encoding: FourierPositionEncoding | None = None) -> Features:
    """Rows (..., K) with their linear layer, kept separate unless the layer must be called.

    ``encoding``, if any, makes the rows from the base; see :class:`.Features`.
    """
    if callable(layer):
        return Features(layer(Features(base, encoding=encoding).rows(ops_for(base), base)))
    return Features(base, layer["weight"], layer["bias"], encoding)


def _neighbourhoods(ops: Ops, frames: Array) -> Array:
    """(B, 2, Y, X, channels) -> (B, Y, X, 18 channels)."""
    same = ops.constant(_identity(18 * frames.shape[-1]), like=frames)
    return _project_neighbourhoods(ops, same, frames)


@functools.lru_cache(maxsize=4)
def _identity(size: int) -> np.ndarray:
    return read_only(np.eye(size, dtype=np.float32))


def _project_neighbourhoods(ops: Ops, weight: Array, frames: Array) -> Array:
    """(B, 2, Y, X, channels) -> (B, Y, X, C'), with a weight (18 channels, C')."""
    _, _, height, width, channels = ops.shape(frames)
    # A linear layer of all neighbourhoods is a convolution; its rows are ordered by frame,
    # then y, x and channel.
    weight = ops.reshape(weight, (2, 3, 3, channels, -1))
    weight = ops.reshape(ops.transpose(weight, (1, 2, 0, 3, 4)), (3, 3, 2 * channels, -1))
    frames = ops.transpose(frames, (0, 2, 3, 1, 4))
    frames = ops.reshape(frames, (-1, height, width, 2 * channels))
    return ops.conv2d(frames, weight, stride=1)


def _scale_and_shift(ops: Ops, batch_norm: Tree) -> tuple[Array, Array]:
    """What batch norm with stored statistics multiplies its input by, and what it adds."""
    scale = batch_norm["scale"] / ops.sqrt(batch_norm["variance"] + LAYER_NORM_EPSILON)
    return scale, batch_norm["offset"] - batch_norm["mean"] * scale
