"""Attention of a resampler: plain, folded, or in chunks of the inputs.

The score of a query q and an input's norm n is q . (Wk n + bk). Folded: the first part is
(Wk' q) . n, and q . bk is the same for all inputs, so it cancels in the softmax. The values
sum_j p_j (Wv n_j + bv) are Wv (sum_j p_j n_j) + bv. So one attention to the n_j themselves, with
channels of an input instead of those of a head, replaces the projections of all inputs. That is
cheaper if latents and heads are few. Norms and rotations of keys come between, so they exclude it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ivy_models.layers.attention import (
    merge_heads,
    project,
    rows_per_chunk,
    split_heads,
)
from ivy_models.layers.parameters import Tree, is_plain
from ivy_models.layers.streaming.keys import head_weights, in_chunks
from ivy_models.ops import Array, Ops, is_known
from ivy_models.ops.base import HALF_TYPES, MASKED_SCORE
from ivy_models.transformers.perceiver_io.resampler.rotary import rotate
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec

MAX_CHUNKS = 32
"""Chunks of keys, values and scores that plain attention may make at once: on a CPU 128 MB in
float32."""


class Source(NamedTuple):
    """What queries attend to."""

    array: Array
    """(B, M, C)."""
    mask: Array | None = None
    """Booleans (B, M), True where to attend."""
    positions: Array | None = None
    """(B, M) or (1, M), at least float32."""
    norm: Any = None
    """Weights of the norm that is still to be applied, if any."""


def norm(ops: Ops, spec: ResamplerSpec, params: Any, x: Array) -> Array:
    """The spec's norm of the last axis."""
    if callable(params):
        return params(x)
    if spec.norm == "layer_norm":
        return ops.layer_norm(x, params["scale"], params["offset"])
    return ops.rms_norm(x, params["scale"], float(spec.rms_norm_eps))


def attend(
    ops: Ops, spec: ResamplerSpec, params: Tree, queries: Source, sources: list[Source]
) -> Array:
    """Normed latents (B, N, D) attend to one or two sources together; -> (B, N, D)."""
    attention = _Attention(ops, spec, params, _folds(ops, spec, params, queries, sources))
    q = attention.queries(queries)
    if _is_long(ops, attention, q, sources):
        attended = _attend_in_parts(ops, attention, q, sources)
    else:
        attended = _attend_at_once(ops, attention, q, sources)
    attended = attention.values(attended, _any_key(ops, sources))
    if spec.rotate_values and queries.positions is not None:
        attended = rotate(ops, spec, attended, -queries.positions)
    return project(ops, params["output"], merge_heads(ops, attended))


