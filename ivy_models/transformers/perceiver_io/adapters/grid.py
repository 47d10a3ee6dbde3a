"""Data on a regular grid, such as an image, a sequence or a video: (B, *axes, channels)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ivy_models.ops import Array, Ops, ops_for
from ivy_models.ops.base import LAYER_NORM_EPSILON
from ivy_models.transformers.perceiver_io.inputs import Features, Inputs
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
from ivy_models.transformers.perceiver_io.position_encoding import FourierPositionEncoding


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
        "convolution": a 7x7 convolution of stride 2, batch norm with its stored
        statistics, ReLU, and a 3x3 max pool of stride 2.
    stem_dim
        Channels after the stem.
    positions
        How positions are encoded, if at all.
    """

    data_dim: int
    num_axes: int
    stem: str | None = None
    stem_dim: int | None = None
    positions: FourierPositionEncoding | LearnedPositions | None = None

    @property
    def num_channels(self) -> int:
        """C, channels of an input."""
        positions = self.positions.num_channels(self.num_axes) if self.positions else 0
        return (self.stem_dim or self.data_dim) + positions

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        tree: Tree = {}
        if self.stem == "projection":
            tree["projection"] = linear(self.data_dim, self.stem_dim, lecun_normal)
        if self.stem == "convolution":
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
        if self.stem == "convolution":
            data = _convolution_stem(ops, params, data)
        shape = tuple(data.shape[1:-1])
        flat = ops.reshape(data, (data.shape[0], math.prod(shape), data.shape[-1]))
        positions = self.positions
        if isinstance(positions, LearnedPositions):
            projection = params["position_projection"]
            positions = Features(params["positions"], projection["weight"], projection["bias"])
        if self.stem == "projection":
            projection = params["projection"]
            features = Features(flat, projection["weight"], projection["bias"])
        else:
            features = Features(flat)
        return Inputs(shape, features, positions)


def _convolution_stem(ops: Ops, params: Tree, image: Array) -> Array:
    """(B, Y, X, channels) -> (B, Y / 4, X / 4, stem_dim), sizes rounded up."""
    batch_norm = params["batch_norm"]
    # Batch norm with stored statistics is a scale and a shift of the convolution's output.
    scale = batch_norm["scale"] / ops.sqrt(batch_norm["variance"] + LAYER_NORM_EPSILON)
    shift = batch_norm["offset"] - batch_norm["mean"] * scale
    image = ops.conv2d(image, params["convolution"]["weight"] * scale, stride=2) + shift
    return ops.max_pool2d(ops.maximum(image, 0), window=3, stride=2)
