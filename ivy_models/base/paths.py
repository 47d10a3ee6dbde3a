"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path whose ``~`` is the home folder, unless there is a file of that very name."""
    path = Path(os.fsdecode(path))
    return path if os.path.lexists(path) else Path(os.path.expanduser(path))
