"""Two modules of the older library of this name, which its scripts import. No model uses them."""

from __future__ import annotations

from typing import Any

import ivy


class PreNorm(ivy.Module):
    """Layer norm, then a module.

    Parameters
    ----------
    dim
        Channels of the first argument of a call.
    fn
        The module.
    key_dim, value_dim
        Channels of the second and the third argument. None: they are passed on without a norm.
    eps
        Added to the variance.
    device, v
        As for ``ivy.Module``.
    context_dim
        The same as ``key_dim``, for calls that name the second argument ``context``.
    """

    def __init__(
        self,
        dim: int,
        fn: Any,
        key_dim: int | None = None,
        value_dim: int | None = None,
        eps: float = 1e-5,
        device: Any = None,
        v: Any = None,
        *,
        context_dim: int | None = None,
    ) -> None:
        self._attention = fn
        dims = dim, key_dim if context_dim is None else context_dim, value_dim
        self._norm, self._norm_key, self._norm_value = (
            None if size is None else ivy.LayerNorm([size], eps=eps, device=device) for size in dims
        )
        super().__init__(v=v, device=device)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        norms = self._norm, self._norm_key, self._norm_value
        normed = [_apply(norm, x) for norm, x in zip(norms, args, strict=False)]
        if "context" in kwargs:
            kwargs["context"] = _apply(self._norm_key, kwargs["context"])
        return self._attention(*normed, *args[len(norms) :], **kwargs)


def _apply(norm: Any, x: Any) -> Any:
    return x if norm is None else norm(x)


class FeedForward(ivy.Module):
    """An MLP of two layers of ``dim`` channels with GELU, then dropout."""

    def __init__(self, dim: int, dropout: float = 0.0, device: Any = None, v: Any = None) -> None:
        self._net = ivy.Sequential(
            ivy.Linear(dim, dim, device=device),
            ivy.GELU(),
            ivy.Linear(dim, dim, device=device),
            ivy.Dropout(dropout),
            device=device,
        )
        super().__init__(v=v, device=device)

    def _forward(self, x: Any) -> Any:
        return self._net(x)
