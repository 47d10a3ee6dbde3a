"""The data of a command line, as a model's preprocessing takes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ivy_models.errors import InputError, printable

if TYPE_CHECKING:
    from ivy_models.datasets.rows import Rows

PLURALS = {"image": "images", "sound": "sounds", "text": "texts", "table": "rows of a table"}
"""Kinds of data, as messages name them."""


def rows_for(preprocessing: Any, path: Path) -> Rows:
    """Find the rows that a preprocessing can read: a table's, or the files of its kind.

    Raises
    ------
    InputError
        If the path has no data of this kind.
    """
    from ivy_models.datasets.files import kind_of, list_folder, named
    from ivy_models.datasets.rows import FileRows, read_rows
    from ivy_models.datasets.unread import unread_columns
    from ivy_models.preprocessing.prepared import kind_read_by

    kind = kind_read_by(preprocessing)
    if kind is None:
        raise InputError(
            "The model has no preprocessing for images, sounds, texts or tables, so it cannot read "
            f"{path}."
        )
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    if kind == "table":
        rows = read_rows(path)
        if rows.kind != kind:
            raise InputError(f"The model reads rows of a table; {path} has {PLURALS[rows.kind]}.")
        names = [column.name for column in preprocessing.columns]
        if lacking := [name for name in names if name not in rows.columns]:
            raise InputError(
                f"{path} lacks columns that the model reads: {named(lacking)}. Add them, with "
                "empty cells where a value is unknown."
            )
        for sentence in (*rows.warnings, *unread_columns(rows, preprocessing)):
            click.echo(f"Warning: {printable(sentence)}", err=True)
        return rows
    if path.is_dir():
        files = tuple(file for file in list_folder(path) if kind_of(file) == kind)
        if not files:
            raise InputError(f"The model reads {PLURALS[kind]}; there are none in {path}.")
        return FileRows(path, files, kind)
    if kind_of(path) == "table":
        raise InputError(f"The model reads {PLURALS[kind]}; {path} is a table.")
    return FileRows(path.parent, (path,), kind)


def each_row(rows: Rows, size: int) -> Iterator[Any]:
    """All rows in order; several are read at a time, which is faster than one by one."""
    for start in range(0, len(rows), size):
        yield from rows.take(range(start, min(start + size, len(rows))))
