"""Triton kernels of the reader's sums over a grid, and of their gradient for the rows.

The formulas are those of torch_grid_sums.py. Scores and weights stay in registers. Each program
reads a block of inner indices and some outer ones for a block of rows, and the kernel of the sums
does so twice: for its highest score and for its sums. So no program waits for another; their sums
are merged by torch's operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from ivy_models.ops.base import MASKED_SCORE

MAX_CHANNELS = 128
"""Largest K: more do not fit into the registers of a program."""

FEW_CHANNELS = 4
"""Largest K that a thread multiplies by itself. More are multiplied by tensor cores, which take at
least 16."""

INNER_BLOCK = 32
"""Inner indices of a program."""

PROGRAMS = 4096
"""About as many programs as keep a GPU busy: some 30 for each of its processors."""


def sums(sources: Sequence[torch.Tensor], mask: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """The highest scores and the sums; sources and results as of ``grid_sums``."""
    programs = _Programs.of(sources, rows_of_few=32)
    highest, total = programs.empty(1), programs.empty(1)
    of_x, by_outer, by_inner = programs.empty_sums()
    programs.run(_sums, sources, mask, highest, total, of_x, by_outer, by_inner)
    top = highest.amax((0, 1))
    share = torch.exp(highest - top)
    total.mul_(share)
    merged = programs.merged(*(x.mul_(share) for x in (of_x, by_outer, by_inner)))
    return top[..., 0], total.sum((0, 1))[..., 0], *merged


def gradients_of_rows(
    gradients: Sequence[torch.Tensor],
    sources: Sequence[torch.Tensor],
    mask: torch.Tensor | None,
    highest: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Gradients for the query (B, R, K), outer scores (B, R, outer) and inner (B, R, inner).

    Parameters
    ----------
    gradients
        Those for the sums: (B, R), (B, R, K), (B, R, outer) and (B, R, inner).
    sources, mask, highest
        As of ``grid_sums``, and its result.
    """
    programs = _Programs.of(sources, rows_of_few=16)
    found = programs.empty_sums()
    programs.run(_gradients, sources, mask, highest, *gradients, *found)
    return programs.merged(*found)


@dataclass(frozen=True)
class _Programs:
    """How the work is divided into programs, which is the same on every GPU."""

    batch: int
    rows: int
    outer: int
    inner: int
    channels: int
    row_block: int
    warps: int
    size: int  # of a range of outer indices
    like: torch.Tensor

    @classmethod
    def of(cls, sources: Sequence[torch.Tensor], rows_of_few: int) -> _Programs:
        x, inverse, query, _, _ = sources
        (batch, outer, inner), (_, rows, channels) = inverse.shape, query.shape
        row_block, warps = _block(channels, rows_of_few)
        blocks = triton.cdiv(rows, row_block) * triton.cdiv(inner, INNER_BLOCK)
        size = triton.cdiv(outer, triton.cdiv(PROGRAMS, batch * blocks))
        sizes = batch, rows, outer, inner, channels
        return cls(*sizes, row_block, warps, size, x)

    @property
    def parts(self) -> tuple[int, int]:
        """Numbers of ranges of outer indices, and of blocks of inner ones."""
        return triton.cdiv(self.outer, self.size), triton.cdiv(self.inner, INNER_BLOCK)

    def empty(self, length: int) -> torch.Tensor:
        """Room for numbers of each program: (ranges, inner blocks, B, R, length)."""
        shape = (*self.parts, self.batch, self.rows, length)
        return self.like.new_empty(shape, dtype=torch.float32)

    def empty_sums(self) -> list[torch.Tensor]:
        """Room for the sums by channel, by outer index and by inner index."""
        return [self.empty(n) for n in (self.channels, self.size, INNER_BLOCK)]

    def run(
        self,
        kernel: Any,
        sources: Sequence[torch.Tensor],
        mask: torch.Tensor | None,
        *others: torch.Tensor,
    ) -> None:
        """Launch all programs of a kernel. ``others`` are further arrays, in its order."""
        x, query, few = sources[0], sources[2], self.channels <= FEW_CHANNELS
        programs = triton.cdiv(self.rows, self.row_block) * math.prod(self.parts)
        with torch.cuda.device_of(x):  # on which Triton launches
            kernel[(programs * self.batch,)](
                *(source.contiguous() for source in sources),
                x if mask is None else mask.contiguous(),
                *(other.contiguous() for other in others),
                self.batch,
                self.rows,
                self.outer,
                self.inner,
                self.channels,
                self.size,
                int(query.shape[0] == self.batch),
                masked=mask is not None,
                masked_score=MASKED_SCORE,
                row_block=self.row_block,
                inner_block=INNER_BLOCK,
                few=few,
                wide=max(1 if few else 16, triton.next_power_of_2(self.channels)),
                num_warps=self.warps,
            )

    def merged(self, of_x, by_outer, by_inner) -> tuple[torch.Tensor, ...]:
        """The programs' sums as those of all inputs."""
        by_outer, by_inner = by_outer.sum(1), by_inner.sum(0)  # over the blocks, over the ranges
        by_outer, by_inner = (s.permute(1, 2, 0, 3).flatten(2) for s in (by_outer, by_inner))
        return of_x.sum((0, 1)), by_outer[..., : self.outer], by_inner[..., : self.inner]


