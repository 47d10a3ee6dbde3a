"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(path: str | os.PathLike[str]) -> Path:
    """Replace a leading ``~`` by the home folder, unless a file of that name exists."""
    path = Path(os.fsdecode(path))
    return path if os.path.lexists(path) else Path(os.path.expanduser(path))
