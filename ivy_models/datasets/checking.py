"""A first look at all files: which are broken, and which are copies of each other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ivy_models.base import torchrun
from ivy_models.datasets.files import named
from ivy_models.datasets.rows import Rows
from ivy_models.errors import InputError
from ivy_models.preprocessing.sources import stored
from ivy_models.preprocessing.table.cells import is_missing

CHUNK = 1024
"""Number of examples that wait to be read."""


class Checked(NamedTuple):
    """What a first look found.

    Parameters
    ----------
    indices
        The examples whose files can be read.
    contents
        For each of them a hash of the content of its files; None without files.
    broken
        A sentence for each example that cannot be read.
    """

    indices: np.ndarray
    contents: list[str | None]
    broken: list[str]


def check_files(
    indices: np.ndarray,
    rows: Rows,
    files_of: Callable[[Any], Sequence[Any]],
    prepare: Callable[[Any], Any],
    max_broken: float,
) -> Checked:
    """Read all files of some examples once.

    Parameters
    ----------
    indices
        Which of the rows are examples.
    rows
        The rows.
    files_of
        The files of a row: paths, bytes, or mappings with one of these.
    prepare
        Prepares a row; raises InputError if a file cannot be read.
    max_broken
        Share of examples that may be broken.

    Raises
    ------
    InputError
        If more are broken.
    """

    def look(index: int) -> tuple[str | None, str | None]:
        row, name = rows[index], rows.name(index)
        try:
            content = _digest(files_of(row))
            prepare(row)
        except InputError as error:
            if isinstance(row, Path):
                return None, str(error).replace(str(row), name)
            return None, f"{name}: {error}"
        return content, None

    found: list[tuple[str | None, str | None]] = []
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    # disable=None: a bar only in a terminal
    hidden = True if torchrun.rank() else None
    with tqdm(desc="Checking files", total=len(indices), leave=False, disable=hidden) as bar:
        try:
            for chunk in np.split(indices, range(CHUNK, len(indices), CHUNK)):
                for each in pool.map(look, map(int, chunk)):
                    found.append(each)
                    bar.update()
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the files that are left
    broken = [error for _, error in found if error is not None]
    if len(broken) > max_broken * len(indices):
        raise InputError(
            f"{len(broken):,} of {len(indices):,} examples cannot be read, more than "
            f"{max_broken:.0%}. The first: {broken[0]}"
        )
    good = np.array([error is None for _, error in found], bool)
    return Checked(indices[good], [content for content, error in found if error is None], broken)


def _digest(files: Sequence[Any]) -> str | None:
    """A hash of the content of files; None if there are none."""
    digest, some = hashlib.blake2b(digest_size=16), False
    for file in files:
        file = stored(file)
        if isinstance(file, (str, Path)) and not is_missing(file):
            try:
                file = Path(file).read_bytes()
            except (OSError, ValueError) as error:
                raise InputError(f"{file} cannot be read: {error}.") from error
        if isinstance(file, bytes):
            digest.update(file)
            some = True
    return digest.hexdigest() if some else None


def copies_with_different_values(
    rows: Rows,
    indices: np.ndarray,
    contents: Sequence[str | None],
    values: Mapping[str, Sequence[Any]],
) -> list[str]:
    """A sentence about files that have one content and different targets.

    Parameters
    ----------
    rows
        The rows.
    indices, contents
        As in :class:`Checked`.
    values
        By target: the value of each example.
    """
    first: dict[str, int] = {}
    pairs = []
    for place, content in enumerate(contents):
        other = place if content is None else first.setdefault(content, place)
        if any(own[other] != own[place] for own in values.values()):
            pairs.append(" and ".join(rows.name(int(indices[i])) for i in (other, place)))
    return [f"Copies of a file have different targets: {named(pairs)}."] if pairs else []