def _block(channels: int, rows_of_few: int) -> tuple[int, int]:
    """Rows and warps of a program: the fastest on an H200 of those whose sums fit its registers."""
    if channels <= FEW_CHANNELS:
        return rows_of_few, 4
    if channels <= 32:
        return 32, 2
    return (64, 4) if channels <= 64 else (16, 2)


# Few channels are the first axis of a block, (channels, rows) or (channels, inputs): a thread then
# has all of them, and their products need no other thread. Many are the last axis.


@triton.jit
def _load(at, here, exists, channels, few: tl.constexpr, wide: tl.constexpr):
    """Numbers by channel of rows or inputs."""
    c = tl.arange(0, wide)
    if few:
        at += here[None, :] * channels + c[:, None]
        numbers = tl.load(at, mask=exists[None, :] & (c < channels)[:, None], other=0.0)
    else:
        at += here[:, None] * channels + c[None, :]
        numbers = tl.load(at, mask=exists[:, None] & (c < channels)[None, :], other=0.0)
    return numbers.to(tl.float32)


@triton.jit
def _store(at, here, exists, numbers, channels, few: tl.constexpr, wide: tl.constexpr):
    """Store sums by channel of rows."""
    c = tl.arange(0, wide)
    if few:
        at += here[None, :] * channels + c[:, None]
        tl.store(at, tl.sum(numbers, 2), mask=exists[None, :] & (c < channels)[:, None])
    else:
        at += here[:, None] * channels + c[None, :]
        tl.store(at, numbers, mask=exists[:, None] & (c < channels)[None, :])


@triton.jit
def _load_by_inner(at, here, i, is_row, is_inner, inner):
    """Numbers of rows by inner index."""
    at += here[:, None] * inner + i[None, :]
    return tl.load(at, mask=is_row[:, None] & is_inner[None, :], other=0.0)


@triton.jit
def _store_by_inner(at, here, is_row, numbers, inner_block: tl.constexpr):
    """Store a block's numbers of rows by inner index."""
    at += here[:, None] * inner_block + tl.arange(0, inner_block)[None, :]
    tl.store(at, numbers, mask=is_row[:, None])


@triton.jit
def _products(by_row, x, few: tl.constexpr):
    """Sums over the channels of rows and inputs, (rows, inputs)."""
    if few:
        products = tl.sum(by_row[:, :, None] * x[:, None, :], 0)
    else:
        # Three products of tensor cores, whose sum is about as exact as a product in float32.
        products = tl.dot(by_row, tl.trans(x), input_precision="tf32x3")
    return products


