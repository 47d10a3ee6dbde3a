"""Additional peak memory of a call: the peak minus the memory of the loaded model."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Meter(Protocol):
    """Measures the memory of calls."""

    def extra(self, call: Callable[[], Any]) -> int | None:
        """Run ``call``; return its additional peak memory in bytes, or None if not measured."""


class HostMemory(Meter):
    """Resident memory of this process, on Linux.

    The baseline is the loaded model, not the moment before the call: TensorFlow keeps the memory of
    its first call, so a later call allocates nothing although it needs as much.
    """

    def __init__(self):
        self._loaded = resident()

    def extra(self, call: Callable[[], Any]) -> int:
        _return_unused()
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        call()
        return max(0, status("VmHWM") - self._loaded)


class CudaMemory(Meter):
    """GPU memory of PyTorch's tensors."""

    def __init__(self, device: str):
        import torch

        self._cuda, self._device = torch.cuda, device
        self._loaded = torch.cuda.memory_allocated(device)

    def extra(self, call: Callable[[], Any]) -> int:
        self._cuda.reset_peak_memory_stats(self._device)
        call()
        return self._cuda.max_memory_allocated(self._device) - self._loaded


class NotMeasured(Meter):
    def extra(self, call: Callable[[], Any]) -> None:
        call()


def meter(framework: str, device: str) -> Meter:
    """Return a meter. Call this after the model is loaded and before its first call.

    Parameters
    ----------
    framework
        As in :data:`.BACKENDS`.
    device
        The device of the model: "cpu", or the framework's name of a GPU.
    """
    if device != "cpu":
        return CudaMemory(device) if framework == "torch" else NotMeasured()
    return HostMemory() if sys.platform == "linux" else NotMeasured()


def resident() -> int:
    """Resident memory of this process in bytes, on Linux, after free memory is released."""
    _return_unused()
    return status("VmRSS")


def _return_unused() -> None:
    """Return the free memory of this process to the system."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def status(field: str) -> int:
    """Value of a field of /proc/self/status, in bytes."""
    text = Path("/proc/self/status").read_text()
    ((kilobytes),) = re.findall(rf"^{field}:\s*(\d+) kB", text, re.MULTILINE)
    return 1024 * int(kilobytes)
