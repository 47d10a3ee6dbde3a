"""Check before a long computation that its result can be written."""

from __future__ import annotations

import os
from pathlib import Path

import click


def check_output_file(output: Path, *inputs: Path) -> None:
    """Refuse an output file that cannot be written, or is one of the inputs.

    Raises
    ------
    click.UsageError
        If the folder does not exist, the output is a folder or an input, or permission is denied.
    """
    folder = output.resolve().parent
    if not folder.is_dir():
        raise click.UsageError(f"There is no folder {folder}.")
    if output.is_dir():
        raise click.UsageError(f"{output} is a folder. Name a file.")
    if output.exists() and any(path.exists() and path.samefile(output) for path in inputs):
        raise click.UsageError(
            f"{output} is an input, which would be overwritten. Name another file."
        )
    if not os.access(output if output.exists() else folder, os.W_OK):
        raise click.UsageError(f"{output} cannot be written: permission denied.")
