"""What the model reads of the rows, and what it predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.datasets.columns import (
    FILES,
    KINDS,
    Column,
    check_kinds,
    fit_column,
    recognise,
)
from ivy_models.datasets.defaults import default_preprocessing, sample
from ivy_models.datasets.files import named
from ivy_models.datasets.rows import TARGET, Rows, part_named
from ivy_models.datasets.tables import TableRows
from ivy_models.datasets.target_columns import TARGET_KINDS, TargetColumn, target_names
from ivy_models.errors import InputError
from ivy_models.preprocessing import ImageColumn, SoundColumn, TablePreprocessing
from ivy_models.preprocessing.prepared import kind_read_by
from ivy_models.preprocessing.sources import NamedFile
from ivy_models.preprocessing.table.cells import is_missing, to_category

LOOK, SAMPLE = 10_000, 100_000
"""Number of rows, spread over all, by which columns are recognised, and described."""


@dataclass(frozen=True)
class FileSchema:
    """Files of one kind with the folders' names as target.

    Parameters
    ----------
    rows
        The files.
    targets
        The target.
    preprocessing
        The model's preprocessing.
    """

    rows: Rows
    targets: list[TargetColumn]
    preprocessing: Any

    @classmethod
    def of(
        cls,
        rows: Rows,
        target: str | Sequence[str] | None,
        columns: Mapping[str, str],
        preprocessing: Any,
    ) -> FileSchema:
        """Recognise the classes and choose a preprocessing.

        Raises
        ------
        InputError
            If there are fewer than two classes, a column is chosen that a folder lacks, or the
            preprocessing reads another kind of data.
        """
        if not rows.columns:
            table = " The name of a table ends in .csv or .tsv." if rows.kind == "text" else ""
            raise InputError(
                f"The {rows.kind}s, such as {rows[0]}, are not in folders that name their classes. "
                f"Put the {rows.kind}s of each class into a subfolder with the name of the class."
                f"{table}"
            )
        classes = set(rows.column(TARGET)) - {None}
        if len(classes) == 1:
            (only,) = classes
            raise InputError(
                f"All {rows.kind}s with a class are in one subfolder, {only}; training needs at "
                f"least two classes. If {only} has a subfolder for each class, train on {only}."
            )
        names = target_names(target, rows.columns)
        check_kinds(columns, names, TARGET_KINDS)
        targets = [
            TargetColumn(name, rows.column(name), columns.get(name, "class"), as_written=True)
            for name in names
        ]
        if kind_read_by(preprocessing) not in (None, rows.kind):
            raise InputError(
                f"The data are {rows.kind}s, but the {type(preprocessing).__name__} of the model "
                f"reads {kind_read_by(preprocessing)}s."
            )
        if preprocessing is None:
            looked = [rows[int(place)] for place in sample(len(rows))]
            preprocessing = default_preprocessing(rows.kind, looked)
        return cls(rows, targets, preprocessing)

    read_columns = ()
    """Columns that the model reads, besides files."""

    def files_of(self, row: Any) -> list[Any]:
        """The files of a row."""
        return [row]

    @property
    def warnings(self) -> list[str]:
        """Sentences about what may be misunderstood."""
        subfolders: dict[str, set[str]] = {}
        for index in range(len(self.rows)):
            label, *inside = Path(self.rows.name(index)).parts
            if len(inside) == 1:  # a file in the folder of its class
                return []
            if inside:
                subfolders.setdefault(label, set()).add(inside[0])
        first, *others = subfolders.values()
        if len(first) < 2 or any(own != first for own in others):
            return []
        return [
            f"All classes have the same subfolders: {named(sorted(first))}. These are not used. If "
            "they are the classes, train on one of the folders, or name the folders train and "
            "validation."
        ]

    @property
    def check(self) -> Any:
        """Prepares a row; raises InputError if one of its files is broken."""
        return self.preprocessing

    def fit(self, indices: np.ndarray) -> tuple[Any, list[Column]]:
        """The preprocessing, and what was recognised."""
        files = Column("file", self.rows.kind, f"{len(self.rows):,} files, {self._size()}")
        return self.preprocessing, [files, *(target.column() for target in self.targets)]

    def _size(self) -> str:
        shown = self.preprocessing
        if self.rows.kind == "image" and hasattr(shown, "size"):
            return "read as {1} x {0} pixels".format(*shown.size)
        if self.rows.kind == "sound" and hasattr(shown, "sample_rate"):
            seconds = shown.num_samples / shown.sample_rate
            return f"read as {seconds:.3g} s at {shown.sample_rate:,} Hz"
        length = getattr(shown, "max_length", None)
        return "read whole" if length is None else f"read up to {length:,} bytes"


@dataclass(frozen=True)
class TableSchema:
    """Columns of a table, some of which are the targets.

    Parameters
    ----------
    rows
        The table.
    targets
        The targets.
    kinds
        Kind of each other column, and for "ignore" the reason.
    check
        Reads the columns of files, and raises InputError if one is broken. None: there are none.
    given
        A preprocessing that is used as it is, such as that of a model to fine-tune.
    warnings
        Sentences about what may be misunderstood.
    """

    rows: TableRows
    targets: list[TargetColumn]
    kinds: dict[str, tuple[str, str]]
    check: TablePreprocessing | None
    given: TablePreprocessing | None = None
    details: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        rows: TableRows,
        target: str | Sequence[str] | None,
        columns: Mapping[str, str],
        preprocessing: TablePreprocessing | None,
    ) -> TableSchema:
        """Recognise the columns.

        Raises
        ------
        InputError
            If a column is not there, or cannot have its kind, or there is nothing to read.
        """
        names = target_names(target, rows.columns)
        others = [name for name in rows.columns if name not in names]
        chosen = {name: kind for name, kind in columns.items() if name not in names}
        check_kinds(chosen, others, KINDS)
        chosen_kinds = {
            name: "class" if kind == "category" else kind
            for name, kind in columns.items()
            if name in names
        }
        check_kinds(chosen_kinds, names, TARGET_KINDS)
        targets = [TargetColumn(name, rows.column(name), chosen_kinds.get(name)) for name in names]
        if preprocessing is not None:
            if chosen:
                raise InputError(
                    "The given preprocessing already says how columns are read: leave out the kind "
                    f"of {named(list(chosen))}."
                )
            return cls._of_given(rows, targets, preprocessing)
        looked = sample(len(rows), LOOK)
        kinds, warnings = {}, []
        for name in others:
            if kind := chosen.get(name) or rows.file_kind(name):
                kinds[name] = kind, "as chosen"
            else:
                cells = rows.cells(name, looked)
                kind, reason, warning = recognise(cells, looked, name)
                kinds[name] = kind, reason
                warnings += [warning] if warning else []
                warnings += _parts_in(name, cells) if kind == "category" else []
        if all(kind == "ignore" for kind, _ in kinds.values()):
            found = named([f"{name} ({reason})" for name, (_, reason) in kinds.items()], 10)
            raise InputError(
                f"No column of {rows.path} is left to learn from, besides the target: "
                f"{found or 'there is no other'}."
            )
        files = [name for name, (kind, _) in kinds.items() if kind in FILES]
        fitted = [fit_column(name, kinds[name][0], _resolved(rows, name)) for name in files]
        check = TablePreprocessing([column for column, _ in fitted]) if fitted else None
        details = {column.name: detail + _missing(rows, column.name) for column, detail in fitted}
        return cls(rows, targets, kinds, check, None, details, warnings)

    @classmethod
    def _of_given(
        cls, rows: TableRows, targets: list[TargetColumn], preprocessing: TablePreprocessing
    ) -> TableSchema:
        if not isinstance(preprocessing, TablePreprocessing):
            raise InputError(
                f"The data are a table, but the {type(preprocessing).__name__} of the model does "
                "not read tables."
            )
        read = {column.name: column for column in preprocessing.columns}
        if shared := [target.name for target in targets if target.name in read]:
            raise InputError(
                f"The model reads the column {named(shared)}, so it cannot learn to predict it."
            )
        if lacking := [name for name in read if name not in rows.columns]:
            raise InputError(
                f"{rows.path} lacks columns that the preprocessing reads: {named(lacking, 10)}."
            )
        files = [each for each in read.values() if isinstance(each, (ImageColumn, SoundColumn))]
        names = [target.name for target in targets]
        kinds = {
            name: (read[name].kind, "") if name in read else ("ignore", "not read by the model")
            for name in rows.columns
            if name not in names
        }
        check = TablePreprocessing(files) if files else None
        return cls(rows, targets, kinds, check, preprocessing)

    @property
    def read_columns(self) -> list[str]:
        """Columns that the model reads, besides files."""
        return [name for name, (kind, _) in self.kinds.items() if kind not in (*FILES, "ignore")]

    def files_of(self, row: Mapping[str, Any]) -> list[Any]:
        """The files of a row."""
        return [row[column.name] for column in self.check.columns] if self.check else []

    def fit(self, indices: np.ndarray) -> tuple[TablePreprocessing, list[Column]]:
        """Describe the columns by training rows.

        Parameters
        ----------
        indices
            Integers: the training rows.

        Raises
        ------
        InputError
            If a column has nothing of its kind in the training rows.
        """
        looked = indices[sample(len(indices), SAMPLE)]
        fitted = {column.name: column for column in self.check.columns} if self.check else {}
        details = dict(self.details)
        for name, (kind, reason) in self.kinds.items():
            if self.given is None and kind not in (*FILES, "ignore"):
                cells = self.rows.cells(name, looked)
                fitted[name], details[name] = fit_column(name, kind, cells)
            details.setdefault(name, reason)
        targets = {target.name: target.column() for target in self.targets}
        found = [
            targets[name] if name in targets else Column(name, self.kinds[name][0], details[name])
            for name in self.rows.columns
        ]
        if self.given is not None:
            return self.given, found
        in_order = [fitted[name] for name in self.rows.columns if name in fitted]
        return TablePreprocessing(in_order), found


def _parts_in(name: str, cells: Sequence[Any]) -> list[str]:
    """A sentence about a column that says which rows are for training, and which for testing."""
    values = sorted({value for value in map(to_category, cells) if value is not None})
    if not {"train"} < {part_named(value) for value in values} <= {"train", "validation", "test"}:
        return []
    return [
        f"The column {name!r} names parts of the data, {named(values)}, but it is read like any "
        "other. To keep the parts apart, write a table for each, such as train.csv and test.csv. "
        "Otherwise set its kind to ignore."
    ]


def _missing(rows: TableRows, name: str) -> str:
    """The share of cells that hold nothing, in words, or an empty text."""
    cells = rows.cells(name, sample(len(rows), LOOK))
    share = np.mean([is_missing(cell) for cell in cells])
    return f", {share:.0%} missing" if share else ""


def _resolved(rows: TableRows, name: str) -> list[Any]:
    """A sample of a column's files that exist.

    Raises
    ------
    InputError
        If none exists.
    """
    cells = [rows[int(index)][name] for index in sample(len(rows))]
    found = [
        cell
        for cell in cells
        if cell is not None and (isinstance(cell, NamedFile) or not isinstance(cell, str))
    ]
    if not found:
        raise InputError(
            f"The column {name!r} names files, such as {cells[0]!r}, but none exists beside the "
            f"table, in {rows.folders[0]}. Write paths from there, or absolute ones; addresses are "
            "not read. If the files are not needed, set the column's kind to ignore."
        )
    return found


Schema = FileSchema | TableSchema
