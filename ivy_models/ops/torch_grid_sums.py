"""The reader's sums over a grid by one Triton kernel, on NVIDIA's GPUs.

Input j of a grid (outer, inner), at (o, i), has K channels x_j of its own. Its score in row r is

    s_rj = (query_r . x_j + outer_scores_ro + inner_scores_ri) * inverse_j.

With weights w_rj = exp(s_rj - highest_r), the sums are those of w, and of w * inverse times x, over
inner, and over outer. Scores and weights stay in registers. Each program of the kernel reads a
block of inner indices and some outer ones twice, for its highest score and for its sums. So no
program waits for another; their sums are merged by torch's operations.
"""

from __future__ import annotations

import functools

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch.utils.checkpoint import checkpoint

from ivy_models.ops.base import MASKED_SCORE

MAX_CHANNELS = 128
"""Largest K: more do not fit into the registers of a program."""

FEW_CHANNELS = 4
"""Largest K that a thread multiplies by itself. More are multiplied by tensor cores."""

PROGRAMS = 1024
"""About as many programs as keep a GPU busy: several for each of its processors."""


def grid_sums(
    x: torch.Tensor,
    inverse: torch.Tensor,
    query: torch.Tensor,
    outer_scores: torch.Tensor,
    inner_scores: torch.Tensor,
    mask: torch.Tensor | None,
    scores_per_chunk: int,
) -> tuple[torch.Tensor, ...]:
    """The highest score, and the sums, in float32.

    Parameters
    ----------
    x
        (B, M, K), M = outer * inner.
    inverse
        (B, outer, inner).
    query, outer_scores, inner_scores
        (B, R, K), (B, R, outer) and (B, R, inner), or 1 in place of B for a whole batch.
    mask
        Booleans (B, M), True for inputs that take part.
    scores_per_chunk
        Scores to hold at a time for the gradient, which is computed by torch's operations.

    Returns
    -------
    tuple
        The highest score and the sum of w, (B, R); the sums of w * inverse times x, (B, R, K), over
        inner, (B, R, outer), and over outer, (B, R, inner).
    """
    return _grid_sums(x, inverse, query, outer_scores, inner_scores, mask, scores_per_chunk)


def try_kernel(device: torch.device) -> None:
    """Run the kernel on a small grid, which raises an error of any class if Triton cannot."""
    x, inverse, query = (
        torch.zeros(shape, device=device) for shape in ((1, 1, 3), (1, 1, 1), (1, 1, 3))
    )
    grid_sums(x, inverse, query, inverse, inverse, None, 1)


# Programs that torch.compile makes call these two operations, and see only their results' shapes.


