"""A comparison of the reader's kernels with their formulas, before a process first uses them.

So a GPU or a compiler that no test has seen gives a warning instead of a wrong answer.
"""

from __future__ import annotations

import torch

from ivy_models.ops.torch_grid_sums import grid_sums

TOLERANCE = 1e-4
"""Largest difference relative to the largest number. Rounding gives 1e-6, products in TF32 1e-3."""


def check_kernels(device: torch.device) -> None:
    """Compare the sums over a small grid, and the gradients for its rows.

    Raises
    ------
    ArithmeticError
        If a result differs from that of torch's operations in float64.
    Exception
        Of any class where Triton cannot run. It needs a C compiler and Python's headers.
    """
    no_autocast = torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), no_autocast:
        sources = _sources(device)
        found = _with_gradients(_by_kernel, sources)
        expected = _with_gradients(_formula, [source.double() for source in sources])
    for ours, theirs in zip(found, expected, strict=True):
        difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        if not difference <= TOLERANCE:
            raise ArithmeticError(f"its results differ by {difference:.1e} of the largest number")


def _sources(device):
    """One element of a batch: a grid with axes of more than one block, and 3 channels."""
    rows, outer, inner, channels = 48, 16, 144, 3
    shapes = (outer * inner, channels), (rows, channels), (rows, outer), (rows, inner)
    generator = torch.Generator("cpu").manual_seed(0)
    # Users may have set other defaults.
    settings = {"generator": generator, "device": "cpu", "dtype": torch.float32}
    x, *of_rows = (torch.randn(1, *shape, **settings) for shape in shapes)
    inverse = 0.5 + torch.rand(1, outer, inner, **settings)
    return [source.to(device) for source in (x, inverse, *of_rows)]


def _with_gradients(compute, sources):
    *data, query, outer_scores, inner_scores = sources
    of_rows = [source.requires_grad_() for source in (query, outer_scores, inner_scores)]
    sums = compute(*data, *of_rows)
    loss = torch.stack([s.square().mean() for s in sums]).sum()
    return [*sums, *torch.autograd.grad(loss, of_rows)]


def _by_kernel(x, inverse, query, outer_scores, inner_scores):
    return grid_sums(x, inverse, query, outer_scores, inner_scores, None, 1)[1:]


def _formula(x, inverse, query, outer_scores, inner_scores):
    products = (query @ x.mT).unflatten(2, inverse.shape[1:])
    scores = products + outer_scores[..., None] + inner_scores[:, :, None]
    scores = scores * inverse[:, None]
    weights = torch.exp(scores - scores.detach().amax((2, 3), keepdim=True))
    scaled = weights * inverse[:, None]
    return weights.sum((2, 3)), scaled.flatten(2) @ x, scaled.sum(3), scaled.sum(2)
