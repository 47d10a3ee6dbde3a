"""What the environment says about ``torchrun``, without importing torch."""

from __future__ import annotations

import os


def is_launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Number of this process among those that torchrun started; 0 without torchrun."""
    return int(os.environ["RANK"]) if is_launched() else 0
