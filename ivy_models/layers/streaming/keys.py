"""Exact attention to inputs stored as groups of channels, a chunk at a time.

Three identities remove most of the plain reader's work and nearly all its memory. With f
an input's C channels, mu and sigma its mean and deviation, and layer norm
n = (f - mu) / sigma * gamma + beta:

1. Folded projections. The score q . (Wk n) is (g . f) / sigma, where g = (Wk' q) * gamma
   minus its mean. The terms of beta and of the biases are the same for every input and
   cancel in the softmax. The values sum_j p_j (Wv n_j) are Wv (sum_j p_j n_j). So keys and
   values are never built.
2. Separated positions. A Fourier feature depends on one axis, so with inputs on a grid
   (outer, inner) the score's position part is a column plus a row, and the position part
   of sum_j w_j f_j needs only the sums of w over rows and over columns.
3. Online softmax (arXiv 1805.02867): a running maximum and running sums, so memory is one
   chunk of scores. Each segment of inputs has its own sums, which are merged at the end.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from ivy_models.layers.attention import (
    merge_heads,
    project,
    rows_per_chunk,
    split_heads,
)
from ivy_models.layers.features import Features, Inputs
from ivy_models.layers.parameters import Tree
from ivy_models.layers.streaming.channel_groups import (
    ChannelGroup,
    Window,
    inverse_deviation,
    split_channels,
    sum_of_scores,
)
from ivy_models.layers.streaming.kernel import sums_by_kernel, takes_kernel
from ivy_models.layers.streaming.rows import features_of_rows, normed_rows
from ivy_models.layers.streaming.two_axes import TwoAxes
from ivy_models.ops import Array, Ops
from ivy_models.ops.base import MASKED_SCORE


class SoftmaxSums(NamedTuple):
    """With scores s_j = g . f_j / sigma_j and weights w_j = exp(s_j - highest):

    the highest score and the sum of the weights, (B, R, 1), and sum_j w_j f_j / sigma_j,
    (B, R, C).
    """

    highest: Array
    total: Array
    summed: Array


def streaming_attend(
    ops: Ops,
    params: Tree,
    input_norm: Tree,
    queries: Array,
    segments: Sequence[Inputs],
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
    segments
        Segments of inputs, in order: together B by M inputs of C channels.
    num_heads
        H, the number of heads.
    input_mask
        Booleans (B, M), True for inputs to attend to.

    Returns
    -------
    Array
        (B, N, D).
    """
    batch, num_queries = segments[0].batch(ops), queries.shape[1]
    # Fold: (B, H, N, K) by (H, K, C) -> (B, H N, C).
    q = split_heads(ops, project(ops, params["query"], queries), num_heads)
    head_dim = q.shape[-1]
    key_weight = head_weights(ops, params["key"]["weight"], num_heads)
    folded = ops.matmul(q, ops.transpose(key_weight, (0, 2, 1))) * head_dim**-0.5
    folded = folded * input_norm["scale"]
    folded = folded - ops.mean(folded, -1, keepdims=True)
    channels = folded.shape[-1]
    folded = ops.reshape(folded, (ops.shape(queries)[0], num_heads * num_queries, channels))

    sums, start = [], 0
    for segment in segments:
        mask = input_mask
        if mask is not None and len(segments) > 1:
            mask = ops.slice(mask, start, segment.num_inputs, 1)
        sums.append(_softmax_sums(ops, folded, segment, mask))
        start += segment.num_inputs
    _, total, summed = functools.reduce(functools.partial(_merged, ops), sums)
    summed = summed / total  # (B, H N, C)

    normed = (summed - ops.mean(summed, -1, keepdims=True)) * input_norm["scale"]
    normed = normed + input_norm["offset"]
    normed = ops.reshape(normed, (batch, num_heads, num_queries, channels))
    values = ops.matmul(normed, head_weights(ops, params["value"]["weight"], num_heads))
    values = merge_heads(ops, values)
    # The keys' bias cancels. Its gradient must be zero, not missing, as some tools wait for it.
    values = values + params["value"]["bias"] + 0 * ops.sum(params["key"]["bias"], 0)
    if input_mask is not None:
        any_input = ops.max(ops.cast(input_mask, ops.dtype(values)), -1)
        values = values * any_input[:, None, None]
    return project(ops, params["output"], values)


