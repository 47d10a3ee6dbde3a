"""What was recognised in the data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of the data: of a table, or the files and folders' names of a folder.

    Parameters
    ----------
    name
        Name of the column; "file" and "label" for a folder.
    kind
        "number", "category", "date", "text", "image", "sound", or for a target "class" or
        "number". "left out" if it is not used.
    detail
        What was found, such as the range of the numbers, or why the column is left out.
    is_target
        Whether the model predicts it.
    """

    name: str
    kind: str
    detail: str
    is_target: bool = False
