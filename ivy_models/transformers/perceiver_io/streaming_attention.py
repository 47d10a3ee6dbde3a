"""Exact attention to inputs kept in parts, a chunk at a time.

Three identities remove most of the plain reader's work and nearly all its memory. With f
an input's C channels, mu and sigma its mean and deviation, and layer norm
n = (f - mu) / sigma * gamma + beta:

1. Folded projections. The score q . (Wk n) is (g . f) / sigma, where g = (Wk' q) * gamma
   with its own mean taken off; what beta and the biases add is the same for every input
   and cancels in the softmax. The values sum_j p_j (Wv n_j) are Wv (sum_j p_j n_j). So
   keys and values are never built.
2. Separated positions. A Fourier feature depends on one axis, so with inputs on a grid
   (outer, inner) the score's position part is a column plus a row, and the position part
   of sum_j w_j f_j needs only the sums of w over rows and over columns.
3. Online softmax (arXiv 1805.02867): a running maximum and running sums, so memory is one
   chunk of scores.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ivy_models.ops import Array, Ops
from ivy_models.ops.base import LAYER_NORM_EPSILON, MASKED_SCORE
from ivy_models.transformers.perceiver_io.attention import project, split_heads
from ivy_models.transformers.perceiver_io.inputs import Features, Grid, Inputs
from ivy_models.transformers.perceiver_io.parameters import Tree

SCORES_PER_CHUNK = 2**20
"""Scores held at a time (4 MB in float32): fits the caches of current CPUs."""


def streaming_attend(
    ops: Ops,
    params: Tree,
    input_norm: Tree,
    queries: Array,
    inputs: Inputs,
    num_heads: int,
    input_mask: Array | None = None,
) -> Array:
    """Attention of normed queries to the layer norm of inputs.

    Parameters
    ----------
    params, input_norm
        Weights of the attention and of the inputs' layer norm.
    queries
        (B, N, D), or (1, N, D) for a whole batch.
    inputs
        B by M inputs of C channels.
    num_heads
        H.
    input_mask
        (B, M), True where an input takes part.

    Returns
    -------
    Array
        (B, N, D).
    """
    num_queries, num_channels = queries.shape[1], inputs.num_channels
    # Fold: (B, H, N, K) by (H, K, C) -> (B, H N, C).
    q = split_heads(ops, project(ops, params["query"], queries), num_heads)
    head_dim = q.shape[-1]
    key_weight = _head_weights(ops, params["key"]["weight"], num_heads)
    folded = ops.matmul(q, ops.transpose(key_weight, (0, 2, 1))) * head_dim**-0.5
    folded = folded * input_norm["scale"]
    folded = folded - ops.mean(folded, -1, keepdims=True)
    folded = ops.reshape(folded, (queries.shape[0], num_heads * num_queries, num_channels))

    summed = _weighted_sum(ops, folded, inputs, input_mask)  # (B, H N, C)

    normed = (summed - ops.mean(summed, -1, keepdims=True)) * input_norm["scale"]
    normed = normed + input_norm["offset"]
    normed = ops.reshape(normed, (inputs.batch, num_heads, num_queries, num_channels))
    values = ops.matmul(normed, _head_weights(ops, params["value"]["weight"], num_heads))
    values = ops.reshape(ops.transpose(values, (0, 2, 1, 3)), (inputs.batch, num_queries, -1))
    values = values + params["value"]["bias"]
    if input_mask is not None:
        any_input = ops.max(ops.cast(input_mask, ops.dtype(values)), -1)
        values = values * any_input[:, None, None]
    return project(ops, params["output"], values)


def _head_weights(ops: Ops, weight: Array, num_heads: int) -> Array:
    """(C, H K) -> (H, C, K)."""
    channels, dim = weight.shape
    split = ops.reshape(weight, (channels, num_heads, dim // num_heads))
    return ops.transpose(split, (1, 0, 2))


def _weighted_sum(ops: Ops, folded: Array, inputs: Inputs, input_mask: Array | None) -> Array:
    """sum_j softmax_j(g . f_j / sigma_j) f_j / sigma_j, (B, R, C) for folded queries (B, R, C)."""
    batch, rows, channels = inputs.batch, folded.shape[1], inputs.num_channels
    chunk = max(1, SCORES_PER_CHUNK // (batch * rows))
    grid = Grid.of(inputs, inner_limit=chunk)
    parts = _parts(ops, ops.take(folded, grid.order, -1), inputs, grid)

    def read(start, size, carry):
        """Read ``size`` outer indices from ``start``."""
        highest, total, weight_sum, sums = carry
        window = _Window(start, size, grid.inner)
        chunks = [part.chunk(window) for part in parts]
        inverse_deviation = _inverse_deviation(
            ops, [part.stats(c, window) for part, c in zip(parts, chunks, strict=True)], channels
        )[:, None]
        scores = sum(part.scores(c, window) for part, c in zip(parts, chunks, strict=True))
        scores = scores * inverse_deviation
        if input_mask is not None:
            mask = ops.slice(input_mask, start * grid.inner, size * grid.inner, 1)
            mask = ops.reshape(mask, (batch, 1, size, grid.inner))
            scores = ops.where(mask, scores, MASKED_SCORE)

        highest_here = ops.max(ops.max(scores, -1, keepdims=True), -2, keepdims=True)
        new_highest = ops.maximum(highest, highest_here)
        decay = ops.exp(highest - new_highest)
        weights = ops.exp(scores - new_highest)
        total = total * decay + ops.sum(ops.sum(weights, -1, keepdims=True), -2, keepdims=True)
        weights = weights * inverse_deviation
        by_outer = ops.sum(weights, -1)
        decay_row = decay[..., 0]
        weight_sum = weight_sum * decay_row + ops.sum(by_outer, -1, keepdims=True)
        sums = tuple(
            part_sum * decay_row + part.weighted(weights, by_outer, c)
            for part, part_sum, c in zip(parts, sums, chunks, strict=True)
        )
        return new_highest, total, weight_sum, sums

    def full(value, *shape):
        scalar = ops.constant(np.full((1,) * (2 + len(shape)), value, np.float32), like=folded)
        return ops.broadcast_to(scalar, (batch, rows, *shape))

    carry = (
        full(MASKED_SCORE, 1, 1),
        full(0, 1, 1),
        full(0, 1),
        tuple(full(0, part.sum_size) for part in parts),
    )
    size = min(grid.outer, max(1, chunk // grid.inner))
    times, rest = divmod(grid.outer, size)
    carry = ops.loop(times, lambda i, carry: read(i * size, size, carry), carry)
    if rest:
        carry = read(times * size, rest, carry)

    _, total, weight_sum, sums = carry
    summed = [part.finish(s, weight_sum) for part, s in zip(parts, sums, strict=True)]
    summed = ops.concat(summed, -1) / total[..., 0]
    return ops.take(summed, np.argsort(grid.order), -1)


class _Window(NamedTuple):
    """``size`` outer indices from ``start``, and all inner ones."""

    start: Any
    size: int
    inner: int


def _parts(ops: Ops, folded: Array, inputs: Inputs, grid: Grid) -> list[_Part]:
    """Split folded queries (B, R, C), channels in the grid's order, among the inputs' parts."""
    makers = [(_PerInput, inputs.data)]
    if isinstance(inputs.positions, Features):
        makers.append((_PerInput, inputs.positions))
    for maker, table in ((_PerOuter, grid.outer_table), (_PerInner, grid.inner_table)):
        if table is not None:
            makers.append((maker, Features(ops.constant(table, like=folded))))
    parts, start = [], 0
    for maker, features in makers:
        stop = start + features.num_channels
        parts.append(maker(ops, folded[..., start:stop], features))
        start = stop
    return parts


class _Part:
    """Channels that share a base: its scores, statistics and weighted sums, chunk by chunk."""

    def __init__(self, ops: Ops, query: Array, features: Features):
        self.ops, self.features = ops, features
        self.constant = None
        if features.weight is not None:  # fold the projection into the query as well
            self.constant = ops.sum(query * features.bias, -1, keepdims=True)
            query = ops.matmul(query, ops.transpose(features.weight, (1, 0)))
        self.query = query

    @property
    def sum_size(self) -> int:
        return self.features.base.shape[-1]

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
        """Weighted sum of the base (B, R, K) -> of the channels (B, R, C')."""
        if self.features.weight is None:
            return base_sum
        summed = self.ops.matmul(base_sum, self.features.weight)
        return summed + weight_sum * self.features.bias


class _PerInput(_Part):
    """Base (B, M, K) or (M, K): one row an input."""

    def chunk(self, window):
        base, (start, size, inner) = self.features.base, window
        return self.ops.slice(base, start * inner, size * inner, len(base.shape) - 2)

    def scores(self, chunk, window):
        scores = self._scores(chunk)
        return self.ops.reshape(scores, (*scores.shape[:2], window.size, window.inner))

    def stats(self, chunk, window):
        num, *stats = self._stats(chunk)
        return num, *(self.ops.reshape(s, (-1, window.size, window.inner)) for s in stats)

    def weighted(self, weights, by_outer, chunk):
        return self.ops.matmul(self.ops.reshape(weights, (*weights.shape[:2], -1)), chunk)


class _PerOuter(_Part):
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


class _PerInner(_Part):
    """Base (inner, K): the same for every chunk, so worked out once."""

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


def _inverse_deviation(ops: Ops, stats: list, channels: int) -> Array:
    """1 / sigma of inputs whose channels come in parts, (B, size, inner)."""
    mean = sum(num * mean for num, mean, _ in stats) / channels
    # Squared deviations within each part, and of each part's mean.
    squares = sum(
        squares + num * (part_mean - mean) * (part_mean - mean) for num, part_mean, squares in stats
    )
    return 1 / ops.sqrt(squares / channels + LAYER_NORM_EPSILON)
