"""Cells of a table that a model cannot read."""

from __future__ import annotations

import numpy as np

from ivy_models.datasets.defaults import sample
from ivy_models.datasets.rows import Rows
from ivy_models.errors import shown
from ivy_models.preprocessing import TablePreprocessing
from ivy_models.preprocessing.table import CategoryColumn, DateColumn, NumberColumn, TimeColumn
from ivy_models.preprocessing.table.cells import is_missing

LOOK = 1000
"""Number of rows, spread over all, that are looked at."""


def unread_columns(rows: Rows, preprocessing: TablePreprocessing) -> list[str]:
    """Sentences about columns most of whose cells are masked, such as dates in another format.

    Parameters
    ----------
    rows
        A table with the columns that the preprocessing reads.
    preprocessing
        A model's preprocessing.
    """
    sentences = []
    for column in preprocessing.columns:
        if not isinstance(column, (NumberColumn, DateColumn, TimeColumn, CategoryColumn)):
            continue
        cells = rows.cells(column.name, sample(len(rows), LOOK))
        if not (known := [cell for cell in cells if not is_missing(cell)]):
            continue
        if isinstance(column, CategoryColumn):
            is_read = np.array([column.encode(cell) is not None for cell in known], bool)
        else:
            is_read = column.encode(known)[1]
        if 2 * is_read.sum() < len(known):
            example = shown(repr(known[int(np.argmin(is_read))]))
            sentences.append(
                f"{1 - is_read.mean():.0%} of the cells of {column.name!r} are not known as "
                f"{column.kind}, such as {example}, so they count as missing. Write them as in the "
                "training data."
            )
    return sentences
