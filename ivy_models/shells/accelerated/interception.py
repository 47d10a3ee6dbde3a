"""Detects modes in which torch records or transforms operations."""

from __future__ import annotations

import torch
from torch._C import _functorch
from torch.autograd import forward_ad
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from ivy_models.shells.torch_layers import any_global_hook


def is_intercepted() -> bool:
    """Whether operations or calls of modules are being recorded, transformed or watched.

    Then transformers' own code runs, so that tracers, transforms and counters see the same
    operations and modules as before.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or _functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
        # torch.device(...) and torch.set_default_device only choose the device of new tensors.
        or any(type(mode) is not DeviceContext for mode in _get_current_function_mode_stack())
        or any_global_hook()
    )
