"""Points of which a mask hides some: a token takes their place, a chunk of points at a time."""

from __future__ import annotations

from dataclasses import dataclass

from ivy_models.layers.features import Features, Inputs
from ivy_models.ops import Array, Ops


@dataclass(frozen=True)
class PointsOrToken:
    """Makes the channels of points, or those of a token, as an encoding of :class:`.Features`.

    Its base holds the data of each point, its coordinates, and 1 where it is seen, else 0.

    Parameters
    ----------
    data, positions
        How their channels are made.
    padding
        Channels that are the same for every point, (K,), or None.
    token
        The channels of a point that is hidden, (C,).
    """

    data: Features
    positions: Features
    padding: Array | None
    token: Array

    def num_channels(self, num_axes: int) -> int:
        """C, whatever the base's channels."""
        return self.token.shape[0]

    def encode_native(self, ops: Ops, positions: Array) -> Array:
        """The channels of some of the base."""
        size = ops.shape(positions)[:-1]
        data_dim, num_axes = self.data.base.shape[-1], self.positions.base.shape[-1]
        data = ops.slice(positions, 0, data_dim, -1)
        places = ops.slice(positions, data_dim, num_axes, -1)
        seen = ops.slice(positions, data_dim + num_axes, 1, -1) > 0
        parts = [self.data.channels(ops, data), self.positions.channels(ops, places)]
        if self.padding is not None:
            parts.append(ops.broadcast_to(self.padding, (*size, self.padding.shape[0])))
        token = ops.broadcast_to(self.token, (*size, self.token.shape[0]))
        return ops.where(seen, ops.concat(parts, -1), token)

    def parts(self, ops: Ops, positions: Array) -> tuple[Array, ...]:
        return (self.encode_native(ops, positions),)


def hidden_points(ops: Ops, inputs: Inputs, seen: Array, token: Array) -> Inputs:
    """The inputs (B, M, C) of points, with a token (C,) where ``seen`` (B, M) is False."""
    data, positions = inputs.data, inputs.positions
    assert data is not None
    assert isinstance(positions, Features)
    batch, number = ops.shape(data.base)[:2]
    places = ops.broadcast_to(positions.base, (batch, number, positions.base.shape[-1]))
    given = ops.widen(data.base)
    base = ops.concat([given, ops.match(places, given), ops.match(seen[..., None], given)], -1)
    encoding = PointsOrToken(data, positions, inputs.padding, token)
    return Inputs(inputs.shape, Features(base, encoding=encoding))
