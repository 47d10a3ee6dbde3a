"""Files that are written at the end of long work, checked before it."""

from __future__ import annotations

import os
from pathlib import Path

import click


def check_folder_of(output: Path) -> None:
    """Refuse a file that could not be written.

    Raises
    ------
    click.UsageError
        If its folder is not there, it is a folder itself, or one of them must not be written.
    """
    folder = output.resolve().parent
    if not folder.is_dir():
        raise click.UsageError(f"There is no folder {folder}.")
    if output.is_dir():
        raise click.UsageError(f"{output} is a folder; name a file.")
    if not os.access(output if output.exists() else folder, os.W_OK):
        raise click.UsageError(f"{output} must not be written here: permission denied.")