class _Attention(NamedTuple):
    """The projections of one attention, folded into the queries or not."""

    ops: Ops
    spec: ResamplerSpec
    params: Tree
    folds: bool

    def queries(self, source: Source) -> Array:
        """(B, G, R, K): the queries' heads, in one group for each head of the keys.

        Folded: (B, 1, H N, C).
        """
        ops, spec = self.ops, self.spec
        q = self._heads("query", source.array, spec.num_heads, source.positions)
        batch, _, num_queries, head_dim = ops.shape(q)
        groups = spec.key_value_heads
        q = ops.reshape(q, (batch, groups, spec.num_heads // groups * num_queries, head_dim))
        if not self.folds:
            return q
        weights = ops.transpose(self._head_weights("key"), (0, 2, 1))
        folded = ops.matmul(q, weights)
        channels = folded.shape[-1]
        folded = folded * (channels / head_dim) ** 0.5  # attention divides by the root of channels
        return ops.reshape(folded, (batch, 1, spec.num_heads * num_queries, channels))

    def normed(self, source: Source) -> Array:
        """What keys and values are made from, (B, M, C)."""
        if source.norm is None:
            return source.array
        return norm(self.ops, self.spec, source.norm, source.array)

    def keys_and_values(self, normed: Array, positions: Array | None) -> tuple[Array, Array]:
        """(B, M, C) -> (B, G, M, K) twice. Folded: (B, 1, M, C) twice."""
        if self.folds:
            return normed[:, None], normed[:, None]
        groups = self.spec.key_value_heads
        k = self._heads("key", normed, groups, positions)
        v = split_heads(self.ops, project(self.ops, self.params["value"], normed), groups)
        return k, rotate(self.ops, self.spec, v, positions) if self.spec.rotate_values else v

    def values(self, attended: Array, any_key: Array | None) -> Array:
        """The result of attention by the queries' heads, (B, H, N, K)."""
        ops, spec = self.ops, self.spec
        batch, groups, rows, channels = ops.shape(attended)
        if self.folds:
            groups = spec.key_value_heads
            rows = rows // groups
            attended = ops.reshape(attended, (batch, groups, rows, channels))
            attended = ops.matmul(attended, self._head_weights("value"))
            channels = spec.head_dim
            if spec.qkv_bias:
                bias = ops.reshape(self.params["value"]["bias"], (1, groups, 1, channels))
                attended = attended + bias
                # The keys' bias cancels. Its gradient must be zero, not missing.
                attended = attended + 0 * ops.sum(self.params["key"]["bias"], 0)
                if any_key is not None:
                    attended = ops.where(any_key, attended, 0.0)
        num_queries = rows * groups // spec.num_heads
        return ops.reshape(attended, (batch, spec.num_heads, num_queries, channels))

    def _heads(self, name: str, x: Array, num_heads: int, positions: Array | None) -> Array:
        """Queries or keys: projected, normed and rotated, (B, H, M, K)."""
        ops, spec, params = self.ops, self.spec, self.params
        x = project(ops, params[name], x)
        if spec.qk_norm == "channels":
            x = norm(ops, spec, params[f"{name}_norm"], x)
        x = split_heads(ops, x, num_heads)
        if spec.qk_norm == "heads":
            x = norm(ops, spec, params[f"{name}_norm"], x)
        return x if spec.rotary_dim is None else rotate(ops, spec, x, positions)

    def _head_weights(self, name: str) -> Array:
        """(G, C, K)."""
        weight = self.params[name]["weight"]
        return head_weights(self.ops, weight, self.spec.key_value_heads)


def _folds(
    ops: Ops, spec: ResamplerSpec, params: Tree, queries: Source, sources: list[Source]
) -> bool:
    """Whether folding is possible, and takes fewer multiplications."""
    plain = is_plain(params) and spec.qk_norm is None and spec.rotary_dim is None
    if not plain or ops.dtype(queries.array) in HALF_TYPES:
        return False
    num_queries, num_keys = queries.array.shape[1], _num_keys(ops, sources)
    if not is_known(num_queries, num_keys):
        return False
    return folding_is_cheaper(spec, num_queries, num_keys, params["key"]["weight"].shape[0])


def folding_is_cheaper(spec: ResamplerSpec, num_queries: int, num_keys: int, channels: int) -> bool:
    """Whether folding takes at most half of the multiplications, for inputs of ``channels``.

    Its attention has few and wide heads, which kernels compute at a lower rate than projections.
    """
    rows = spec.num_heads * num_queries
    folded = rows * channels * (num_keys + spec.head_dim)
    key_channels = spec.key_value_heads * spec.head_dim
    return 2 * folded < num_keys * (channels * key_channels + rows * spec.head_dim)


def _num_keys(ops: Ops, sources: list[Source]) -> Any:
    return sum(ops.shape(source.array)[1] for source in sources)


def _is_long(ops: Ops, attention: _Attention, q: Array, sources: list[Source]) -> bool:
    """Whether keys, values and scores would take much memory."""
    batch, num_keys = ops.shape(q)[0], _num_keys(ops, sources)
    called = (attention.params, *(source.norm or {} for source in sources))
    if not is_known(batch, num_keys) or not all(map(is_plain, called)):
        return False
    return batch * num_keys * _numbers_per_key(attention, q) > MAX_CHUNKS * ops.scores_per_chunk(q)


def _numbers_per_key(attention: _Attention, q: Array) -> int:
    """Numbers of a key, a value and their scores."""
    _, groups, rows, channels = q.shape
    return groups * (rows + channels if attention.folds else rows + 2 * channels)


def _joined(ops: Ops, arrays: list[Any]) -> Any:
    """Inputs and latents as one array along axis 1. Positions of a whole batch are repeated."""
    if len(arrays) == 1 or arrays[0] is None:
        return arrays[0]
    batch = max(ops.shape(x)[0] for x in arrays) if len(arrays[0].shape) == 2 else None
    if batch is not None:
        arrays = [ops.broadcast_to(x, (batch, ops.shape(x)[1])) for x in arrays]
    return ops.concat(arrays, 1)


def _joined_mask(ops: Ops, sources: list[Source]) -> Array | None:
    if sources[0].mask is None:
        return None
    masks = [
        _all_true(ops, s.array, sources[0].mask) if s.mask is None else s.mask for s in sources
    ]
    return _joined(ops, masks)


def _all_true(ops: Ops, array: Array, like: Array) -> Array:
    return ops.broadcast_to(ops.full((1, 1), True, like), ops.shape(array)[:2])


def _any_key(ops: Ops, sources: list[Source]) -> Array | None:
    """Whether there is a key to attend to, (B, 1, 1, 1); None if there always is."""
    if any(source.mask is None for source in sources):
        return None
    mask = _joined_mask(ops, sources)
    return (ops.sum(ops.cast(mask, "int32"), -1) > 0)[:, None, None, None]


class _Sums(NamedTuple):
    """Running sums of the online softmax (arXiv 1805.02867) for the rows of queries.

    The highest score and the sum of the weights exp(score - highest), (B, G, R, 1), and the
    weighted sum of the values, (B, G, R, K).
    """

    highest: Array
    total: Array
    summed: Array


def _attend_at_once(ops: Ops, attention: _Attention, q: Array, sources: list[Source]) -> Array:
    """The result of :meth:`.Ops.attention`."""
    normed = [attention.normed(source) for source in sources]
    positions = _joined(ops, [source.positions for source in sources])
    k, v = attention.keys_and_values(_joined(ops, normed), positions)
    return ops.attention(q, k, v, _joined_mask(ops, sources))


def _attend_in_parts(ops: Ops, attention: _Attention, q: Array, sources: list[Source]) -> Array:
    """The same for parts of the batch, one after the other.

    In chunks of the inputs of a large batch, a chunk would have few inputs, and the backward pass
    would store the sums of each.
    """
    batch, *sizes = q.shape
    numbers = _num_keys(ops, sources) * _numbers_per_key(attention, q)
    size = MAX_CHUNKS * ops.scores_per_chunk(q) // numbers
    attend = _attend_at_once if size else _attend_in_chunks
    given = [(source.array, source.mask, source.positions) for source in sources]
    arrays = [x for parts in given for x in parts if x is not None]

    def attend_to_part(q: Array, *arrays: Array) -> Array:
        some = iter(x[0] for x in arrays)
        pairs = zip(given, sources, strict=True)
        part = [
            Source(*(None if x is None else next(some) for x in parts), norm=source.norm)
            for parts, source in pairs
        ]
        attended = attend(ops, attention, q[0], part)
        return ops.reshape(attended, (1, attended.shape[0], math.prod(sizes)))

    if size:  # so that training needs the memory of one part only; chunks of inputs do so too
        attend_to_part = ops.rematerialise_chunks(attend_to_part)
    of_batch = [ops.broadcast_to(x, (batch, *ops.shape(x)[1:]))[None] for x in (q, *arrays)]
    attended = ops.map_chunks(attend_to_part, of_batch, max(1, size), ops.dtype(q))
    return ops.reshape(attended, (batch, *sizes))


def _attend_in_chunks(ops: Ops, attention: _Attention, q: Array, sources: list[Source]) -> Array:
    """The result of :meth:`.Ops.attention`, with the keys and values of one chunk in memory."""
    dtype, numbers = ops.dtype(q), _numbers_per_key(attention, q)
    q = ops.widen(q) * q.shape[-1] ** -0.5
    batch, groups, rows, channels = q.shape

    def full(value: float, size: int) -> Array:
        scalar = ops.full((1, 1, 1, 1), value, like=q)
        return ops.broadcast_to(scalar, (batch, groups, rows, size))

    sums = _Sums(full(MASKED_SCORE, 1), full(0, 1), full(0, channels))
    size = rows_per_chunk(ops.scores_per_chunk(q), batch, numbers)
    for source in sources:
        sums = _read(ops, attention, q, source, sums, size)
    total = ops.where(sums.total > 0, sums.total, 1.0)
    return ops.cast(sums.summed / total, dtype)


def _read(
    ops: Ops, attention: _Attention, q: Array, source: Source, sums: _Sums, size: int
) -> _Sums:
    def read(start: Any, sums: Any, size: int) -> Any:
        def part(x: Array | None) -> Array | None:
            return None if x is None else ops.slice(x, start, size, 1)

        chunk = Source(ops.slice(source.array, start, size, 1), None, None, source.norm)
        k, v = attention.keys_and_values(attention.normed(chunk), part(source.positions))
        return tuple(_with_chunk(ops, q, k, v, part(source.mask), _Sums(*sums)))

    return _Sums(*in_chunks(ops, read, source.array.shape[1], size, tuple(sums)))


def _with_chunk(ops: Ops, q: Array, k: Array, v: Array, mask: Array | None, sums: _Sums) -> _Sums:
    """Add the keys and values (B, G, S, K) of a chunk to the sums."""
    k, v = ops.widen(k), ops.widen(v)
    scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2)))
    if mask is not None:
        mask = mask[:, None, None, :]
        scores = ops.where(mask, scores, MASKED_SCORE)
    highest = ops.maximum(sums.highest, ops.max(scores, -1, keepdims=True))
    decay, weights = ops.exp(sums.highest - highest), ops.exp(scores - highest)
    if mask is not None:
        weights = ops.where(mask, weights, 0.0)
    total = sums.total * decay + ops.sum(weights, -1, keepdims=True)
    return _Sums(highest, total, sums.summed * decay + ops.matmul(weights, v))
