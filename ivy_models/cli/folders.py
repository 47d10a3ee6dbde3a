"""Files in folders that a model's preprocessing can open."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

NAMES = 5
"""Number of files named in the message about files that are passed over."""


Source = Any
"""A path, or stdin as an open file."""


def list_files(paths: Sequence[Source]) -> list[tuple[Source, list[Source]]]:
    """Return each path with its files: a folder's, found recursively and sorted, or itself.

    Hidden files and folders are skipped.

    Raises
    ------
    click.UsageError
        If a folder has no files, or none of the paths exists.
    """
    if not any(not isinstance(path, Path) or path.exists() for path in paths):
        raise click.UsageError(f"There is no file {click.format_filename(paths[0])}.")
    listed = []
    for path in paths:
        files = [path]
        if isinstance(path, Path) and path.is_dir():
            files = sorted(file for file in path.rglob("*") if _is_visible_file(path, file))
        if not files:
            raise click.UsageError(f"There are no files in {path}.")
        listed.append((path, files))
    return listed


def select_files(listed: Iterable[tuple[Source, list[Source]]], preprocessing: Any) -> list[Source]:
    """Keep the files that a preprocessing can open, and say on stderr which are passed over.

    A file that was named itself is kept whatever it holds.

    Raises
    ------
    click.UsageError
        If nothing in a folder can be opened.
    """
    can_open = functools.cache(getattr(preprocessing, "can_open", lambda file: True))
    selected: list[Source] = []
    passed_over: dict[Source, None] = {}  # in order, each once
    for path, files in listed:
        kept = [file for file in files if file is path or can_open(file)]
        if not kept:
            raise click.UsageError(
                f"The model's preprocessing can open none of the files in {path}: {_names(files)}."
            )
        selected += kept
        passed_over |= dict.fromkeys(
            file for file in files if file is not path and not can_open(file)
        )
    if passed_over:
        count = "1 file" if len(passed_over) == 1 else f"{len(passed_over):,} files"
        click.echo(
            f"Passed over {count} that the model's preprocessing cannot open: "
            f"{_names(list(passed_over))}.",
            err=True,
        )
    return selected


def _is_visible_file(folder: Path, file: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and file.is_file()


def _names(files: list[Path]) -> str:
    names = ", ".join(click.format_filename(file) for file in files[:NAMES])
    return f"{names} and {len(files) - NAMES:,} more" if len(files) > NAMES else names