@triton.jit
def _scores(
    x_at,
    inverse_at,
    mask_at,
    j,
    is_inner,
    query,
    is_row,
    outer_scores_at,
    inner_scores,
    channels,
    masked: tl.constexpr,
    masked_score: tl.constexpr,
    few: tl.constexpr,
    wide: tl.constexpr,
):
    """Scores (rows, inputs) of the inputs j, their x and inverse, and which take part."""
    x = _load(x_at, j, is_inner, channels, few, wide)
    inverse = tl.load(inverse_at + j, mask=is_inner, other=0.0)
    outer_scores = tl.load(outer_scores_at, mask=is_row, other=0.0)
    scores = _products(query, x, few) + outer_scores[:, None] + inner_scores
    scores *= inverse[None, :]
    takes_part = is_inner
    if masked:
        takes_part = tl.load(mask_at + j, mask=is_inner, other=0) != 0
        scores = tl.where(takes_part[None, :], scores, masked_score)
    return tl.where(is_inner[None, :], scores, float("-inf")), x, inverse, takes_part


@triton.jit
def _no_sums(
    row_block: tl.constexpr, inner_block: tl.constexpr, few: tl.constexpr, wide: tl.constexpr
):
    """Sums by channel so far. Those over inputs are computed at the end if there are few."""
    if few:
        zeros = tl.zeros((wide, row_block, inner_block), tl.float32)
    else:
        zeros = tl.zeros((row_block, wide), tl.float32)
    return zeros


@triton.jit
def _add(so_far, numbers, x, few: tl.constexpr):
    """Add the products of (rows, inputs) and inputs by channel."""
    if few:
        so_far += numbers[None, :, :] * x[:, None, :]
    else:
        so_far += tl.dot(numbers, x, input_precision="tf32x3")
    return so_far


