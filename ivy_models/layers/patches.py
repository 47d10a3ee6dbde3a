"""Patches: blocks of neighbouring elements that become the channels of one input."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ivy_models.ops import Array, ops_for


def space_to_depth(data: Array, patch_shape: Sequence[int]) -> Array:
    """Move the elements of each patch to the channels.

    Parameters
    ----------
    data
        Array (B, *axes, channels). The sizes must be multiples of the patch's.
    patch_shape
        Size of a patch along each axis.

    Returns
    -------
    Array
        (B, *grid, patch * channels), where ``grid`` is ``axes`` divided by ``patch_shape``;
        the channels of a patch are ordered by its axes, then by the data's channels.
    """
    ops, num_axes = ops_for(data), len(patch_shape)
    batch, *axes, channels = ops.shape(data)
    grid = [size // patch for size, patch in zip(axes, patch_shape, strict=True)]
    interleaved = [size for pair in zip(grid, patch_shape, strict=True) for size in pair]
    data = ops.reshape(data, (batch, *interleaved, channels))
    over_grid, inside = range(1, 2 * num_axes, 2), range(2, 2 * num_axes + 1, 2)
    data = ops.transpose(data, (0, *over_grid, *inside, 2 * num_axes + 1))
    return ops.reshape(data, (batch, *grid, math.prod(patch_shape) * channels))


def depth_to_space(patches: Array, patch_shape: Sequence[int]) -> Array:
    """Undo :func:`space_to_depth`: (B, *grid, patch * channels) -> (B, *axes, channels)."""
    ops, num_axes = ops_for(patches), len(patch_shape)
    batch, *grid, dim = ops.shape(patches)
    channels = dim // math.prod(patch_shape)
    patches = ops.reshape(patches, (batch, *grid, *patch_shape, channels))
    order = [axis for i in range(num_axes) for axis in (1 + i, 1 + num_axes + i)]
    patches = ops.transpose(patches, (0, *order, 2 * num_axes + 1))
    axes = [size * patch for size, patch in zip(grid, patch_shape, strict=True)]
    return ops.reshape(patches, (batch, *axes, channels))
