"""Rows: what a model reads for one example, in the order of the files or the table."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ivy_models.base.paths import user_path
from ivy_models.datasets.files import (
    SUFFIXES,
    advice_on,
    counted,
    kind_of,
    list_folder,
    most_frequent_kind,
    named,
    readable,
)
from ivy_models.datasets.tables import has_tabs, table_rows
from ivy_models.errors import InputError
from ivy_models.preprocessing.table.cells import composed

TARGET = "label"
"""The target's name for folders by class."""


class Rows(Protocol):
    """Examples as a model's preprocessing takes them, without their data in memory."""

    @property
    def kind(self) -> str:
        """The kind of the rows, one of "image", "sound", "text" and "table"."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that :meth:`column` can give."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what was left out, or may have been read wrongly."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any:
        """A path, or for a table a mapping from column to value."""
        ...

    def take(self, indices: Sequence[int]) -> list[Any]:
        """Several rows at once, which is faster."""
        ...

    def name(self, index: int) -> str:
        """Name of a row for people: the file within the folder, or the number of the row."""
        ...

    def column(self, name: str) -> list[Any]:
        """All values of a column, such as the target. None where unknown."""
        ...

    def cells(self, name: str, indices: np.ndarray) -> list[Any]:
        """Some values of a column."""
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
    passed_over
        Files of other kinds in the folder.
    """

    root: Path
    files: tuple[Path, ...]
    kind: str
    passed_over: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Path:
        return self.files[index]

    def take(self, indices: Sequence[int]) -> list[Path]:
        return [self.files[i] for i in indices]

    @property
    def columns(self) -> tuple[str, ...]:
        return (TARGET,) if any(self._labels) else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        if not self.passed_over:
            return ()
        files = counted(self.passed_over, "file")
        shown = named([file.relative_to(self.root) for file in self.passed_over])
        advice = next(filter(None, map(advice_on, self.passed_over)), "")
        return (f"Left out, because not {self.kind}s: {files}, {shown}.{advice}",)

    def name(self, index: int) -> str:
        return readable(self.files[index].relative_to(self.root))

    def column(self, name: str) -> list[str | None]:
        if name != TARGET:
            raise InputError(
                f"There is no column {name!r}. A folder of files has one column, {TARGET}: the "
                "name of each file's subfolder."
            )
        return list(self._labels)

    def cells(self, name: str, indices: np.ndarray) -> list[str | None]:
        labels = self.column(name)
        return [labels[i] for i in indices]

    @cached_property
    def _labels(self) -> list[str | None]:
        parts = (file.relative_to(self.root).parts for file in self.files)
        names = [readable(part[0]) if len(part) > 1 else None for part in parts]
        return [None if name is None else composed(name) for name in names]


def read_rows(path: str | os.PathLike[str]) -> Rows:
    """Read the rows of a file, a folder or a table.

    Parameters
    ----------
    path
        An image, a sound or a text; a folder of these, with or without a subfolder for each class;
        a table as CSV, TSV, JSON lines or Parquet, or with tabs in a file that ends in .txt; or a
        folder of tables.

    Returns
    -------
    Rows
        ``rows[i]`` is what a model's preprocessing takes. Nothing is decoded yet.

    Raises
    ------
    InputError
        If there is no such file, or nothing in it can be read.
    BackendError
        If a table is given and ``datasets`` is not installed.
    """
    path = user_path(path)
    if path.is_dir():
        return folder_rows(path)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file. Save the data to a file first.")
    kind = kind_of(path)
    if kind is None:
        raise InputError(
            f"{path} has an unknown extension.{advice_on(path)} Files that can be read are "
            f"{', '.join(f'{kind}s ({ends})' for kind, ends in SUFFIXES.items())}."
        )
    if kind == "table" or (path.suffix.lower() == ".txt" and has_tabs(path)):
        return table_rows(path, [path])
    return FileRows(path.parent, (path,), kind)


def folder_rows(folder: Path) -> Rows:
    """The rows of a folder: of its tables if there are any, else files of the most frequent kind.

    A table in a subfolder counts if there are no images, sounds or texts.
    """
    files = list_folder(folder)
    if folder / "state.json" in files and any(file.suffix == ".arrow" for file in files):
        raise InputError(
            f"{folder} was written by save_to_disk of Hugging Face's datasets. Write the table "
            "with to_parquet instead."
        )
    tables = [file for file in files if kind_of(file) == "table"]
    at_top = [file for file in tables if file.parent == folder]
    if at_top or (tables and not any(kind_of(file) not in (None, "table") for file in files)):
        return table_rows(folder, at_top or tables)
    kind = most_frequent_kind(folder, files)
    own = tuple(file for file in files if kind_of(file) == kind)
    others = tuple(file for file in files if kind_of(file) != kind)
    return FileRows(folder, own, kind, others)


def open_parts(path: Path) -> tuple[dict[str, Rows], list[str]]:
    """Read the rows of a file or folder by part: "train", "validation" or "test".

    Parts are subfolders of these names, or tables whose names begin with them. Without such names
    all rows are "train".

    Returns
    -------
    tuple
        The rows by part, and sentences about what belongs to no part.
    """
    if not path.is_dir():
        return {"train": read_rows(path)}, []
    files = list_folder(path)
    folders: dict[str, Path] = {}
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and (part := part_named(folder.name)):
            folders.setdefault(part, folder)
    if {"train"} < set(folders):
        own = set(folders.values())
        others = [file for file in files if kind_of(file) and own.isdisjoint(file.parents)]
        parts = {part: folder_rows(folder) for part, folder in folders.items()}
        return parts, _outside(path, others, list(folders.values()))
    tables: dict[str, list[Path]] = {}
    others = []
    for file in files:
        if kind_of(file) == "table":
            part = part_named(file.name, is_beginning=True)
            (tables.setdefault(part, []) if part else others).append(file)
    if {"train"} < set(tables):
        read: dict[str, Rows] = {part: table_rows(path, own) for part, own in tables.items()}
        return read, _outside(path, others, [file for own in tables.values() for file in own])
    return {"train": folder_rows(path)}, []


def _outside(path: Path, others: Sequence[Path], parts: Sequence[Path]) -> list[str]:
    """A sentence about files of a folder that belong to no part."""
    if not others:
        return []
    found, read = (named([own.relative_to(path) for own in each]) for each in (others, parts))
    return [f"Left out, because not in the parts {read}: {counted(others, 'file')}, {found}."]


_PARTS = re.compile(
    r"(train|training|validation|validate|valid|val|dev|test|testing|evaluation|eval)"
    r"([ _-]?(set|data|split|images))?(?![a-z])",
    re.I,
)

_PART_OF = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "evaluation": "test",
    "eval": "test",
}


def part_named(name: str, is_beginning: bool = False) -> str | None:
    """The part of the data that a name says, as a whole or at its beginning, or None."""
    found = _PARTS.match(name) if is_beginning else _PARTS.fullmatch(name)
    return _PART_OF.get(found[1].lower(), "validation") if found else None
