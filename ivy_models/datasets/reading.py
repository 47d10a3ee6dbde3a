"""Training data from a folder or a table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.base.paths import user_path
from ivy_models.datasets.augmentation import (
    Augmentation,
    augmentation_for,
    augmentation_name,
)
from ivy_models.datasets.checking import check_files, copies_with_different_values
from ivy_models.datasets.digests import digests_of_rows
from ivy_models.datasets.examples import TrainingData
from ivy_models.datasets.files import counted, named
from ivy_models.datasets.rows import Rows, open_parts, read_rows
from ivy_models.datasets.schema import FileSchema, Schema, TableSchema
from ivy_models.datasets.sources import SourceExamples
from ivy_models.datasets.splits import split, strata_of
from ivy_models.datasets.tables import TableRows
from ivy_models.datasets.target_columns import encode
from ivy_models.datasets.unread import unread_columns
from ivy_models.errors import InputError
from ivy_models.preprocessing import TablePreprocessing
from ivy_models.preprocessing.table.cells import composed
from ivy_models.preprocessing.targets import ClassTarget, Target

NAMED = 3
"""Number of broken examples that a warning names."""

VALIDATION = 0.2
"""Share of the examples that are held out if no others are given."""


def read_training_data(
    path: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    validation: float | str | os.PathLike[str] | None = None,
    preprocessing: Any = None,
    seed: int = 0,
    augment: bool | None = None,
    flip: bool = False,
    max_broken: float = 0.05,
) -> TrainingData:
    """Read a folder by class, or a table.

    Parameters
    ----------
    path
        A folder with a subfolder of images, sounds or texts for each class; or a table as CSV, TSV,
        JSON lines or Parquet, or a folder of tables. Subfolders or tables called train, and
        validation or test, are kept apart.
    target
        Name of the column to predict, or of several. None: the folders' names, or a column called
        label, target or class.
    columns
        The kind of a column by its name, instead of what is recognised: number, category, date,
        time, text, ngrams, image, sound or ignore; for a target class or number.
    validation
        Share of the examples to hold out, or a folder or file with other examples. None: the part
        called validation, otherwise test if it has targets, otherwise a fifth.
    preprocessing
        Instead of one that fits the data, such as that of a model to fine-tune.
    seed
        Seed of the split.
    augment
        Whether to change training images or sounds at random, each time they are read. None: only
        shift them.
    flip
        Whether to flip half of the training images from left to right, each time they are read.
    max_broken
        Share of examples that may be broken. They are left out and named in ``warnings``.

    Returns
    -------
    TrainingData
        ``columns`` says what was recognised, and ``warnings`` what should be looked at.

    Raises
    ------
    InputError
        If the data cannot be used. The message says why.
    BackendError
        If a package is not installed.
    """
    if not 0 <= max_broken <= 1:
        raise InputError(f"max_broken must be between 0 and 1, got {max_broken}.")
    path = user_path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    parts, outside = open_parts(path)
    rows = parts["train"]
    chosen = {composed(name): kind for name, kind in (columns or {}).items()}
    if target is not None:
        target = [composed(name) for name in ([target] if isinstance(target, str) else target)]
    schema: Schema
    if isinstance(rows, TableRows):
        schema = TableSchema.of(rows, target, chosen, preprocessing)
    else:
        schema = FileSchema.of(rows, target, chosen, preprocessing)
    warnings = [*outside, *schema.warnings]
    warnings += [sentence for target in schema.targets for sentence in target.warnings()]
    others = _validation_rows(parts, validation, schema, warnings)
    warnings += [*rows.warnings, *(others.warnings if others else ())]

    first = _labelled(rows, schema, max_broken, warnings)
    if others is None:
        fraction = validation if isinstance(validation, (int, float)) else VALIDATION
        first, second = _split(first, schema, fraction, seed)
    else:
        second = _labelled(others, schema, max_broken, warnings)
    warnings += _in_both(first, second)
    fitted, found = schema.fit(first.indices)
    if isinstance(fitted, TablePreprocessing):
        _check_columns(second.rows, fitted)
        for part in (rows,) if others is None else (rows, others):
            warnings += unread_columns(part, fitted)
    targets = tuple(target.fit(first.values[target.name]) for target in schema.targets)
    warnings += _unknown_classes(second, targets)
    augmentation = augmentation_for(fitted, augment, flip)
    return TrainingData(
        first.examples(targets, fitted, augmentation),
        second.examples(targets, fitted),
        fitted,
        targets,
        tuple(found),
        tuple(warnings),
        augmentation_name(augmentation),
    )


@dataclass(frozen=True)
class _Labelled:
    """Some rows with at least one known target, and readable files.

    ``values`` has a list for each target, ``contents`` a hash of the content of an example's files
    or None, ``digests`` a number that is equal for equal examples.
    """

    rows: Rows
    indices: np.ndarray
    values: dict[str, list[Any]]
    contents: list[str | None]
    digests: np.ndarray

    def only(self, places: np.ndarray) -> _Labelled:
        return _Labelled(
            self.rows,
            self.indices[places],
            {name: [values[i] for i in places] for name, values in self.values.items()},
            [self.contents[i] for i in places],
            self.digests[places],
        )

    def examples(
        self,
        targets: Sequence[Target],
        preprocessing: Any,
        augmentation: Augmentation | None = None,
    ) -> SourceExamples:
        encoded = {target.name: encode(target, self.values[target.name]) for target in targets}
        return SourceExamples(
            self.rows, self.indices, encoded, self.digests, preprocessing, augmentation
        )


def _validation_rows(
    parts: Mapping[str, Rows], validation: Any, schema: Schema, warnings: list[str]
) -> Rows | None:
    """The rows for validation that are given, or None to hold some out."""
    if isinstance(validation, (int, float)):
        return None
    if validation is None:
        others = parts.get("validation")
        if others is None and (test := parts.get("test")) is not None:
            if any(target.name in test.columns for target in schema.targets):
                others = test
            else:
                warnings.append("The part test has no targets, so it is not used.")
    else:
        others = read_rows(validation)
    if others is not None and others.kind != parts["train"].kind:
        raise InputError(
            f"The training data are {parts['train'].kind}s, but the validation data are "
            f"{others.kind}s. Pass validation data of the same kind."
        )
    return others


def _labelled(rows: Rows, schema: Schema, max_broken: float, warnings: list[str]) -> _Labelled:
    """The rows that can be used; sentences about the others go to ``warnings``."""
    names = [target.name for target in schema.targets]
    if lacking := [name for name in names if name not in rows.columns]:
        raise InputError(
            f"The validation data lack the target {named(lacking)}. Choose other data, or a share "
            "of the training data, such as 0.2, as validation."
        )
    cells = {target.name: rows.column(target.name) for target in schema.targets}
    values = {target.name: target.values(cells[target.name]) for target in schema.targets}
    known = [
        i
        for i, row in enumerate(zip(*values.values(), strict=True))
        if any(v is not None for v in row)
    ]
    if without := len(rows) - len(known):
        words = "".join(target.missing_word(cells[target.name]) for target in schema.targets)
        warnings.append(
            f"Left out, without a target: {without:,} of {len(rows):,} examples.{words}"
        )
    indices = np.array(known, np.int64)
    contents: list[str | None] = [None] * len(known)
    if schema.check is not None:
        checked = check_files(indices, rows, schema.files_of, schema.check, max_broken)
        if checked.broken:
            first, others = checked.broken[:NAMED], checked.broken[NAMED:]
            more = f" And {counted(others, 'other')}." if others else ""
            warnings.append(
                f"Left out, because they cannot be read: {len(checked.broken):,} of {len(known):,} "
                f"examples. {' '.join(first)}{more}"
            )
        indices, contents = checked.indices, checked.contents
    usable = {name: [own[i] for i in indices] for name, own in values.items()}
    warnings += copies_with_different_values(rows, indices, contents, usable)
    read = [name for name in schema.read_columns if name in rows.columns]
    digests = digests_of_rows(rows, indices, read, [contents, *usable.values()])
    return _Labelled(rows, indices, usable, contents, digests)


def _split(
    labelled: _Labelled, schema: Schema, fraction: float, seed: int
) -> tuple[_Labelled, _Labelled]:
    target = schema.targets[0]
    values = labelled.values[target.name]
    strata = strata_of(encode(target.fit(values), values))
    groups = [content or place for place, content in enumerate(labelled.contents)]
    first, second = split(strata, groups, fraction, seed)
    return labelled.only(first), labelled.only(second)


def _check_columns(rows: Rows, preprocessing: TablePreprocessing) -> None:
    """Check that the rows for validation have the columns of those for training."""
    lacking = [each.name for each in preprocessing.columns if each.name not in rows.columns]
    if lacking:
        raise InputError(f"The validation data lack the column {named(lacking)}.")


def _in_both(first: _Labelled, second: _Labelled) -> list[str]:
    """Sentences about files and rows that are in both parts."""
    sentences = []
    if files := set(first.contents) & set(second.contents) - {None}:
        sentences.append(
            f"Both in the training data and in those for validation: {counted(files, 'file')}."
        )
    equal = np.isin(second.digests, first.digests)
    if second.rows.kind == "table" and equal.any():
        sentences.append(
            f"Of {len(equal):,} rows for validation, {equal.sum():,} are equal to rows for "
            "training. If they are copies, the results say little about new rows."
        )
    return sentences


def _unknown_classes(second: _Labelled, targets: Sequence[Target]) -> list[str]:
    """Sentences about classes that only the validation examples have."""
    sentences = []
    for target in targets:
        if isinstance(target, ClassTarget):
            values = set(second.values[target.name]) - {None, *target.labels}
            if values:
                sentences.append(
                    f"The training data have no {target.name} {named(sorted(values))}, which those "
                    "for validation have. These are not counted."
                )
    return sentences