@triton.jit
def _place(
    batch, rows, outer, inner, size, each, row_block: tl.constexpr, inner_block: tl.constexpr
):
    """What a program computes: element, rows r, inner indices i, and outer ones from start to stop.

    Also the places of its rows in the query and in the results.
    """
    programs = tl.num_programs(0) // batch  # of an element
    program, element = tl.program_id(0) % programs, (tl.program_id(0) // programs).to(tl.int64)
    row_blocks, inner_blocks = tl.cdiv(rows, row_block), tl.cdiv(inner, inner_block)
    r = program % row_blocks * row_block + tl.arange(0, row_block)
    part = program // row_blocks
    i = part % inner_blocks * inner_block + tl.arange(0, inner_block)
    start = part // inner_blocks * size
    of_program = (part.to(tl.int64) * batch + element) * rows + r
    return (
        element,
        r,
        i,
        start,
        tl.minimum(outer, start + size),
        element * each * rows + r,
        of_program,
    )


@triton.jit
def _sums(
    x_at,
    inverse_at,
    query_at,
    outer_scores_at,
    inner_scores_at,
    mask_at,
    highest_at,
    total_at,
    of_x_at,
    by_outer_at,
    by_inner_at,
    batch,
    rows,
    outer,
    inner,
    channels,
    size,
    each,  # 1 if each element of the batch has a query of its own, 0 if they share it
    masked: tl.constexpr,
    masked_score: tl.constexpr,
    row_block: tl.constexpr,
    inner_block: tl.constexpr,
    few: tl.constexpr,
    wide: tl.constexpr,
):
    element, r, i, start, stop, of_query, of_program = _place(
        batch, rows, outer, inner, size, each, row_block, inner_block
    )
    is_row, is_inner = r < rows, i < inner
    query = _load(query_at, of_query, is_row, channels, few, wide)
    inner_scores = _load_by_inner(inner_scores_at, of_query, i, is_row, is_inner, inner)
    outer_scores_at += of_query * outer

    highest = tl.full((row_block, inner_block), float("-inf"), tl.float32)
    for o in range(start, stop):
        scores, _, _, _ = _scores(
            x_at, inverse_at, mask_at, (element * outer + o) * inner + i, is_inner, query, is_row,
            outer_scores_at + o, inner_scores, channels, masked, masked_score, few, wide,
        )  # fmt: skip
        highest = tl.maximum(highest, scores)
    highest = tl.max(highest, 1)

    total = tl.zeros((row_block, inner_block), tl.float32)
    by_inner = tl.zeros((row_block, inner_block), tl.float32)
    of_x = _no_sums(row_block, inner_block, few, wide)
    by_outer_at += of_program * size
    for o in range(start, stop):
        scores, x, inverse, _ = _scores(
            x_at, inverse_at, mask_at, (element * outer + o) * inner + i, is_inner, query, is_row,
            outer_scores_at + o, inner_scores, channels, masked, masked_score, few, wide,
        )  # fmt: skip
        weights = tl.exp(scores - highest[:, None])
        total += weights
        weights *= inverse[None, :]
        by_inner += weights
        of_x = _add(of_x, weights, x, few)
        tl.store(by_outer_at + o - start, tl.sum(weights, 1), mask=is_row)

    tl.store(highest_at + of_program, highest, mask=is_row)
    tl.store(total_at + of_program, tl.sum(total, 1), mask=is_row)
    _store(of_x_at, of_program, is_row, of_x, channels, few, wide)
    _store_by_inner(by_inner_at, of_program, is_row, by_inner, inner_block)


@triton.jit
def _gradients(
    x_at,
    inverse_at,
    query_at,
    outer_scores_at,
    inner_scores_at,
    mask_at,
    highest_at,
    of_total_at,
    of_x_at,
    of_outer_at,
    of_inner_at,
    of_query_at,
    by_outer_at,
    by_inner_at,
    batch,
    rows,
    outer,
    inner,
    channels,
    size,
    each,
    masked: tl.constexpr,
    masked_score: tl.constexpr,
    row_block: tl.constexpr,
    inner_block: tl.constexpr,
    few: tl.constexpr,
    wide: tl.constexpr,
):
    element, r, i, start, stop, of_query, of_program = _place(
        batch, rows, outer, inner, size, each, row_block, inner_block
    )
    is_row, is_inner = r < rows, i < inner
    query = _load(query_at, of_query, is_row, channels, few, wide)
    inner_scores = _load_by_inner(inner_scores_at, of_query, i, is_row, is_inner, inner)
    outer_scores_at += of_query * outer

    of_row = element * rows + r
    highest = tl.load(highest_at + of_row, mask=is_row, other=0.0)
    of_total = tl.load(of_total_at + of_row, mask=is_row, other=0.0)
    of_x = _load(of_x_at, of_row, is_row, channels, few, wide)
    of_inner = _load_by_inner(of_inner_at, of_row, i, is_row, is_inner, inner)
    of_outer_at += of_row * outer

    by_inner = tl.zeros((row_block, inner_block), tl.float32)
    by_channel = _no_sums(row_block, inner_block, few, wide)
    by_outer_at += of_program * size
    for o in range(start, stop):
        scores, x, inverse, takes_part = _scores(
            x_at, inverse_at, mask_at, (element * outer + o) * inner + i, is_inner, query, is_row,
            outer_scores_at + o, inner_scores, channels, masked, masked_score, few, wide,
        )  # fmt: skip
        weights = tl.exp(scores - highest[:, None])
        of_outer = tl.load(of_outer_at + o, mask=is_row, other=0.0)
        of_scaled = _products(of_x, x, few) + of_outer[:, None] + of_inner
        of_scores = weights * (of_total[:, None] + of_scaled * inverse[None, :]) * inverse[None, :]
        # If all inputs are masked, their weights are 1.
        of_scores = tl.where(takes_part[None, :], of_scores, 0.0)
        by_inner += of_scores
        by_channel = _add(by_channel, of_scores, x, few)
        tl.store(by_outer_at + o - start, tl.sum(of_scores, 1), mask=is_row)

    _store(of_query_at, of_program, is_row, by_channel, channels, few, wide)
    _store_by_inner(by_inner_at, of_program, is_row, by_inner, inner_block)
