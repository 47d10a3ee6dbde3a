"""Limit the memory of this process, so that running out of memory ends no other process."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

from ivy_models.measure.memory import status


def fail_alone(device: str) -> None:
    """Make this process the first to fail when memory runs out. Does nothing outside Linux.

    Allocations beyond the memory available now fail with an error that gives the reason. If
    other processes need more memory later, the kernel's OOM killer ends this process first.
    """
    if sys.platform != "linux":
        return
    Path("/proc/self/oom_score_adj").write_text("1000")
    if device == "cpu":  # GPU drivers reserve far more memory than they use
        meminfo = Path("/proc/meminfo").read_text()
        available = 1024 * int(re.search(r"MemAvailable:\s*(\d+)", meminfo)[1])
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + available, hard))
