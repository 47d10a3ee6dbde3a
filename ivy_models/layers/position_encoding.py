"""Fourier position encoding (Perceiver, arXiv 2103.03206, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ivy_models.ops import Array, Ops, is_known, ops_for
from ivy_models.ops.base import read_only


@dataclass(frozen=True)
class FourierPositionEncoding:
    """Sines and cosines of positions in [-1, 1].

    The channels of a position (y, x, ...) are: the position itself, then the sine of
    every band of y, of x, ..., then the cosine of every band of y, of x, ... Band
    frequencies go from 1 to half the resolution, so the highest is the Nyquist frequency.

    Parameters
    ----------
    num_bands
        Number of bands for each axis. 0: the positions alone.
    max_resolution
        The resolution (inputs along an axis) that the highest band resolves: one number, or one
        for each axis. None: the size of the encoded grid.
    endpoint
        Whether the last position of a grid's axis is 1. If not, position i of n is
        -1 + 2 i / n.
    spacing
        Whether the frequencies are equally spaced, "linear", or each is a multiple of the one
        before it, "logarithmic".
    """

    num_bands: int
    max_resolution: float | Sequence[float] | None = None
    endpoint: bool = True
    spacing: str = "linear"

    def num_channels(self, num_axes: int) -> int:
        """Channels of one encoded position."""
        return num_axes * (2 * self.num_bands + 1)

    def __call__(self, shape: Sequence[int]) -> np.ndarray:
        """Encode every position of a grid.

        Parameters
        ----------
        shape
            Size of each axis of the grid.

        Returns
        -------
        numpy.ndarray
            (*shape, channels), float32.
        """
        encoded = self._in_order(grid_table(self.axis_tables(tuple(shape))), len(shape))
        return encoded.reshape(*shape, -1)

    def encode(self, positions: np.ndarray, shape: Sequence[int] | None = None) -> np.ndarray:
        """Encode positions given by their coordinates.

        Parameters
        ----------
        positions
            (..., axes), each coordinate in [-1, 1].
        shape
            Size of the grid that they come from; needed if ``max_resolution`` is None.

        Returns
        -------
        numpy.ndarray
            (..., channels), float32.
        """
        wide = np.asarray(positions, np.float64)
        return self.encode_native(ops_for(wide), wide, shape).astype(np.float32)

    def encode_native(
        self, ops: Ops, positions: Array, shape: Sequence[int] | None = None
    ) -> Array:
        """The same for native arrays, (..., axes) -> (..., channels), with gradients."""
        return ops.concat(self.parts(ops, positions, shape), -1)

    def parts(
        self, ops: Ops, positions: Array, shape: Sequence[int] | None = None
    ) -> tuple[Array, ...]:
        """The arrays that the features are a concatenation of."""
        if not self.num_bands:
            return (positions,)
        num_axes = positions.shape[-1]
        frequencies = _frequencies(self, tuple(self._resolutions(num_axes, shape)))
        return (positions, *ops.waves(positions, frequencies))

    def _in_order(self, grouped: np.ndarray, num_axes: int) -> np.ndarray:
        """Reorder channels that are grouped by axis to the encoding's order."""
        return grouped[..., self.order(num_axes)]

    def order(self, num_axes: int) -> np.ndarray:
        """Index of each of the encoding's channels in the concatenation of the axes' tables."""
        return _order(self, num_axes)

    def axis_tables(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """The features of each axis, one table (size, 2 bands + 1) per axis.

        Every Fourier feature depends on one axis only; the fast reader relies on this.
        """
        return _axis_tables(self, shape)

    def native_axis_tables(self, ops: Ops, like: Array, shape: Sequence[Any]) -> list[Array]:
        """The same as native arrays with the data type and device of ``like``.

        A traced program may leave sizes open; then it computes the tables itself.
        """
        if is_known(*shape):
            return [ops.constant(table, like) for table in self.axis_tables(tuple(shape))]
        resolutions = self._resolutions(len(shape), shape)
        return [self._open_table(ops, like, *axis) for axis in zip(shape, resolutions, strict=True)]

    def _open_table(self, ops: Ops, like: Array, size: Any, resolution: Any) -> Array:
        index = ops.arange(size, like)
        one = ops.constant(np.ones(1), like=index)
        # The size as an array of this type: frameworks differ in arithmetic of open sizes.
        count = ops.sum(index * 0 + 1, 0, keepdims=True)
        steps = ops.maximum(count - 1, one) if self.endpoint else count
        positions = (index * 2 / steps - 1)[:, None]
        highest = count if self.max_resolution is None else one * float(resolution)
        angles = positions * self._bands(ops, highest)[None] * math.pi
        return ops.match(ops.concat([positions, ops.sin(angles), ops.cos(angles)], -1), like)

    def axis_channels(self, num_axes: int) -> list[np.ndarray]:
        """For each axis, the indices of the encoding's channels in its table."""
        bands = np.arange(self.num_bands)
        return [
            np.concatenate(
                [
                    [axis],
                    num_axes + axis * self.num_bands + bands,
                    num_axes + (num_axes + axis) * self.num_bands + bands,
                ]
            )
            for axis in range(num_axes)
        ]

    def _resolutions(self, num_axes, shape) -> Sequence[Any]:
        if self.max_resolution is None:
            return shape
        return list(np.broadcast_to(self.max_resolution, num_axes))

    def _bands(self, ops: Ops, resolution: Array) -> Array:
        """Frequencies from 1 to half the resolution (1,)."""
        steps = ops.constant(np.linspace(0, 1, self.num_bands), like=resolution)
        if self.spacing == "logarithmic":
            return ops.exp(steps * ops.log(resolution / 2))
        return steps * (resolution / 2 - 1) + 1


# Tables are read-only and the same object in each call, so backends can keep them.


@lru_cache(maxsize=32)
def _order(encoding: FourierPositionEncoding, num_axes: int) -> np.ndarray:
    return read_only(np.argsort(np.concatenate(encoding.axis_channels(num_axes))))


@lru_cache(maxsize=32)
def _frequencies(encoding: FourierPositionEncoding, resolutions: tuple[float, ...]) -> np.ndarray:
    """The angular frequencies of each axis, (axes, bands)."""
    highest = [np.array([size], float) for size in resolutions]
    bands = np.stack([encoding._bands(ops_for(size), size) for size in highest])
    return read_only(bands * math.pi)


@lru_cache(maxsize=32)
def _axis_tables(encoding: FourierPositionEncoding, shape: tuple[int, ...]) -> list[np.ndarray]:
    resolutions = encoding._resolutions(len(shape), shape)
    return [
        read_only(
            replace(encoding, max_resolution=resolution).encode(
                np.linspace(-1, 1, size, endpoint=encoding.endpoint)[:, None]
            )
        )
        for size, resolution in zip(shape, resolutions, strict=True)
    ]


def grid_table(tables: list[np.ndarray]) -> np.ndarray:
    """Combine tables (size, K) of axes to one table (product of sizes, sum of K) of their grid."""
    sizes = [len(table) for table in tables]
    spread = [
        np.broadcast_to(
            table.reshape([size if a == axis else 1 for a, size in enumerate(sizes)] + [-1]),
            (*sizes, table.shape[-1]),
        )
        for axis, table in enumerate(tables)
    ]
    return np.concatenate(spread, -1).reshape(math.prod(sizes), -1)
