"""Images among files and folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Suffixes by which images are found in a folder."""


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Return files unchanged, and replace each folder by its images, found recursively and sorted.

    Hidden files are skipped.

    Raises
    ------
    click.UsageError
        If a folder has no images.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        images = sorted(file for file in path.rglob("*") if _is_image(file))
        if not images:
            raise click.UsageError(
                f"There are no images in {path}: no file names end in {', '.join(SUFFIXES)}."
            )
        found += images
    return found


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
