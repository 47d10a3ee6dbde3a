"""Images among files and folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of the files that are taken for images in a folder."""


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Files as they are, and of folders the images in them and in their folders, sorted.

    Hidden files are no images.

    Raises
    ------
    click.UsageError
        If a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        images = sorted(file for file in path.rglob("*") if _is_image(file))
        if not images:
            raise click.UsageError(
                f"There are no images in {path}: no names that end in {', '.join(SUFFIXES)}."
            )
        found += images
    return found


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