def head_weights(ops: Ops, weight: Array, num_heads: int) -> Array:
    """(C, H K) -> (H, C, K)."""
    channels, dim = weight.shape
    split = ops.reshape(weight, (channels, num_heads, dim // num_heads))
    return ops.transpose(split, (1, 0, 2))


def _merged(ops: Ops, a: SoftmaxSums, b: SoftmaxSums) -> SoftmaxSums:
    """Merge the sums over two sets of inputs."""
    highest = ops.maximum(a.highest, b.highest)
    a_share, b_share = ops.exp(a.highest - highest), ops.exp(b.highest - highest)
    return SoftmaxSums(
        highest,
        a.total * a_share + b.total * b_share,
        a.summed * a_share + b.summed * b_share,
    )


def _softmax_sums(ops: Ops, folded: Array, inputs: Inputs, input_mask: Array | None) -> SoftmaxSums:
    """The sums of folded queries (B, R, C) over the inputs."""
    if features := features_of_rows(inputs):
        return _sums_of_rows(ops, folded, features, inputs, input_mask)
    batch, rows = inputs.batch(ops), folded.shape[1]
    # Channels of a chunk are in memory too, beside its scores.
    chunk = rows_per_chunk(ops.scores_per_chunk(folded), batch, max(rows, inputs.num_own_channels))
    axes = TwoAxes.of(inputs, inner_limit=chunk)
    groups = split_channels(ops, ops.take(folded, axes.order, -1), inputs, axes)
    if takes_kernel(ops, groups, inputs, axes):
        highest, total, weight_sum, sums = sums_by_kernel(ops, groups, axes, batch, input_mask)
    else:
        size = chunk // axes.inner
        carry = _sums_in_chunks(ops, folded, groups, axes, batch, size, input_mask)
        highest, total, weight_sum, sums = carry
    summed = [group.finish(s, weight_sum) for group, s in zip(groups, sums, strict=True)]
    summed = ops.take(ops.concat(summed, -1), axes.inverse, -1)
    return SoftmaxSums(highest[..., 0], total[..., 0], summed)


def _sums_in_chunks(
    ops: Ops,
    folded: Array,
    groups: list[ChannelGroup],
    axes: TwoAxes,
    batch: Any,
    size: int,
    input_mask: Array | None,
) -> tuple[Array, Array, Array, tuple[Array, ...]]:
    """The sums of each group, ``size`` outer indices at a time.

    Returns
    -------
    tuple
        The highest score and the sum of the weights, (B, R, 1, 1); the sum of weights / sigma,
        (B, R, 1); and each group's weighted sum.
    """
    rows = folded.shape[1]

    def read(start, carry, size):
        """Read ``size`` outer indices from ``start``."""
        highest, total, weight_sum, sums = carry
        window = Window(start, size, axes.inner)
        chunks = [group.chunk(window) for group in groups]
        inverse_sigma = inverse_deviation(ops, groups, chunks, window)[:, None]
        scores = sum_of_scores(ops, groups, chunks, window)
        scores = ops.multiply_into(scores, inverse_sigma)
        if input_mask is not None:
            mask = ops.slice(input_mask, start * axes.inner, size * axes.inner, 1)
            mask = ops.reshape(mask, (batch, 1, size, axes.inner))
            scores = ops.where(mask, scores, MASKED_SCORE)

        highest_here = ops.max(ops.max(scores, -1, keepdims=True), -2, keepdims=True)
        new_highest = ops.maximum(highest, highest_here)
        decay = ops.exp(highest - new_highest)
        weights = ops.exp_of_difference(scores, new_highest)
        total = total * decay + ops.sum(ops.sum(weights, -1, keepdims=True), -2, keepdims=True)
        weights = ops.multiply_into(weights, inverse_sigma)
        by_outer = ops.sum(weights, -1)
        decay_row = decay[..., 0]
        weight_sum = weight_sum * decay_row + ops.sum(by_outer, -1, keepdims=True)
        sums = tuple(
            group_sum * decay_row + group.weighted(weights, by_outer, c)
            for group, group_sum, c in zip(groups, sums, chunks, strict=True)
        )
        return new_highest, total, weight_sum, sums

    def full(value, *shape):
        scalar = ops.full((1,) * (2 + len(shape)), value, like=folded)
        return ops.broadcast_to(scalar, (batch, rows, *shape))

    carry = (
        full(MASKED_SCORE, 1, 1),
        full(0, 1, 1),
        full(0, 1),
        tuple(full(0, group.sum_size) for group in groups),
    )
    return in_chunks(ops, read, axes.outer, size, carry)


def _sums_of_rows(
    ops: Ops, folded: Array, features: list[Features], inputs: Inputs, input_mask: Array | None
) -> SoftmaxSums:
    """The same for inputs that are rows of features."""
    batch, rows, channels = inputs.batch(ops), folded.shape[1], folded.shape[2]

    def read(start, carry, size):
        """Read ``size`` inputs from ``start``."""
        highest, total, summed = carry
        normed = normed_rows(ops, features, batch, start, size)
        # (B, S, R) by (B, R, C): BLAS takes longer for weights (B, R, S) by rows (B, S, C).
        scores = ops.matmul(normed, columns)
        if input_mask is not None:
            mask = ops.slice(input_mask, start, size, 1)[..., None]
            scores = ops.where(mask, scores, MASKED_SCORE)
        new_highest = ops.maximum(highest, ops.max(scores, -2, keepdims=True))
        decay = ops.exp(highest - new_highest)
        weights = ops.exp_of_difference(scores, new_highest)
        total = total * decay + ops.sum(weights, -2, keepdims=True)
        sums = ops.matmul(ops.transpose(normed, (0, 2, 1)), weights)
        return new_highest, total, summed * decay + sums

    def full(value, size):
        return ops.broadcast_to(ops.full((1, 1, 1), value, folded), (batch, size, rows))

    columns = ops.transpose(folded, (0, 2, 1))
    carry = full(MASKED_SCORE, 1), full(0, 1), full(0, channels)
    # Channels of a chunk are in memory too, beside its scores.
    chunk = rows_per_chunk(ops.scores_per_chunk(folded), batch, max(rows, channels))
    sums = in_chunks(ops, read, inputs.num_inputs, chunk, carry)
    return SoftmaxSums(*(ops.transpose(x, (0, 2, 1)) for x in sums))


def in_chunks(ops: Ops, read: Any, number: int, chunk: int, carry: Any) -> Any:
    """``carry = read(start, carry, size)`` for chunks of a number of inputs or of outer indices.

    ``chunk`` is the size of all but the last, which has the rest.
    """
    size = min(number, max(1, chunk))
    times, rest = divmod(number, size)
    read_full = functools.partial(read, size=size)
    if times > 1:  # so that training also needs the memory of one chunk only
        read_full = ops.rematerialise_chunks(read_full)
    carry = ops.loop(times, lambda i, carry: read_full(i * size, carry), carry)
    return read(times * size, carry, rest) if rest else carry
