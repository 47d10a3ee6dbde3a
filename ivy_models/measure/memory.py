"""Additional peak memory of a call: its peak above what the loaded model takes."""

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
        """Call, and return the peak in bytes above the loaded model; None: not measured."""


class HostMemory(Meter):
    """Resident memory of this process, on Linux.

    Measured from the loaded model and not from just before the call: TensorFlow keeps what
    its first call took, so a later call takes nothing more, though it needs as much.
    """

    def __init__(self):
        self._loaded = resident()

    def extra(self, call: Callable[[], Any]) -> int:
        _return_unused()
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's record of the peak
        call()
        return max(0, status("VmHWM") - self._loaded)


class CudaMemory(Meter):
    """GPU memory that PyTorch's tensors take."""

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
    """Choose how to measure; to be made once the model is loaded, before its first call.

    Parameters
    ----------
    framework
        As in :data:`.BACKENDS`.
    device
        What it computes on: "cpu", or a GPU's name as the framework has it.
    """
    if device != "cpu":
        return CudaMemory(device) if framework == "torch" else NotMeasured()
    return HostMemory() if sys.platform == "linux" else NotMeasured()


def resident() -> int:
    """Resident memory of this process, on Linux, in bytes; what is free within it is returned."""
    _return_unused()
    return status("VmRSS")


def _return_unused() -> None:
    """Give the memory that is free within this process back to the system."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"^{field}:\s*(\d+) kB", text, re.MULTILINE)[1])
