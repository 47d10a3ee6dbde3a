"""Additional peak memory of one call."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


class HostMemory:
    """Resident memory of this process, on Linux.

    The kernel keeps the peak itself, so not even a short one is missed.
    """

    def start(self) -> None:
        self._before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use

    def extra(self) -> int:
        return max(0, _status("VmHWM") - self._before)


class CudaMemory:
    """GPU memory that PyTorch's tensors take."""

    def __init__(self, device: str):
        self._device = device

    def start(self) -> None:
        import torch

        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def extra(self) -> int:
        import torch

        return torch.cuda.max_memory_allocated(self._device) - self._before


class NotMeasured:
    def start(self) -> None:
        pass

    def extra(self) -> None:
        return None


def meter(framework: str, device: str) -> HostMemory | CudaMemory | NotMeasured:
    if device != "cpu":
        return CudaMemory(device) if framework == "torch" else NotMeasured()
    return HostMemory() if sys.platform == "linux" else NotMeasured()


def fail_alone(device: str) -> None:
    """Make this process the one that fails when memory runs out, on Linux.

    It may take what is available now: beyond that its allocations fail, with an error that
    names the reason. Should other processes need more meanwhile, the kernel ends this one.
    """
    if sys.platform != "linux":
        return
    Path("/proc/self/oom_score_adj").write_text("1000")
    if device == "cpu":  # a GPU driver reserves far more memory than it uses
        meminfo = Path("/proc/meminfo").read_text()
        available = 1024 * int(re.search(r"MemAvailable:\s*(\d+)", meminfo)[1])
        limit = _status("VmData") + available
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))


def _status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"^{field}:\s*(\d+) kB", text, re.MULTILINE)[1])
