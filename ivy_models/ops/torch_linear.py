"""Linear layers on torch, by oneDNN where that is faster, that store little for the gradient."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch._guards import TracingContext

ONEDNN_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""oneDNN's linear layer, or None if torch is built without it. In float32 torch itself calls MKL,
which reaches half of oneDNN's rate on AMD processors."""

ONEDNN_MIN_PRODUCTS = 2**22
"""Multiplications from which oneDNN is faster, although its call takes longer."""


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """``x @ weight + bias``: (..., C_in), (C_in, C_out), (C_out,) -> (..., C_out)."""
    columns = weight.t()  # the layout of nn.Linear
    # Compilers derive gradients themselves, and torch.func refuses custom ones.
    if makes_program() or not needs_gradient(x, columns, bias) or not takes_hooks():
        return _product(x, columns, bias)
    if autocasts(x):
        return F.linear(x, _parameter_of(columns), bias)
    if not _has_own_gradient(x, columns):
        return F.linear(x, columns, bias)
    function, sources = getattr(x, "_computed_by", (_itself, (x,)))
    return _Linear.apply(x, columns, bias, function, *sources)


def recomputable(function: Callable[..., torch.Tensor], *sources: torch.Tensor) -> torch.Tensor:
    """``function(*sources)``, which :func:`linear` recomputes for the gradient, not stores."""
    x = function(*sources)
    if x.requires_grad and not makes_program():
        x._computed_by = function, sources  # pyright: ignore[reportAttributeAccessIssue]
    return x


class _Linear(torch.autograd.Function):
    """Stores for the gradient the sources of its input instead of the input."""

    @staticmethod
    def forward(ctx, x, weight, bias, function, *sources):
        ctx.function = function
        ctx.save_for_backward(weight, *sources)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx, *gradients):
        (gradient,) = gradients
        weight, *sources = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        product = _product if _mkl_is_slow() else F.linear
        rows = gradient.reshape(-1, gradient.shape[-1])
        of_x = of_weight = of_bias = None
        if needs_x:
            of_x = product(gradient, weight.t())
        if needs_weight:
            x = ctx.function(*sources)
            of_weight = product(rows.t(), x.reshape(-1, x.shape[-1]).t())
        if needs_bias:
            of_bias = rows.sum(0)
        return of_x, of_weight, of_bias, None, *(None for _ in sources)


def _itself(x: torch.Tensor) -> torch.Tensor:
    return x


def _has_own_gradient(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether :class:`_Linear` can be used and saves memory or time."""
    plain = type(x) is type(weight) is torch.Tensor  # not DTensor, for example
    faster = _mkl_is_slow() and _suits_onednn(x, weight)
    return plain and (faster or hasattr(x, "_computed_by"))


def _parameter_of(columns: torch.Tensor) -> torch.Tensor:
    """The parameter of which ``columns`` is an identical view, otherwise ``columns``.

    Autocast casts a parameter once per step, but a view of it at each use.
    """
    base = columns._base
    same = base is not None and base.is_leaf and base.stride() == columns.stride()
    return base if same and base.shape == columns.shape else columns


def _product(
    x: torch.Tensor, columns: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """``x @ columns.T + bias``."""
    if not _takes_onednn(x, columns, bias):
        return F.linear(x, columns, bias)
    onednn = _opaque_onednn if is_compiling() else _onednn
    out = onednn(x.reshape(-1, x.shape[-1]), columns, bias)
    return out.reshape(*x.shape[:-1], columns.shape[0])


def _onednn(rows: torch.Tensor, columns: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return ONEDNN_LINEAR(rows, columns, bias, "none", [], "")


# torch.compile supports oneDNN's layer only with constant weights, so this hides the layer.
_opaque_onednn = torch.library.custom_op("ivy_models::onednn_linear", _onednn, mutates_args=())


@_opaque_onednn.register_fake
def _(rows, columns, bias):
    return rows.new_empty(rows.shape[0], columns.shape[0])


def _takes_onednn(x: torch.Tensor, columns: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether oneDNN's linear layer, which has no gradient, can and should be used."""
    return (
        # Exported programs run without this library.
        not (torch.compiler.is_exporting() or is_tracing())
        and _suits_onednn(x, columns)
        and not autocasts(x)
        and not is_transformed()
        and not needs_gradient(x, columns, bias)
    )


def _suits_onednn(x: torch.Tensor, columns: torch.Tensor) -> bool:
    return (
        ONEDNN_LINEAR is not None
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() * columns.shape[0] >= ONEDNN_MIN_PRODUCTS
    )


def needs_gradient(*arrays: torch.Tensor | None) -> bool:
    """Whether a gradient for one of these can be requested later."""
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in arrays)


def autocasts(x: torch.Tensor) -> bool:
    """Whether autocast is on for the device of ``x``. The device "meta" has no autocast."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


@functools.cache
def _mkl_is_slow() -> bool:
    """Whether torch uses MKL on an AMD processor."""
    description = Path("/proc/cpuinfo")  # on Linux, platform does not name the manufacturer
    linux = description.read_text() if description.exists() else ""
    return torch.backends.mkl.is_available() and "AuthenticAMD" in platform.processor() + linux


def is_tracing() -> bool:
    """Whether ``torch.jit.trace`` or the exporter built on it records operations."""
    return torch._C._get_tracing_state() is not None


def makes_program() -> bool:
    """Whether operations are recorded in a program, compiled or not.

    Programs have gradients of their own, and hold no functions of this library.
    """
    return is_compiling() or is_tracing()


def is_compiling() -> bool:
    """Whether ``torch.compile`` or ``torch.export`` records operations.

    Before torch 2.13, its own function is false within the functions that Dynamo does not enter.
    """
    return torch.compiler.is_compiling() or TracingContext.try_get() is not None


def is_transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is active.

    They refuse custom gradients, kernels without a gradient, and fused attention. Compilers
    decompose these operations themselves.
    """
    return not is_compiling() and (
        torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore
        or torch.autograd.forward_ad._current_level >= 0
    )


def takes_hooks() -> bool:
    """Whether saved tensors can be replaced, as checkpointing does; torch.func forbids it."""
    if is_transformed():
        return False
    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
            return True
    except RuntimeError:
        return False
