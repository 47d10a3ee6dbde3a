"""Atomic file writes: a file gets its name only when it is complete.

Readers see either the old file or the new one, also after a full disk, Ctrl-C or a kill.
Incomplete files are kept in a folder ``.writing-...``, which only a kill leaves behind.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".writing-"


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to; the file there replaces ``path`` if no error occurs.

    Raises
    ------
    OSError
        If the file cannot be written; the error names ``path``.
    """
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=PREFIX) as folder:
            yield Path(folder, path.name)
            os.replace(Path(folder, path.name), path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def remove_incomplete(folder: Path) -> None:
    """Remove the incomplete files of killed processes. No other process may be writing there."""
    for left in folder.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


def write_files(
    folder: Path,
    files: Mapping[str, bytes],
    withdrawn: str | None = None,
    removed: Collection[str] = (),
) -> None:
    """Write files into a folder, which is created if needed; they are replaced in the given order.

    Parameters
    ----------
    withdrawn
        The file without which readers refuse the folder. Its old version is removed before the
        other files are replaced, so that nobody reads a mixture of old and new files.
    removed
        Files of an older write, which do not belong to the new files.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=PREFIX) as temporary:
        for name, data in files.items():
            Path(temporary, name).write_bytes(data)
        kept = Path(temporary, ".kept")
        if withdrawn is not None and (folder / withdrawn).exists():
            os.replace(folder / withdrawn, kept)
        begun = False
        try:
            for name in files:
                os.replace(Path(temporary, name), folder / name)
                begun = True
                for old in set(removed) - set(files):
                    (folder / old).unlink(missing_ok=True)
        finally:
            if withdrawn is not None and not begun and kept.exists():
                os.replace(kept, folder / withdrawn)
