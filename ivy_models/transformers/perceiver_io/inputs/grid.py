"""Data on a regular grid, such as an image, a sequence or a video: (B, *axes, channels)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.ops import Array, Ops, ops_for
from ivy_models.ops.base import LAYER_NORM_EPSILON
from ivy_models.transformers.perceiver_io.inputs.features import Features, Inputs
from ivy_models.transformers.perceiver_io.parameters import (
    Parameter,
    Tree,
    lecun_normal,
    linear,
    map_tree,
    ones,
    table,
    zeros,
)
from ivy_models.transformers.perceiver_io.patches import space_to_depth
from ivy_models.transformers.perceiver_io.position_encoding import FourierPositionEncoding

CONVOLUTIONS = ("convolution", "centred_convolution")
"""Stems that are convolutions, which differ in how they are padded."""

MIXING_STEMS = (*CONVOLUTIONS, "frame_pair")
"""Stems that make an input of several elements of the data."""

LARGEST = 1e15
"""What an element of the data is scaled down to if it is larger: beside it a position is nothing,
and of layer norm's result the scale is no part; but the square of 1e20 is no float32."""


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
class GridAdapter:
    """Turn data on a grid into inputs with positions.

    Parameters
    ----------
    data_dim
        Channels of the data.
    num_axes
        Axes of the grid.
    stem
        What happens to the channels first. None: nothing. "projection": a linear layer.
        "frame_pair": data (B, 2, Y, X, channels); the 3x3 neighbourhoods of a pixel in both
        frames, padded with zeros, through a linear layer. "convolution": a 7x7 convolution of
        stride 2, batch norm with its stored statistics, ReLU, and a 3x3 max pool of stride 2,
        padded as TensorFlow does. "centred_convolution": the same, but the convolution is padded
        by 3 on every side and the max pool not at all.
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
    patch_shape: tuple[int, ...] | None = None

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
        return self.num_axes - 1 if self.stem == "frame_pair" else self.num_axes

    def grid_shape(self, data_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Size of each axis of the grid of inputs, from that of the data's axes."""
        if self.stem == "convolution":
            return tuple(-(-size // 4) for size in data_shape)
        if self.stem == "centred_convolution":
            return tuple((size - 1) // 4 for size in data_shape)
        if self.stem == "frame_pair":
            return data_shape[1:]
        patch_shape = self.patch_shape or (1,) * len(data_shape)
        return tuple(size // patch for size, patch in zip(data_shape, patch_shape, strict=True))

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        tree: Tree = {}
        if self.stem == "frame_pair":
            tree["patch_projection"] = linear(2 * 9 * self.data_dim, self.stem_dim, lecun_normal)
        if self.stem == "projection":
            tree["projection"] = linear(self.patch_dim, self.stem_dim, lecun_normal)
        if self.stem in CONVOLUTIONS:
            tree["convolution"] = {
                "weight": Parameter((7, 7, self.data_dim, self.stem_dim), lecun_normal)
            }
            tree["batch_norm"] = {
                "scale": Parameter((self.stem_dim,), ones),
                "offset": Parameter((self.stem_dim,), zeros),
                "mean": Parameter((self.stem_dim,), zeros, trainable=False),
                "variance": Parameter((self.stem_dim,), ones, trainable=False),
            }
        if isinstance(self.positions, LearnedPositions):
            tree |= self.positions.parameters()
        return tree

    def __call__(self, params: Tree, data: Array) -> Inputs:
        """Adapt data (B, *axes, data_dim).

        The inputs are in float32 where the weights are of half precision: pixels and
        positions need more than its 8 or 11 bits.
        """
        ops = ops_for(data)
        params = map_tree(ops.widen, params)
        if self.patch_shape is not None:
            data = space_to_depth(data, self.patch_shape)
        if self.stem in MIXING_STEMS:  # pixels keep their ratios
            size = math.prod(data.shape[1:])
            data = ops.reshape(
                with_finite_squares(ops, ops.reshape(data, (-1, size))), (-1, *data.shape[1:])
            )
        else:
            data = with_finite_squares(ops, data)
        if self.stem == "convolution":
            data = _convolution_stem(ops, params, data)
        if self.stem == "centred_convolution":
            data = _centred_convolution_stem(ops, params, data)
        if self.stem == "frame_pair":
            data = _frame_pair_stem(ops, params["patch_projection"], data)
        shape = tuple(data.shape[1:-1])
        flat = ops.reshape(data, (-1, math.prod(shape), data.shape[-1]))
        positions = self.positions
        if isinstance(positions, LearnedPositions):
            positions = _projected(params["position_projection"], params["positions"])
        if self.stem == "projection":
            features = _projected(params["projection"], flat)
        else:
            features = Features(flat)
        return Inputs(shape, features, positions)


def with_finite_squares(ops: Ops, data: Array) -> Array:
    """(..., channels), each element's channels scaled down together where one is huge."""
    size = ops.max(ops.maximum(data, 0 - data), -1, keepdims=True)
    return data * (LARGEST / ops.maximum(ops.detach(size), LARGEST))


def _projected(layer: Any, base: Array) -> Features:
    """A linear layer of rows (..., K), kept apart unless the layer has to be called."""
    if callable(layer):
        return Features(layer(base))
    return Features(base, layer["weight"], layer["bias"])


def _frame_pair_stem(ops: Ops, projection: Any, frames: Array) -> Array:
    """(B, 2, Y, X, channels) -> (B, Y, X, stem_dim)."""
    _, _, height, width, channels = frames.shape
    if callable(projection):
        same = ops.constant(np.eye(18 * channels, dtype=np.float32), like=frames)
        nothing = ops.constant(np.zeros(18 * channels, np.float32), like=frames)
        neighbours = _frame_pair_stem(ops, {"weight": same, "bias": nothing}, frames)
        return projection(neighbours)
    # A linear layer of all neighbourhoods is a convolution; its rows are ordered by frame,
    # then y, x and channel.
    weight = ops.reshape(projection["weight"], (2, 3, 3, channels, -1))
    weight = ops.reshape(ops.transpose(weight, (1, 2, 0, 3, 4)), (3, 3, 2 * channels, -1))
    frames = ops.transpose(frames, (0, 2, 3, 1, 4))
    frames = ops.reshape(frames, (-1, height, width, 2 * channels))
    return ops.conv2d(frames, weight, stride=1) + projection["bias"]


def _convolution_stem(ops: Ops, params: Tree, image: Array) -> Array:
    """(B, Y, X, channels) -> (B, Y / 4, X / 4, stem_dim), sizes rounded up."""
    weight, shift = _with_batch_norm(ops, params)
    image = ops.conv2d(image, weight, stride=2) + shift
    return ops.max_pool2d(ops.maximum(image, 0), window=3, stride=2)


def _centred_convolution_stem(ops: Ops, params: Tree, image: Array) -> Array:
    """(B, Y, X, channels) -> (B, (Y - 1) / 4, (X - 1) / 4, stem_dim), sizes rounded down."""
    weight, shift = _with_batch_norm(ops, params)
    # With stride 1 windows are centred; every second is kept, of the pool's the whole ones.
    image = ops.conv2d(image, weight, stride=1)[:, ::2, ::2] + shift
    return ops.max_pool2d(ops.maximum(image, 0), window=3, stride=1)[:, 1:-1:2, 1:-1:2]


def _with_batch_norm(ops: Ops, params: Tree) -> tuple[Array, Array]:
    """Batch norm with stored statistics scales the convolution's weight, and adds this shift."""
    batch_norm = params["batch_norm"]
    scale = batch_norm["scale"] / ops.sqrt(batch_norm["variance"] + LAYER_NORM_EPSILON)
    shift = batch_norm["offset"] - batch_norm["mean"] * scale
    return params["convolution"]["weight"] * scale, shift
