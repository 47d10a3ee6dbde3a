"""What the reader reads: inputs kept as the parts that their channels come from.

Perceiver IO's inputs are wide (261 channels for an image) but made of little: a few data
channels an input, and position channels that depend on one axis alone or on the position
alone. Kept apart, the reader never has to build the (M, C) array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.position_encoding import (
    FourierPositionEncoding,
    grid_table,
)


@dataclass(frozen=True)
class Features:
    """Some of the inputs' channels: ``base``, or ``base @ weight + bias``.

    Parameters
    ----------
    base
        (B, M, K): one row an input, or (M, K): one row a position, the same in a batch.
    weight, bias
        (K, C') and (C',); None where the base is used as it is.
    """

    base: Array
    weight: Array | None = None
    bias: Array | None = None

    @property
    def num_channels(self) -> int:
        return (self.base if self.weight is None else self.weight).shape[-1]

    def project(self, ops: Ops, base: Array) -> Array:
        """The channels of some rows of the base."""
        return base if self.weight is None else ops.linear(base, self.weight, self.bias)


@dataclass(frozen=True)
class Inputs:
    """Inputs (B, M, C) in parts; channels are in the order of the fields.

    At least one of the parts is there.

    Parameters
    ----------
    shape
        Size of each input axis; M is their product.
    data
        What differs between the inputs of a batch, (B, M, ...); None: nothing.
    positions
        Learned positions, (M, ...), or the encoding of ``shape``, or None.
    padding
        Channels that are the same for every input, (K,), or None.
    """

    shape: tuple[int, ...]
    data: Features | None = None
    positions: Features | FourierPositionEncoding | None = None
    padding: Array | None = None

    @classmethod
    def from_array(cls, inputs: Array) -> Inputs:
        """Inputs (B, M, C) of which nothing more is known."""
        return cls((inputs.shape[1],), Features(inputs))

    def batch(self, ops: Ops) -> Any:
        """B, as :meth:`.Ops.shape` gives it."""
        return 1 if self.data is None else ops.shape(self.data.base)[0]

    @property
    def num_inputs(self) -> int:
        return math.prod(self.shape)

    @property
    def num_data_channels(self) -> int:
        return 0 if self.data is None else self.data.num_channels

    @property
    def num_channels(self) -> int:
        channels = self.num_data_channels
        if isinstance(self.positions, FourierPositionEncoding):
            channels += self.positions.num_channels(len(self.shape))
        elif self.positions is not None:
            channels += self.positions.num_channels
        return channels + (0 if self.padding is None else self.padding.shape[0])

    @property
    def num_own_channels(self) -> int:
        """Channels of the bases that differ from input to input, not only from axis to axis."""
        features = [f for f in (self.data, self.positions) if isinstance(f, Features)]
        return sum(f.base.shape[-1] for f in features)

    def dense(self, ops: Ops, like: Array) -> Array:
        """Build the (B, M, C) array, of ``like``'s data type."""
        parts = []
        if self.data is not None:
            parts.append(self.data.project(ops, self.data.base))
        if isinstance(self.positions, FourierPositionEncoding):
            parts.append(self._encoded(self.positions, ops, like))
        elif self.positions is not None:
            parts.append(self.positions.project(ops, self.positions.base))
        if self.padding is not None:
            parts.append(self.padding)
        if len(parts) == 1 and self.data is not None:
            return parts[0]
        size = (self.batch(ops), self.num_inputs)
        return ops.concat([ops.broadcast_to(part, (*size, part.shape[-1])) for part in parts], -1)

    def _encoded(self, positions: FourierPositionEncoding, ops: Ops, like: Array) -> Array:
        """Fourier features (M, C'), spread here: compilers take minutes over large constants."""
        spread = []
        for axis, table in enumerate(positions.axis_tables(self.shape)):
            sizes = [size if a == axis else 1 for a, size in enumerate(self.shape)]
            features = ops.reshape(ops.constant(table, like=like), (*sizes, -1))
            features = ops.broadcast_to(features, (*self.shape, table.shape[-1]))
            spread.append(ops.reshape(features, (self.num_inputs, -1)))
        return ops.take(ops.concat(spread, -1), positions.order(len(self.shape)), -1)


def segments_of(inputs: Array | Inputs | Sequence[Inputs]) -> Sequence[Inputs]:
    """Inputs in any form, as those that stand one after the other."""
    if isinstance(inputs, Inputs):
        return (inputs,)
    return inputs if isinstance(inputs, (tuple, list)) else (Inputs.from_array(inputs),)


@dataclass(frozen=True)
class Grid:
    """The input axes folded into two, outer and inner, and the Fourier features of each.

    The reader goes over whole rows of the inner axis, several outer indices at a time.

    Parameters
    ----------
    outer, inner
        Sizes; inputs are ordered outer first, M = outer * inner.
    outer_table, inner_table
        Fourier features that depend on the outer or the inner index alone, (size, K), if any.
    order
        Where the data's, the outer table's, the inner table's and the padding's channels,
        one after the other, stand among the inputs' channels.
    """

    outer: int
    inner: int
    outer_table: np.ndarray | None
    inner_table: np.ndarray | None
    order: np.ndarray

    @classmethod
    def of(cls, inputs: Inputs, inner_limit: int) -> Grid:
        """Fold trailing axes into the inner one while it stays within ``inner_limit``."""
        shape = inputs.shape
        split = max(len(shape) - 1, 1)
        while split > 1 and math.prod(shape[split - 1 :]) <= inner_limit:
            split -= 1
        outer, inner = math.prod(shape[:split]), math.prod(shape[split:])
        num_data = inputs.num_data_channels
        if not isinstance(inputs.positions, FourierPositionEncoding):
            return cls(outer, inner, None, None, np.arange(inputs.num_channels))
        tables = inputs.positions.axis_tables(shape)
        channels = [num_data + c for c in inputs.positions.axis_channels(len(shape))]
        num_encoded = num_data + inputs.positions.num_channels(len(shape))
        return cls(
            outer,
            inner,
            grid_table(tables[:split]),
            grid_table(tables[split:]) if tables[split:] else None,
            np.concatenate(
                [np.arange(num_data), *channels, np.arange(num_encoded, inputs.num_channels)]
            ),
        )
