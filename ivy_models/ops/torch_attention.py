"""Second derivatives of attention on torch, whose fused kernels have only first ones."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ivy_models.ops.torch_linear import needs_gradient


def twice_differentiable(
    out: torch.Tensor, formula: Callable[..., torch.Tensor], *sources: torch.Tensor
) -> torch.Tensor:
    """``out``, whose gradient is that of ``formula(*sources)`` where it is differentiated again.

    Parameters
    ----------
    out
        What a fused kernel computes from ``sources``. Ordinary gradients go through that kernel.
    formula
        Computes the same from ``sources`` by operations that have derivatives of any order.
    """
    if torch.compiler.is_compiling() or not needs_gradient(*sources):
        return out
    return _TwiceDifferentiable.apply(out, formula, *sources)


class _TwiceDifferentiable(torch.autograd.Function):
    """Sends the gradient to the kernel, or past it to its sources.

    Gradients are enabled in a backward pass only if its result is to be differentiated again
    (``create_graph=True``). It saves what the kernel saves, so it takes no memory of its own.
    """

    @staticmethod
    def forward(ctx, out, formula, *sources):
        ctx.formula = formula
        ctx.save_for_backward(*sources)
        return out.view_as(out)

    @staticmethod
    def backward(ctx, *gradients):
        (gradient,) = gradients
        _, _, *needed = ctx.needs_input_grad
        if not torch.is_grad_enabled():
            return gradient, None, *(None for _ in needed)
        sources = ctx.saved_tensors
        out = ctx.formula(*sources)
        trained = [x for x, needs in zip(sources, needed, strict=True) if needs]
        found = iter(torch.autograd.grad(out, trained, gradient.to(out.dtype), create_graph=True))
        return None, None, *(next(found) if needs else None for needs in needed)
