"""The sums over a grid by :meth:`.Ops.grid_sums`, where the framework has that kernel."""

from __future__ import annotations

import functools
from typing import Any

from ivy_models.layers.attention import rows_per_chunk
from ivy_models.layers.features import Inputs
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.layers.streaming.channel_groups import (
    ChannelGroup,
    PerOuter,
    Window,
    inverse_deviation,
)
from ivy_models.layers.streaming.two_axes import TwoAxes
from ivy_models.ops import Array, Ops


def takes_kernel(ops: Ops, groups: list[ChannelGroup], inputs: Inputs, axes: TwoAxes) -> bool:
    """Whether the kernel can compute the sums of these groups."""
    if not isinstance(inputs.positions, FourierPositionEncoding):
        return False
    if inputs.data is None or inputs.data.encoding is not None:
        return False
    query = groups[0].query
    # The scores of outer and inner indices are held whole.
    most = max(ops.scores_per_chunk(query), axes.outer * axes.inner)
    if query.shape[1] * (axes.outer + axes.inner) > most:
        return False
    sources = (x for group in groups for x in (group.query, group.constant, group.features.base))
    return ops.has_grid_sums(inputs.data.base, *(x for x in sources if x is not None))


def sums_by_kernel(
    ops: Ops, groups: list[ChannelGroup], axes: TwoAxes, batch: Any, input_mask: Array | None
) -> tuple[Array, Array, Array, tuple[Array, ...]]:
    """The highest score, the sums of the weights, and each group's, as those of chunks."""
    data, *others = groups
    query, (outer, inner) = data.query, (axes.outer, axes.inner)
    window = Window(0, outer, inner)
    outer_scores = ops.full((*query.shape[:2], outer), 0, like=query)
    inner_scores = ops.full((*query.shape[:2], inner), 0, like=query)
    if data.constant is not None:
        outer_scores = outer_scores + data.constant
    for group in others:
        scores = group.scores(group.chunk(window), window)
        if isinstance(group, PerOuter):
            outer_scores = outer_scores + scores[..., 0]
        else:
            inner_scores = inner_scores + scores[:, :, 0]

    x = ops.broadcast_to(data.chunk(window), (batch, outer * inner, data.sum_size))
    inverse = _inverse_deviations(ops, groups, axes, batch)
    if inner == 1:  # the kernel reads blocks of inner indices
        inverse = ops.reshape(inverse, (batch, inner, outer))
        outer_scores, inner_scores = inner_scores, outer_scores
    sums = ops.grid_sums(x, inverse, query, outer_scores, inner_scores, input_mask)
    highest, total, of_x, by_outer, by_inner = sums
    if inner == 1:
        by_outer, by_inner = by_inner, by_outer
    weight_sum = ops.sum(by_outer, -1, keepdims=True)
    of_groups = (
        group.weighted(by_inner[:, :, None], by_outer, group.chunk(window)) for group in others
    )
    return highest[..., None, None], total[..., None, None], weight_sum, (of_x, *of_groups)


def _inverse_deviations(ops: Ops, groups: list[ChannelGroup], axes: TwoAxes, batch: Any) -> Array:
    """1 / sigma of all inputs, (B, outer, inner), in chunks, because it needs all channels."""

    def compute(start, size):
        window = Window(start, size, axes.inner)
        return inverse_deviation(ops, groups, [group.chunk(window) for group in groups], window)

    data = groups[0]
    chunk = rows_per_chunk(ops.scores_per_chunk(data.query), batch, data.features.num_channels)
    size = min(axes.outer, max(1, chunk // axes.inner))
    times, rest = divmod(axes.outer, size)
    compute_full = functools.partial(compute, size=size)
    if times > 1:  # so that training also needs the memory of one chunk only
        compute_full = ops.rematerialise_chunks(compute_full)
    parts = ops.map_steps(lambda i: compute_full(i * size), times, ops.dtype(data.query))
    return ops.concat([parts, compute(times * size, rest)], 1) if rest else parts
