"""NumPy tables as tensors, copied to each device once.

A copy to an accelerator waits for it, and cannot be captured in a CUDA graph.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from ivy_models.ops.torch_linear import is_transformed, makes_program

MAX_KEPT = 128
"""Maximum number of tables that are kept."""


def constant(x: np.ndarray, like: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """``x`` on the device of ``like``, in ``dtype`` or its own. One that is read-only is kept."""
    if x.flags.writeable or not _can_keep(like):
        return _copied(x, like.device, dtype)
    return _kept(_ById(x), like.device, dtype, _fake_mode(like))


def _can_keep(like: torch.Tensor) -> bool:
    """Whether a tensor that is made now can be used in later calls.

    Programs, transforms and modes that watch operations must see how it is made.
    """
    watched = torch._C._len_torch_dispatch_stack() and _fake_mode(like) is None
    return not (watched or makes_program() or is_transformed())


def _fake_mode(like: torch.Tensor) -> Any:
    """The mode that a tensor without numbers belongs to."""
    return getattr(like, "fake_mode", None)


class _ById:
    """An array as a key, by identity. The key keeps it, so that no other array gets its id."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.array is other.array


@functools.lru_cache(MAX_KEPT)
def _kept(
    key: _ById, device: torch.device, dtype: torch.dtype | None, _fake_mode: Any
) -> torch.Tensor:
    with torch.inference_mode(False):  # later calls may need gradients
        return _copied(key.array, device, dtype)


def _copied(x: np.ndarray, device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
    # Converted on the host, so that the copy is complete when it is used on any stream.
    tensor = torch.from_numpy(x if x.flags.writeable else x.copy())
    return tensor.to(dtype or tensor.dtype).to(device)
