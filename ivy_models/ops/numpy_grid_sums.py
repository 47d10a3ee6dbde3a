"""The reader's sums over a grid on CPUs: by NumPy, in tiles that fit into the cache, on threads.

Input j of a grid (outer, inner), at (o, i), has K channels x_j of its own. Its channels in all
groups have the deviation sigma_j. Less a shift of the row, its score in row r is

    s_rj = (query_r . x_j + outer_scores_ro - shift_r sigma_j + inner_scores_ri) / sigma_j.

All but the inner score is one product with (x_j, 1, sigma_j). With weights w_rj = exp(s_rj), so are
the sums of w_rj / sigma_j times x_j, of w_rj / sigma_j over inner, and of w_rj.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ivy_models.ops.base import MASKED_SCORE

MAX_CHANNELS = 48
"""Largest K: with more, most time goes into products, for which BLAS has threads of its own."""

TILE = 2**18
"""Scores in a tile, 1 MiB in float32: most processors have that much cache for each core."""

ROW_BLOCK, INNER_BLOCK = 64, 1024
PRODUCT = 2**18
"""Multiplications in one product of matrices. OpenBLAS spreads larger ones over its threads."""

GROUP = 2**20
"""Numbers (x, 1, sigma) to hold at a time."""

MARGIN = 20
"""Scores may exceed the shift of their row by this much: a sum of weights exp(20) stays finite."""


def num_threads() -> int:
    """As many as NumPy's products use: OMP_NUM_THREADS, or the processors of this process."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    named = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    return min(int(named), here) if named.isdecimal() and int(named) else here


def grid_sums(
    x: np.ndarray,
    inverse: np.ndarray,
    query: np.ndarray,
    outer_scores: np.ndarray,
    inner_scores: np.ndarray,
    mask: np.ndarray | None,
    threads: int,
) -> tuple[np.ndarray, ...]:
    """Compute :meth:`.Ops.grid_sums`. The results do not depend on the number of threads."""
    shape = inverse.shape
    x = x.reshape(*shape, x.shape[-1])
    of_rows = (query, outer_scores, inner_scores)
    of_rows = (np.broadcast_to(source, (len(x), *source.shape[1:])) for source in of_rows)
    masks = [None] * len(x) if mask is None else mask.reshape(shape)
    scores = query.shape[1] * inverse.size
    with ThreadPoolExecutor(threads) as pool:
        each = pool.map if min(threads, scores // TILE) > 1 else map
        elements = zip(x, inverse, *of_rows, masks, strict=True)
        sums = [_sums(each, *element) for element in elements]
    return tuple(np.stack(s) for s in zip(*sums, strict=True))


def _sums(each, x, inverse, query, outer_scores, inner_scores, mask):
    """The sums of one element of the batch: x (outer, inner, K), query (R, K), and so on."""
    outer, inner, channels = x.shape
    most = max(1, PRODUCT // (min(inner, INNER_BLOCK) * (channels + 2)))
    size = min(ROW_BLOCK, 2 ** (most.bit_length() - 1))  # blocks of rows share cores evenly
    blocks = [
        _Rows(*(source[start : start + size] for source in (query, outer_scores, inner_scores)))
        for start in range(0, len(query), size)
    ]
    errors = np.geterr()
    group = max(1, GROUP // (inner * (channels + 2)))
    for start in range(0, outer, group):
        part = slice(start, start + group)
        deviation = 1 / inverse[part, None]
        wide = [x[part].swapaxes(1, 2), np.ones_like(deviation), deviation]
        inputs = start, np.concatenate(wide, 1), inverse[part], None if mask is None else mask[part]

        def read(rows, inputs=inputs):
            with np.errstate(**errors):  # which threads do not inherit
                rows.read(*inputs)

        list(each(read, blocks))
    return tuple(np.concatenate(s) for s in zip(*(rows.sums() for rows in blocks), strict=True))


class _Rows:
    """The sums of a block of rows R, to which groups of inputs are added."""

    def __init__(self, query, outer_scores, inner_scores):
        self.query, self.outer_scores, self.inner_scores = query, outer_scores, inner_scores
        rows, channels = query.shape
        self.shift = np.zeros(rows, query.dtype)
        self.by_outer, self.by_inner = np.zeros_like(outer_scores), np.zeros_like(inner_scores)
        self.products = np.zeros((rows, channels + 2), query.dtype)
        self.is_empty = True

    def read(self, start, wide, inverse, mask):
        """Add inputs (x, 1, sigma) of (size, K + 2, inner), with outer indices from ``start``."""
        size, _, inner = wide.shape
        tile = max(1, TILE // (len(self.query) * min(inner, INNER_BLOCK)))
        for i in _slices(inner, INNER_BLOCK):
            for o in _slices(size, tile):
                hidden = None if mask is None else ~mask[o, None, i]
                if hidden is None or not hidden.all():
                    outers = slice(start + o.start, start + o.stop)
                    self._add_tile(wide[o, :, i], inverse[o, None, i], hidden, outers, i)

    def _add_tile(self, wide, inverse, hidden, outers, inners):
        query = np.empty((len(wide), *self.products.shape), wide.dtype)
        query[..., :-2] = self.query
        query[..., -2] = self.outer_scores[:, outers].T
        query[..., -1] = -self.shift
        weights = query @ wide  # (outers, R, inners)
        weights += self.inner_scores[:, inners]
        weights *= inverse
        if hidden is not None:
            np.copyto(weights, MASKED_SCORE, where=hidden)
        highest = weights.max(-1).max(0)
        if self.is_empty or (highest > MARGIN).any():
            weights -= self._raise_shift(highest)[:, None]
        np.exp(weights, out=weights)
        weights *= inverse
        self.by_inner[:, inners] += weights.sum(0)
        # BLAS takes longer for weights (R, inners) by rows (inners, K + 2).
        products = wide @ weights.swapaxes(1, 2)
        self.by_outer[:, outers] += products[:, -2].T
        self.products += products.sum(0).T

    def _raise_shift(self, highest):
        """Raise the shift (R,) to scores above it, and return by how much."""
        raised = highest if self.is_empty else np.where(highest > MARGIN, highest, 0)
        if not self.is_empty:
            share = np.exp(-raised)[:, None]
            for sums in (self.products, self.by_outer, self.by_inner):
                sums *= share
        self.shift += raised
        self.is_empty = False
        return raised

    def sums(self):
        """The results of :func:`grid_sums` for these rows."""
        if self.is_empty:  # all inputs are masked
            self.shift += MASKED_SCORE
            self.products[:, -1] = 1
        of_x, total = self.products[:, :-2], self.products[:, -1]
        return self.shift, total, of_x, self.by_outer, self.by_inner


def _slices(stop: int, size: int) -> Iterator[slice]:
    for start in range(0, stop, size):
        yield slice(start, min(start + size, stop))
