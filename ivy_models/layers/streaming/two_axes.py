"""The axes of the inputs as two, because chunks of two axes are enough for any number of axes."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from ivy_models.layers.features import Inputs
from ivy_models.layers.position_encoding import (
    FourierPositionEncoding,
    grid_table,
)
from ivy_models.ops.base import read_only


@dataclass(frozen=True)
class TwoAxes:
    """The input axes joined into two, outer and inner, and the Fourier features of each.

    The reader processes whole rows of the inner axis, several outer indices at a time.

    Parameters
    ----------
    outer, inner
        Sizes; inputs are ordered outer first, M = outer * inner.
    outer_table, inner_table
        Fourier features that depend only on the outer or the inner index, (size, K), if any.
    order
        Indices among the inputs' channels of the concatenated channels of data, outer table,
        inner table and padding.
    inverse
        Indices of the inputs' channels among the concatenated ones.
    """

    outer: int
    inner: int
    outer_table: np.ndarray | None
    inner_table: np.ndarray | None
    order: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, inputs: Inputs, inner_limit: int) -> TwoAxes:
        """Join trailing axes into the inner one while it stays within ``inner_limit``.

        Calls with the same sizes share the result, and so its tables.
        """
        shape = tuple(inputs.shape)
        split = max(len(shape) - 1, 1)
        while split > 1 and math.prod(shape[split - 1 :]) <= inner_limit:
            split -= 1
        positions = inputs.positions
        encoding = positions if isinstance(positions, FourierPositionEncoding) else None
        return _two_axes(shape, split, encoding, inputs.num_data_channels, inputs.num_channels)


@functools.lru_cache(maxsize=32)
def _two_axes(
    shape: tuple[int, ...],
    split: int,
    encoding: FourierPositionEncoding | None,
    num_data: int,
    num_channels: int,
) -> TwoAxes:
    """The joined axes, of which the first ``split`` are outer ones."""
    outer_table = inner_table = None
    order = np.arange(num_channels)
    if encoding is not None:
        tables = encoding.axis_tables(shape)
        outer_table = read_only(grid_table(tables[:split]))
        inner_table = read_only(grid_table(tables[split:])) if tables[split:] else None
        channels = [num_data + c for c in encoding.axis_channels(len(shape))]
        num_encoded = num_data + encoding.num_channels(len(shape))
        order = np.concatenate([order[:num_data], *channels, order[num_encoded:]])
    outer, inner = math.prod(shape[:split]), math.prod(shape[split:])
    inverse = np.argsort(order)
    return TwoAxes(outer, inner, outer_table, inner_table, read_only(order), read_only(inverse))
