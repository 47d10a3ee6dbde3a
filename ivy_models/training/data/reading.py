"""Training data from a folder or a table."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np

from ivy_models.base.paths import user_path
from ivy_models.errors import InputError
from ivy_models.preprocessing.targets import ClassTarget
from ivy_models.training.data.columns import Column
from ivy_models.training.data.defaults import default_preprocessing
from ivy_models.training.data.examples import TrainingData
from ivy_models.training.data.files import named
from ivy_models.training.data.rows import TARGET, FileRows, folder_rows
from ivy_models.training.data.sources import SourceExamples
from ivy_models.training.data.splits import split, strata_of

VALIDATION = 0.2
"""Share of the examples that are held out if no others are given."""


def read_training_data(
    path: str | os.PathLike[str],
    target: str | None = None,
    columns: dict[str, str] | None = None,
    validation: float | str | os.PathLike[str] | None = None,
    preprocessing: Any = None,
    seed: int = 0,
    augment: bool = False,
    max_broken: float = 0.05,
) -> TrainingData:
    """Read a folder by class, or a table.

    Parameters
    ----------
    path
        A folder with a subfolder for each class of images.
    target
        Name of the column to predict. None: the folders' names.
    columns
        The kind of a column by its name, instead of what is recognised.
    validation
        Share of the examples to hold out, or a folder or file with other examples. None: a
        subfolder called validation or test, otherwise a fifth.
    preprocessing
        Instead of one that fits the data, such as that of a model to fine-tune.
    seed
        Seed of the split.
    augment
        Whether to change training images or sounds at random.
    max_broken
        Share of files that may be broken. They are left out and named in ``warnings``.

    Returns
    -------
    TrainingData
        ``columns`` says what was recognised, and ``warnings`` what should be looked at.

    Raises
    ------
    InputError
        If the data cannot be used. The message says why.
    """
    path = user_path(path)
    if not path.is_dir():
        raise InputError(f"There is no folder {path}.")
    rows = folder_rows(path)
    return _from_files(rows, preprocessing, seed)


def _from_files(rows: FileRows, preprocessing: Any, seed: int) -> TrainingData:
    labels = rows.column(TARGET)
    kept = [i for i, label in enumerate(labels) if label is not None]
    counts = Counter(label for label in labels if label is not None)
    if len(counts) < 2:
        raise InputError(
            f"{rows.root} needs a subfolder with {rows.kind}s for each class, at least two; found "
            f"{named(sorted(counts)) or 'none'}."
        )
    goal = ClassTarget(TARGET, tuple(sorted(counts)))
    encoded = np.array([goal.encode(labels[i]) for i in kept], np.int64)
    preprocessing = preprocessing or default_preprocessing(rows)
    train, held_out = split(strata_of(encoded), kept, VALIDATION, seed)
    parts = [
        SourceExamples(rows, np.array(kept)[chosen], {TARGET: encoded[chosen]}, preprocessing)
        for chosen in (train, held_out)
    ]
    found = (
        Column("file", rows.kind, f"{len(rows):,} files"),
        Column(
            TARGET, "class", named([f"{k} ({n:,})" for k, n in sorted(counts.items())], 8), True
        ),
    )
    return TrainingData(parts[0], parts[1], preprocessing, (goal,), found)
