"""Groups of the inputs' channels, processed in chunks.

Each group computes for its own channels: their contribution to the scores of folded vectors, their
mean and squares for the layer norm, and their contribution to weighted sums.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from ivy_models.layers.features import Features, Inputs
from ivy_models.layers.streaming.two_axes import TwoAxes
from ivy_models.ops import Array, Ops
from ivy_models.ops.base import LAYER_NORM_EPSILON


class Window(NamedTuple):
    """``size`` outer indices from ``start``, and all inner ones."""

    start: Any
    size: int
    inner: int


def split_channels(ops: Ops, folded: Array, inputs: Inputs, axes: TwoAxes) -> list[ChannelGroup]:
    """Split folded queries (B, R, C), channels in the order of ``axes``, among the groups."""
    makers: list[tuple[type[ChannelGroup], Features]] = [
        (PerInput, features)
        for features in (inputs.data, inputs.positions)
        if isinstance(features, Features)
    ]
    for maker, table in ((PerOuter, axes.outer_table), (PerInner, axes.inner_table)):
        if table is not None:
            makers.append((maker, Features(ops.constant(table, like=folded))))
    if inputs.padding is not None:
        makers.append((Shared, Features(inputs.padding[None])))
    groups, start = [], 0
    for maker, features in makers:
        stop = start + features.num_channels
        groups.append(maker(ops, folded[..., start:stop], features))
        start = stop
    return groups


class ChannelGroup(ABC):
    """Channels of one base, with its scores, statistics and weighted sums for each chunk."""

    @abstractmethod
    def chunk(self, window: Window) -> Any:
        """The rows of the base that a window needs, if any."""

    @abstractmethod
    def scores(self, chunk: Any, window: Window) -> Array:
        """Contribution to the scores, in a shape that broadcasts to (B, R, size, inner)."""

    @abstractmethod
    def stats(self, chunk: Any, window: Window) -> tuple[Any, ...]:
        """Number of channels, their mean and sum of squared deviations, (B, size, inner)."""

    @abstractmethod
    def weighted(self, weights: Array, by_outer: Array, chunk: Any) -> Array:
        """Sum of the base with weights (B, R, size, inner), which ``by_outer`` sums over inner."""

    def __init__(self, ops: Ops, query: Array, features: Features):
        self.ops, self.features = ops, features
        self.constant = None
        if features.weight is not None:  # fold the projection into the query as well
            self.constant = ops.sum(query * features.bias, -1, keepdims=True)
            query = ops.matmul(query, ops.transpose(features.weight, (1, 0)))
        self.query = query

    @property
    def sum_size(self) -> int:
        return self.features.row_dim

    def _scores(self, base):
        """(..., S, K) -> (B, R, S)."""
        axes = (*range(len(base.shape) - 2), len(base.shape) - 1, len(base.shape) - 2)
        scores = self.ops.matmul(self.query, self.ops.transpose(base, axes))
        return scores if self.constant is None else scores + self.constant

    def _stats(self, base):
        """Number of channels, their mean and sum of squared deviations, (..., S)."""
        ops, channels = self.ops, self.features.project(self.ops, base)
        mean = ops.mean(channels, -1, keepdims=True)
        deviation = channels - mean
        return channels.shape[-1], mean[..., 0], ops.sum(deviation * deviation, -1)

    def finish(self, base_sum, weight_sum):
        """Convert a weighted sum of the base (B, R, K) to one of the channels (B, R, C')."""
        if self.features.weight is None:
            return base_sum
        summed = self.ops.matmul(base_sum, self.features.weight)
        return summed + weight_sum * self.features.bias


class PerInput(ChannelGroup):
    """One row for each input, made for each chunk if the base holds coordinates."""

    def chunk(self, window):
        base, (start, size, inner) = self.features.base, window
        base = self.ops.slice(base, start * inner, size * inner, len(base.shape) - 2)
        return self.features.rows(self.ops, base)

    def scores(self, chunk, window):
        scores = self._scores(chunk)
        return self.ops.reshape(scores, (*self.ops.shape(scores)[:2], window.size, window.inner))

    def stats(self, chunk, window):
        num, *stats = self._stats(chunk)
        return num, *(self.ops.reshape(s, (-1, window.size, window.inner)) for s in stats)

    def weighted(self, weights, by_outer, chunk):
        flat = self.ops.reshape(weights, (*self.ops.shape(weights)[:2], -1))
        return self.ops.matmul(flat, chunk)


class PerOuter(ChannelGroup):
    """Base (outer, K)."""

    def chunk(self, window):
        return self.ops.slice(self.features.base, window.start, window.size, 0)

    def scores(self, chunk, window):
        return self._scores(chunk)[..., None]

    def stats(self, chunk, window):
        num, *stats = self._stats(chunk)
        return num, *(s[None, :, None] for s in stats)

    def weighted(self, weights, by_outer, chunk):
        return self.ops.matmul(by_outer, chunk)


class PerInner(ChannelGroup):
    """Base (inner, K): the same for every chunk, so computed once."""

    def __init__(self, ops, query, features):
        super().__init__(ops, query, features)
        num, *stats = self._stats(features.base)
        self._fixed_stats = num, *(s[None, None] for s in stats)
        self._fixed_scores = self._scores(features.base)[:, :, None]

    @property
    def sum_size(self):
        return self.features.base.shape[0]

    def chunk(self, window):
        return None

    def scores(self, chunk, window):
        return self._fixed_scores

    def stats(self, chunk, window):
        return self._fixed_stats

    def weighted(self, weights, by_outer, chunk):
        return self.ops.sum(weights, -2)

    def finish(self, base_sum, weight_sum):
        return self.ops.matmul(base_sum, self.features.base)


class Shared(PerInner):
    """Base (1, K): the same for every input."""

    def weighted(self, weights, by_outer, chunk):
        return self.ops.sum(by_outer, -1, keepdims=True)


def sum_of_scores(ops: Ops, groups: list[ChannelGroup], chunks: list[Any], window: Window) -> Array:
    """The groups' scores added up, (B, R, size, inner)."""
    # The first group has no scores that it keeps for other chunks, so they may be overwritten.
    scores = (group.scores(chunk, window) for group, chunk in zip(groups, chunks, strict=True))
    return functools.reduce(ops.add_into, scores)


def inverse_deviation(
    ops: Ops, groups: list[ChannelGroup], chunks: list[Any], window: Window
) -> Array:
    """1 / sigma of the inputs of a window, (B, size, inner), from the groups' chunks."""
    stats = [group.stats(chunk, window) for group, chunk in zip(groups, chunks, strict=True)]
    channels = sum(num for num, _, _ in stats)
    mean = sum(num * mean for num, mean, _ in stats) / channels
    # Squared deviations within each group, and of each group's mean.
    squares = sum(
        squares + num * (group_mean - mean) * (group_mean - mean)
        for num, group_mean, squares in stats
    )
    return 1 / ops.sqrt(squares / channels + LAYER_NORM_EPSILON)
