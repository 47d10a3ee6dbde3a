"""Exact attention of queries stored as groups of channels, such as one query per pixel.

The identities of :mod:`.streaming.keys`, with the sides swapped. A query is
q_j = Wq n_j + bq, with the layer norm n_j = (f_j - mu_j) / sigma_j * gamma + beta:

1. Folded projections. The score k . q_j is (g . f_j) / sigma_j + c, where
   g = (Wq' k) * gamma minus its mean, and c = Wq' k . beta + bq . k, which differs between
   keys and does not cancel. The output Wo (sum_n p_n v_n) is sum_n p_n (Wo v_n): values are
   projected once, before the sum.
2. Separated positions. g . f_j is a column plus a row plus the data's share.
3. Chunks of queries. The softmax of each chunk is complete, so memory is one chunk of scores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from ivy_models.layers.attention import project, rows_per_chunk, split_heads
from ivy_models.layers.features import Inputs
from ivy_models.layers.parameters import Tree
from ivy_models.layers.streaming.channel_groups import (
    Window,
    inverse_deviation,
    split_channels,
    sum_of_scores,
)
from ivy_models.layers.streaming.keys import head_weights
from ivy_models.layers.streaming.two_axes import TwoAxes
from ivy_models.ops import Array, Ops


def attend_from_inputs(
    ops: Ops,
    params: Tree,
    query_norm: Tree,
    queries: Inputs,
    latents: Array,
    num_heads: int,
    then: Callable[[Array], Array],
    dtype: str,
) -> Array:
    """Attention of the layer norm of queries to normed latents.

    Parameters
    ----------
    params, query_norm
        Weights of the attention and of the queries' layer norm.
    queries
        B by O queries of E channels.
    latents
        (B, N, D).
    num_heads
        H, the number of heads.
    then
        Function to apply to each chunk, (B, S, E) -> (B, S, outputs).
    dtype
        Data type of the outputs.

    Returns
    -------
    Array
        (B, O, outputs).
    """
    folded, constant = _fold(ops, params, query_norm, latents, num_heads)
    values = _projected_values(ops, params, latents, num_heads)
    if not ops.is_on_cpu(folded):  # tensor cores take factors of half precision, and sum in float32
        values = ops.cast(values, dtype)
    batch, rows, _ = ops.shape(folded)
    chunk = rows_per_chunk(ops.scores_per_chunk(folded), batch, rows)
    axes = TwoAxes.of(queries, inner_limit=chunk)
    groups = split_channels(ops, ops.take(folded, axes.order, -1), queries, axes)

    def decode(start, size):
        """Decode ``size`` outer indices from ``start``."""
        window = Window(start, size, axes.inner)
        chunks = [group.chunk(window) for group in groups]
        scores = sum_of_scores(ops, groups, chunks, window)
        inverse_sigma = inverse_deviation(ops, groups, chunks, window)[:, None]
        scores = ops.multiply_into(scores, inverse_sigma)
        num_queries = size * axes.inner
        scores = ops.reshape(scores, (batch, rows, num_queries))
        scores = ops.add_into(scores, constant)
        shape = (batch, num_heads, rows // num_heads, num_queries)
        scores = ops.reshape(scores, shape)
        weights = ops.exp_of_difference(scores, ops.max(scores, -2, keepdims=True))
        weights = ops.multiply_into(weights, 1 / ops.sum(weights, -2, keepdims=True))
        weights = ops.reshape(weights, (batch, rows, num_queries))
        weights = ops.transpose(ops.cast(weights, ops.dtype(values)), (0, 2, 1))
        attended = ops.widen(ops.matmul(weights, values))  # sums over heads too
        return then(attended + params["output"]["bias"])

    size = min(axes.outer, max(1, chunk // axes.inner))
    times, rest = divmod(axes.outer, size)
    decode_full, decode_rest = (functools.partial(decode, size=s) for s in (size, rest))
    if times > 1:  # so that training also needs the memory of one chunk only
        decode_full = ops.rematerialise_chunks(decode_full)
    outputs = ops.map_steps(lambda i: decode_full(i * size), times, dtype)
    return ops.concat([outputs, decode_rest(times * size)], 1) if rest else outputs


def _fold(ops: Ops, params: Tree, query_norm: Tree, latents: Array, num_heads: int):
    """Keys through the queries' projection and norm: g (B, H N, E) and c (B, H N, 1)."""
    keys = split_heads(ops, project(ops, params["key"], latents), num_heads)
    batch, _, num_latents, head_dim = ops.shape(keys)
    keys = keys * head_dim**-0.5
    weight = head_weights(ops, params["query"]["weight"], num_heads)  # (H, E, K)
    folded = ops.matmul(keys, ops.transpose(weight, (0, 2, 1)))
    bias = ops.reshape(params["query"]["bias"], (num_heads, 1, head_dim))
    constant = ops.sum(folded * query_norm["offset"], -1) + ops.sum(keys * bias, -1)
    folded = folded * query_norm["scale"]
    folded = folded - ops.mean(folded, -1, keepdims=True)
    rows = num_heads * num_latents
    return ops.reshape(folded, (batch, rows, folded.shape[-1])), ops.reshape(
        constant, (batch, rows, 1)
    )


def _projected_values(ops: Ops, params: Tree, latents: Array, num_heads: int) -> Array:
    """Values through the output projection, (B, H N, E)."""
    values = split_heads(ops, project(ops, params["value"], latents), num_heads)
    batch, _, num_latents, head_dim = ops.shape(values)
    weight = params["output"]["weight"]
    weight = ops.reshape(weight, (num_heads, head_dim, weight.shape[-1]))
    values, dim = ops.matmul(values, weight), weight.shape[-1]
    return ops.reshape(values, (batch, num_heads * num_latents, dim))
