"""The reader's sums over a grid by a Triton kernel, on NVIDIA's GPUs.

Input j of a grid (outer, inner), at (o, i), has K channels x_j of its own. Its score in row r is

    s_rj = (query_r . x_j + outer_scores_ro + inner_scores_ri) * inverse_j.

With weights w_rj = exp(s_rj - highest_r), the sums are those of w, and of w * inverse times x, over
inner, and over outer.
"""

from __future__ import annotations

import functools

import torch
from torch.utils.checkpoint import checkpoint

from ivy_models.ops import torch_grid_kernels
from ivy_models.ops.base import MASKED_SCORE


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
        Scores to hold at a time for a gradient that torch's operations compute: that for the data,
        and one that is differentiated again.

    Returns
    -------
    tuple
        The highest score and the sum of w, (B, R); the sums of w * inverse times x, (B, R, K), over
        inner, (B, R, outer), and over outer, (B, R, inner).
    """
    return _grid_sums(x, inverse, query, outer_scores, inner_scores, mask, scores_per_chunk)


# Programs that torch.compile makes call these two operations, and see only their results' shapes.


@torch.library.custom_op(
    "ivy_models::grid_sums",
    mutates_args=(),
    schema="(Tensor x, Tensor inverse, Tensor query, Tensor outer_scores, Tensor inner_scores, "
    "Tensor? mask, int scores_per_chunk) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _grid_sums(x, inverse, query, outer_scores, inner_scores, mask, scores_per_chunk):
    """The kernel."""
    sums = torch_grid_kernels.sums((x, inverse, query, outer_scores, inner_scores), mask)
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
    if any(needed[:2]):  # those for the data, sums over rows
        found = _gradient(gradients, sources, mask, highest, scores_per_chunk, needed)
    else:
        of_rows = torch_grid_kernels.gradients_of_rows(gradients, sources, mask, highest)
        rows = zip(of_rows, sources[2:], needed[2:], strict=True)
        found = [None, None, *(_joined([x], None, s) if needs else None for x, s, needs in rows)]
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
