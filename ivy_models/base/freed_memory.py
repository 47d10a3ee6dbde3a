"""Memory that this process has freed."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt: above how many bytes free memory goes back to the system, and
from what size on an array is memory of its own, which goes back as soon as it is freed."""

_NEVER = 2**31 - 1

_LARGEST = 2**25
"""Largest _MMAP_THRESHOLD of older releases of glibc, which refuse a larger one."""


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for later allocations. Other C libraries do as before.

    Each step of a training on a CPU frees the arrays that the next one allocates. By default most
    of them go back to the system, which fills every page with zeros before it lends it again.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _NEVER) or libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
