"""Second derivatives of attention on torch, whose fused kernels have only first derivatives."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ivy_models.ops.torch_linear import makes_program, needs_gradient


def twice_differentiable(
    out: torch.Tensor, formula: Callable[..., torch.Tensor], *sources: torch.Tensor
) -> torch.Tensor:
    """Return ``out`` with a gradient that can be differentiated again, by ``formula(*sources)``.

    Parameters
    ----------
    out
        A fused kernel's result for ``sources``. Ordinary gradients go through that kernel.
    formula
        Computes the same from ``sources`` by operations that have derivatives of any order.
    """
    if makes_program() or not needs_gradient(*sources):
        return out
    return _TwiceDifferentiable.apply(out, formula, *sources)


class _TwiceDifferentiable(torch.autograd.Function):
    """Sends the gradient to the kernel, or past it to the kernel's sources.

    Gradients are enabled in a backward pass only if its result will be differentiated again
    (``create_graph=True``). This saves the tensors that the kernel saves, so it takes no more
    memory.
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
