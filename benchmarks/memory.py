"""A process that fails when memory runs out, before others do."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

from ivy_models.measure.memory import status


def fail_alone(device: str) -> None:
    """Make this process the one that fails when memory runs out, on Linux.

    It may take what is available now: beyond that its allocations fail, with an error that
    names the reason. Should other processes need more meanwhile, the kernel ends this one.
    """
    if sys.platform != "linux":
        return
    Path("/proc/self/oom_score_adj").write_text("1000")
    if device == "cpu":  # GPU drivers reserve far more memory than they use
        meminfo = Path("/proc/meminfo").read_text()
        available = 1024 * int(re.search(r"MemAvailable:\s*(\d+)", meminfo)[1])
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + available, hard))
