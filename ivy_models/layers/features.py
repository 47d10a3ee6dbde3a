"""The reader's inputs, stored as the groups that their channels come in.

Perceiver IO's inputs are wide (261 channels for an image), but most channels repeat: each input
has a few data channels, and the position channels depend only on one axis or on the position.
With separate groups, the reader never builds the (M, C) array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.ops import Array, Ops, is_known, ops_for


class Encoding(Protocol):
    """What makes rows from coordinates, such as :class:`.FourierPositionEncoding`."""

    def num_channels(self, num_axes: int) -> int: ...
    def encode_native(self, ops: Ops, positions: Array) -> Array: ...
    def parts(self, ops: Ops, positions: Array) -> tuple[Array, ...]: ...


@dataclass(frozen=True)
class Features:
    """Some of the inputs' channels: ``rows``, or ``rows @ weight + bias``.

    Parameters
    ----------
    base
        One row for each input, (B, M, ...); or for each position, (M, ...) or (1, M, ...), which
        the batch shares.
    weight, bias
        (K, C') and (C',). None: the rows are used without a projection.
    encoding
        Makes the rows of K channels from the base, such as from coordinates in [-1, 1]. They are
        made when they are needed, chunk by chunk. None: the base holds the rows.
    """

    base: Array
    weight: Array | None = None
    bias: Array | None = None
    encoding: Encoding | None = None

    @property
    def row_dim(self) -> int:
        """K, channels of a row."""
        dim = self.base.shape[-1]
        return dim if self.encoding is None else self.encoding.num_channels(dim)

    @property
    def num_channels(self) -> int:
        return self.row_dim if self.weight is None else self.weight.shape[-1]

    def rows(self, ops: Ops, base: Array) -> Array:
        """The rows for some of the base."""
        return base if self.encoding is None else self.encoding.encode_native(ops, base)

    def row_parts(self, ops: Ops, base: Array) -> tuple[Array, ...]:
        """The arrays that the rows are a concatenation of."""
        return (base,) if self.encoding is None else self.encoding.parts(ops, base)

    def project(self, ops: Ops, rows: Array) -> Array:
        """The channels of some rows."""
        return rows if self.weight is None else ops.linear(rows, self.weight, self.bias)

    def channels(self, ops: Ops, base: Array) -> Array:
        """The channels for some of the base."""
        return self.project(ops, self.rows(ops, base))


@dataclass(frozen=True)
class Inputs:
    """Inputs (B, M, C) as groups of channels, which are in the order of the fields.

    At least one of the groups is not None.

    Parameters
    ----------
    shape
        Size of each input axis; M is their product. A traced program may leave sizes open.
    data
        The channels that differ within a batch, (B, M, ...), or None.
    positions
        Learned or given positions, (M, ...) or (B, M, ...), or the encoding of ``shape``, or None.
    padding
        Channels that are the same for every input, (K,), or None.
    """

    shape: tuple[Any, ...]
    data: Features | None = None
    positions: Features | FourierPositionEncoding | None = None
    padding: Array | None = None

    @classmethod
    def from_array(cls, inputs: Array) -> Inputs:
        """Inputs (B, M, C) without separate groups."""
        return cls((ops_for(inputs).shape(inputs)[1],), Features(inputs))

    def batch(self, ops: Ops) -> Any:
        """B, as returned by :meth:`.Ops.shape`."""
        return 1 if self.data is None else ops.shape(self.data.base)[0]

    @property
    def num_inputs(self) -> Any:
        return math.prod(self.shape)

    @property
    def is_open(self) -> bool:
        """Whether the number of inputs is not known while the program is traced."""
        return not is_known(*self.shape)

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
        """Channels of the rows that differ between inputs, not only along one axis."""
        features = [f for f in (self.data, self.positions) if isinstance(f, Features)]
        return sum(f.row_dim for f in features)

    @property
    def num_made(self) -> int:
        """Numbers that are made from coordinates, and are not in memory yet, in the whole batch.

        A batch of unknown size counts as one.
        """
        features = [f for f in (self.data, self.positions) if isinstance(f, Features)]
        batch = 1 if self.data is None else self.data.base.shape[0]
        channels = sum(f.row_dim for f in features if f.encoding is not None)
        return (batch if is_known(batch) else 1) * self.num_inputs * channels

    def dense(self, ops: Ops, like: Array) -> Array:
        """Build the (B, M, C) array in the data type of ``like``."""
        groups = []
        if self.data is not None:
            groups.append(self.data.channels(ops, self.data.base))
        if isinstance(self.positions, FourierPositionEncoding):
            groups.append(self._encoded(self.positions, ops, like))
        elif self.positions is not None:
            groups.append(self.positions.channels(ops, self.positions.base))
        if self.padding is not None:
            groups.append(self.padding)
        if len(groups) == 1 and self.data is not None:
            return groups[0]
        size = (self.batch(ops), self.num_inputs)
        return ops.concat(
            [ops.broadcast_to(group, (*size, group.shape[-1])) for group in groups], -1
        )

    def _encoded(self, positions: FourierPositionEncoding, ops: Ops, like: Array) -> Array:
        """Fourier features (M, C'), built here because large constants compile for minutes."""
        spread = []
        for axis, table in enumerate(positions.native_axis_tables(ops, like, self.shape)):
            sizes = [size if a == axis else 1 for a, size in enumerate(self.shape)]
            features = ops.reshape(table, (*sizes, table.shape[-1]))
            features = ops.broadcast_to(features, (*self.shape, table.shape[-1]))
            spread.append(ops.reshape(features, (self.num_inputs, table.shape[-1])))
        return ops.take(ops.concat(spread, -1), positions.order(len(self.shape)), -1)


def segments_of(inputs: Array | Inputs | Sequence[Inputs]) -> Sequence[Inputs]:
    """Inputs in any form as a sequence of segments."""
    if isinstance(inputs, Inputs):
        return (inputs,)
    return inputs if isinstance(inputs, (tuple, list)) else (Inputs.from_array(inputs),)


def dense(ops: Ops, inputs: Array | Inputs | Sequence[Inputs], like: Array) -> Array:
    """Build the (B, M, C) array of inputs in any form, in the data type of ``like`` or float32."""
    segments = [segment.dense(ops, ops.widen(like)) for segment in segments_of(inputs)]
    return ops.concat(segments, 1) if len(segments) > 1 else segments[0]


def size_of(ops: Ops, inputs: Array | Inputs | Sequence[Inputs]) -> tuple[Any, Any]:
    """B and M of inputs in any form."""
    segments = segments_of(inputs)
    batch = next((s.batch(ops) for s in segments if s.data is not None), 1)
    return batch, sum(s.num_inputs for s in segments)
