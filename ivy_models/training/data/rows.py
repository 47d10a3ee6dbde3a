"""Rows: what a model reads for one example, in the order of the files or the table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ivy_models.base.paths import user_path
from ivy_models.errors import InputError
from ivy_models.training.data.files import kind_of, list_folder, most_frequent_kind

TARGET = "label"
"""The target's name for folders by class."""


class Rows(Protocol):
    """Examples as a model's preprocessing takes them, without their data in memory."""

    kind: str
    """"image", "sound", "text" or "table"."""

    columns: tuple[str, ...]
    """Names of the columns that :meth:`column` can give."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any:
        """A path, or for a table a mapping from column to value."""
        ...

    def name(self, index: int) -> str:
        """Name of a row for people: the file within the folder, or the number of the row."""
        ...

    def column(self, name: str) -> list[Any]:
        """All values of a column, such as the target. None where unknown."""
        ...


@dataclass(frozen=True)
class FileRows:
    """Files of one kind; the label is the name of the folder below ``root``.

    Parameters
    ----------
    root
        The folder.
    files
        Its files.
    kind
        "image", "sound" or "text".
    """

    root: Path
    files: tuple[Path, ...]
    kind: str

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Path:
        return self.files[index]

    @property
    def columns(self) -> tuple[str, ...]:
        return (TARGET,) if any(self.column(TARGET)) else ()

    def name(self, index: int) -> str:
        return str(self.files[index].relative_to(self.root))

    def column(self, name: str) -> list[str | None]:
        if name != TARGET:
            raise InputError(f"A folder has the column {TARGET}, its subfolders; got {name!r}.")
        parts = (file.relative_to(self.root).parts for file in self.files)
        return [part[0] if len(part) > 1 else None for part in parts]

    def only(self, indices: Sequence[int]) -> FileRows:
        """Some of the rows."""
        return FileRows(self.root, tuple(self.files[i] for i in indices), self.kind)


def read_rows(path: str | os.PathLike[str]) -> Rows:
    """Read the rows of a file, a folder or a table.

    Parameters
    ----------
    path
        An image, a sound or a text; a folder of these, with or without a subfolder for each class.

    Returns
    -------
    Rows
        ``rows[i]`` is what a model's preprocessing takes. Nothing is decoded yet.

    Raises
    ------
    InputError
        If there is no such file, or nothing in it can be read.
    """
    path = user_path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    if path.is_dir():
        return folder_rows(path)
    kind = kind_of(path)
    if kind is None:
        raise InputError(
            f"{path} is not known as an image, a sound, a text or a table by its name's end."
        )
    return FileRows(path.parent, (path,), kind)


def folder_rows(folder: Path) -> FileRows:
    """The rows of a folder of images, sounds or texts: the files of the most frequent kind."""
    files = list_folder(folder)
    kind = most_frequent_kind(files)
    return FileRows(folder, tuple(file for file in files if kind_of(file) == kind), kind)