@torch.library.custom_op(
    "ivy_models::grid_sums",
    mutates_args=(),
    schema="(Tensor x, Tensor inverse, Tensor query, Tensor outer_scores, Tensor inner_scores, "
    "Tensor? mask, int scores_per_chunk) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _grid_sums(x, inverse, query, outer_scores, inner_scores, mask, scores_per_chunk):
    """The kernel."""
    sources = x, inverse, query, outer_scores, inner_scores
    with torch.cuda.device_of(x):  # on which Triton launches
        sums = _by_kernel([source.contiguous() for source in sources], mask)
    return tuple(s.contiguous() for s in sums)


@_grid_sums.register_fake
def _(x, inverse, query, outer_scores, inner_scores, mask, scores_per_chunk):
    (batch, outer, inner), (_, rows, channels) = inverse.shape, query.shape
    shapes = (batch, rows), *((batch, rows, size) for size in (channels, outer, inner))
    highest = x.new_empty((batch, rows), dtype=torch.float32)
    return highest, *(highest.new_empty(shape) for shape in shapes)


@torch.library.custom_op(
    "ivy_models::grid_sums_gradient",
    mutates_args=(),
    schema="(Tensor[] gradients, Tensor[] sources, Tensor? mask, Tensor highest, "
    "int scores_per_chunk, bool[] needed) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _grid_sums_gradient(gradients, sources, mask, highest, scores_per_chunk, needed):
    found = _gradient(gradients, sources, mask, highest, scores_per_chunk, needed)
    return tuple(highest.new_empty(0) if x is None else x for x in found)


@_grid_sums_gradient.register_fake
def _(gradients, sources, mask, highest, scores_per_chunk, needed):
    pairs = zip(sources, needed, strict=True)
    return tuple(s.new_empty(s.shape if needs else 0) for s, needs in pairs)


def _keep(ctx, inputs, output):
    *sources, mask, ctx.scores_per_chunk = inputs
    highest = output[0]
    ctx.save_for_backward(*sources, mask, highest)
    ctx.mark_non_differentiable(highest)  # the sums depend on it, their quotients do not


def _backward(ctx, _, *gradients):
    *sources, mask, highest = ctx.saved_tensors
    needed = list(ctx.needs_input_grad[:5])
    # Gradients are enabled only if this one will be differentiated, which an operation cannot be.
    compute = _gradient if torch.is_grad_enabled() else _grid_sums_gradient
    found = compute(list(gradients), sources, mask, highest, ctx.scores_per_chunk, needed)
    return *(x if needs else None for x, needs in zip(found, needed, strict=True)), None, None


torch.library.register_autograd("ivy_models::grid_sums", _backward, setup_context=_keep)


def _gradient(gradients, sources, mask, highest, scores_per_chunk, needed):
    """Gradients for the sources that need one, from a chunk of outer indices at a time."""
    of_total, of_x, of_outer, of_inner = gradients
    _, outer, inner = sources[1].shape
    size = min(max(1, scores_per_chunk // (highest.numel() * inner)), outer)
    compute = functools.partial(_gradient_of_chunk, needed)
    if torch.is_grad_enabled():
        settings = {"use_reentrant": False, "preserve_rng_state": False}
        compute = functools.partial(checkpoint, compute, **settings)
    with torch.autocast(highest.device.type, enabled=False):
        x, inverse, query, outer_scores, inner_scores = (source.float() for source in sources)
        x = x.unflatten(1, (outer, inner))
        mask = None if mask is None else mask.unflatten(1, (outer, inner))
        chunks = []
        for start in range(0, outer, size):
            part = functools.partial(torch.narrow, start=start, length=min(size, outer - start))
            chunk = compute(
                (of_total, of_x, part(of_outer, 2), of_inner),
                (part(x, 1), part(inverse, 1), query, part(outer_scores, 2), inner_scores),
                None if mask is None else part(mask, 1),
                highest,
            )
            chunks.append(chunk)
        # Axes of outer indices; the other gradients are summed over the chunks.
        axes, parts = (1, 1, None, 2, None), zip(*chunks, strict=True)
        return [
            _joined(part, axis, source) if needs else None
            for part, axis, source, needs in zip(parts, axes, sources, needed, strict=True)
        ]


def _gradient_of_chunk(needed, gradients, sources, mask, highest):
    """The same for one chunk.

    With c_rj the score without inverse_j, G the gradients for the sums, and e_rj that for
    w_rj * inverse_j, which is G_x . x_j + G_outer_ro + G_inner_ri, the gradient for s_rj is
    u_rj = w_rj (G_total_r + e_rj inverse_j), and those for inverse_j and c_rj are
    sum_r w_rj e_rj + u_rj c_rj and u_rj inverse_j.
    """
    of_total, of_x, of_outer, of_inner = gradients
    x, inverse, query, outer_scores, inner_scores = sources
    inner, rows_of_x, inverse = x.shape[2], x.flatten(1, 2), inverse[:, None]

    def sum_of_parts(by_channel, by_outer, by_inner):
        product = (by_channel @ rows_of_x.transpose(1, 2)).unflatten(2, (-1, inner))
        return product + by_outer[..., None] + by_inner[:, :, None]

    def hide(scores, value):
        if mask is None:
            return scores
        return torch.where(mask[:, None], scores, scores.new_full((), value))

    unscaled = sum_of_parts(query, outer_scores, inner_scores)
    weights = torch.exp(hide(unscaled * inverse, MASKED_SCORE) - highest[..., None, None])
    of_scaled = sum_of_parts(of_x, of_outer, of_inner)
    of_scores = hide(weights * (of_total[..., None, None] + of_scaled * inverse), 0)
    of_unscaled = of_scores * inverse
    rows = of_unscaled.flatten(2)

    def of_data():
        scaled = (weights * inverse).flatten(2)
        product = scaled.transpose(1, 2) @ of_x + rows.transpose(1, 2) @ query
        return product.unflatten(1, (-1, inner))

    found = (
        of_data,
        lambda: (weights * of_scaled + of_scores * unscaled).sum(1),
        lambda: rows @ rows_of_x,
        lambda: of_unscaled.sum(3),
        lambda: of_unscaled.sum(2),
    )
    return [compute() if needs else None for compute, needs in zip(found, needed, strict=True)]


def _joined(parts, axis, source):
    """The gradient for a source, which may have been the same for a whole batch."""
    gradient = functools.reduce(torch.add, parts) if axis is None else torch.cat(parts, axis)
    if source.shape[0] < gradient.shape[0]:
        gradient = gradient.sum(0, keepdim=True)
    return gradient.reshape(source.shape).to(source.dtype)


def _by_kernel(sources, mask):
    """The highest scores and the sums, merged from those of the programs."""
    x, inverse, query, _, _ = sources
    (batch, outer, inner), (_, rows, channels) = inverse.shape, query.shape
    few = channels <= FEW_CHANNELS
    row_block, inner_block, warps = _block(channels)
    row_blocks, inner_blocks = triton.cdiv(rows, row_block), triton.cdiv(inner, inner_block)
    # Ranges of outer indices. They, and so the order of the sums, are the same on every GPU.
    size = triton.cdiv(outer, triton.cdiv(PROGRAMS, batch * row_blocks * inner_blocks))
    ranges = triton.cdiv(outer, size)

    def of_programs(*shape):
        shape = (ranges, inner_blocks, batch, rows, *shape)
        return x.new_empty(shape, dtype=torch.float32)

    highest = of_programs()
    sums = [of_programs(length) for length in (1, channels, size, inner_block)]
    launch = _kernel[(row_blocks * inner_blocks * ranges * batch,)]  # pyright: ignore[reportIndexIssue]
    launch(
        *sources,
        x if mask is None else mask.contiguous(),
        highest,
        *sums,
        batch,
        rows,
        outer,
        inner,
        channels,
        size,
        int(query.shape[0] == batch),
        masked=mask is not None,
        masked_score=MASKED_SCORE,
        row_block=row_block,
        inner_block=inner_block,
        few=few,
        wide=max(1 if few else 16, triton.next_power_of_2(channels)),
        num_warps=warps,
    )
    top = highest.amax((0, 1))
    share = torch.exp(highest - top)[..., None]
    total, of_x, by_outer, by_inner = (s.mul_(share) for s in sums)
    by_outer, by_inner = by_outer.sum(1), by_inner.sum(0)  # over the blocks, over the ranges
    by_outer, by_inner = (s.permute(1, 2, 0, 3).flatten(2) for s in (by_outer, by_inner))
    total, of_x = total.sum((0, 1))[..., 0], of_x.sum((0, 1))
    return top, total, of_x, by_outer[..., :outer], by_inner[..., :inner]


def _block(channels):
    """Rows, inner indices and warps of a program, by time on an H200."""
    if channels <= FEW_CHANNELS:
        return 16, 128, 4
    return (32, 32, 4) if channels <= 64 else (16, 16, 4)


@triton.jit
def _scores(
    j,
    is_inner,
    x_at,
    inverse_at,
    mask_at,
    query,
    outer_scores,
    inner_scores,
    channels,
    masked: tl.constexpr,
    masked_score: tl.constexpr,
    few: tl.constexpr,
    wide: tl.constexpr,
):
    """For the inputs j: scores (rows, inputs), x and inverse (inputs,).

    Few channels come first, so that a thread has all of them, and their products need no other.
    """
    c = tl.arange(0, wide)
    if few:
        here = x_at + j[None, :] * channels + c[:, None]
        is_number = is_inner[None, :] & (c < channels)[:, None]
        x = tl.load(here, mask=is_number, other=0.0).to(tl.float32)
        scores = tl.sum(query[:, :, None] * x[:, None, :], 0)
    else:
        here = x_at + j[:, None] * channels + c[None, :]
        is_number = is_inner[:, None] & (c < channels)[None, :]
        x = tl.load(here, mask=is_number, other=0.0).to(tl.float32)
        # Three products of tensor cores, whose sum is about as exact as a product in float32.
        scores = tl.dot(query, tl.trans(x), input_precision="tf32x3")
    inverse = tl.load(inverse_at + j, mask=is_inner, other=0.0)
    scores = (scores + outer_scores[:, None] + inner_scores) * inverse[None, :]
    if masked:
        takes_part = tl.load(mask_at + j, mask=is_inner, other=0) != 0
        scores = tl.where(takes_part[None, :], scores, masked_score)
    return tl.where(is_inner[None, :], scores, float("-inf")), x, inverse


@triton.jit
def _kernel(
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
    programs = tl.num_programs(0) // batch  # of an element
    program, element = tl.program_id(0) % programs, (tl.program_id(0) // programs).to(tl.int64)
    row_blocks, inner_blocks = tl.cdiv(rows, row_block), tl.cdiv(inner, inner_block)
    r = program % row_blocks * row_block + tl.arange(0, row_block)
    part = program // row_blocks
    i = part % inner_blocks * inner_block + tl.arange(0, inner_block)
    start = part // inner_blocks * size
    stop = tl.minimum(outer, start + size)
    c = tl.arange(0, wide)
    is_row, is_inner = r < rows, i < inner

    # A channel of x is a row of the query's block if there are few, and a column if there are many.
    of_query = element * each * rows + r
    if few:
        is_number = is_row[None, :] & (c < channels)[:, None]
        here = query_at + of_query[None, :] * channels + c[:, None]
    else:
        is_number = is_row[:, None] & (c < channels)[None, :]
        here = query_at + of_query[:, None] * channels + c[None, :]
    query = tl.load(here, mask=is_number, other=0.0)
    here = inner_scores_at + of_query[:, None] * inner + i[None, :]
    inner_scores = tl.load(here, mask=is_row[:, None] & is_inner[None, :], other=0.0)
    outer_scores_at += of_query * outer

    highest = tl.full((row_block, inner_block), float("-inf"), tl.float32)
    for o in range(start, stop):
        outer_scores = tl.load(outer_scores_at + o, mask=is_row, other=0.0)
        j = (element * outer + o) * inner + i
        scores, _, _ = _scores(
            j, is_inner, x_at, inverse_at, mask_at, query, outer_scores, inner_scores, channels,
            masked, masked_score, few, wide,
        )  # fmt: skip
        highest = tl.maximum(highest, scores)
    highest = tl.max(highest, 1)

    of_program = (part.to(tl.int64) * batch + element) * rows + r
    by_outer_at += of_program * size
    total = tl.zeros((row_block, inner_block), tl.float32)
    by_inner = tl.zeros((row_block, inner_block), tl.float32)
    if few:
        of_x = tl.zeros((wide, row_block, inner_block), tl.float32)
    else:
        of_x = tl.zeros((row_block, wide), tl.float32)
    for o in range(start, stop):
        outer_scores = tl.load(outer_scores_at + o, mask=is_row, other=0.0)
        j = (element * outer + o) * inner + i
        scores, x, inverse = _scores(
            j, is_inner, x_at, inverse_at, mask_at, query, outer_scores, inner_scores, channels,
            masked, masked_score, few, wide,
        )  # fmt: skip
        weights = tl.exp(scores - highest[:, None])
        total += weights
        weights *= inverse[None, :]
        by_inner += weights
        if few:
            of_x += weights[None, :, :] * x[:, None, :]
        else:
            of_x += tl.dot(weights, x, input_precision="tf32x3")
        tl.store(by_outer_at + o - start, tl.sum(weights, 1), mask=is_row)

    tl.store(highest_at + of_program, highest, mask=is_row)
    tl.store(total_at + of_program, tl.sum(total, 1), mask=is_row)
    if few:
        here = of_x_at + of_program[None, :] * channels + c[:, None]
        tl.store(here, tl.sum(of_x, 2), mask=is_number)
    else:
        here = of_x_at + of_program[:, None] * channels + c[None, :]
        tl.store(here, of_x, mask=is_number)
    here = by_inner_at + of_program[:, None] * inner_block + tl.arange(0, inner_block)[None, :]
    tl.store(here, by_inner, mask=is_row[:, None])
