"""Tables on disk: CSV, JSON and Parquet, read by Hugging Face's ``datasets``.

``datasets`` converts a file to Arrow in its cache once, and maps that into memory, so that a table
may be larger than the memory. Nothing is asked of its hub. Cells of CSV and JSON stay texts here:
guesses of a type differ between parts of one file.
"""

from __future__ import annotations

import bisect
import codecs
import csv
import hashlib
import importlib
import itertools
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.datasets.files import kind_of, named, open_file, suffix_of
from ivy_models.errors import InputError, package_missing, shown
from ivy_models.preprocessing.sources import NamedFile, reason
from ivy_models.preprocessing.table.cells import composed
from ivy_models.preprocessing.text import START, wide_encoding

if TYPE_CHECKING:
    from datasets import Dataset

DELIMITERS = ",;\t|"

WITH_TABS = (".tsv", ".tab", ".txt")
"""Suffixes of tables whose columns are separated by tabs."""

LOOK = 20
"""Number of records that are parsed to find the delimiter."""

CHUNK = 1 << 20

MAX_CELL = (1 << 31) - 1
"""Upper bound on the characters of a cell; the default of ``csv`` is 131,072."""

OTHER = "cp1252"
"""Encoding of texts that are not in UTF-8, UTF-16 or UTF-32."""

JSON = (".json", ".jsonl", ".ndjson")

CONTENTS = {
    b"PK\x03\x04": ("an archive or a sheet, as in .zip and .xlsx", ()),
    b"\xd0\xcf\x11\xe0": ("a sheet, as in .xls", ()),
    b"\x1f\x8b": ("compressed, as in .gz", ()),
    b"PAR1": ("a table of Parquet", (".parquet",)),
    b"\x89PNG": ("an image", ()),
    b"<!DOCTYPE": ("a web page", ()),
    b"<html": ("a web page", ()),
    b"[{": ("JSON", JSON),
    b'{"': ("JSON", JSON),
}
"""What a file holds by its first bytes, and the suffixes of tables of this kind."""

ADVICE = {
    ".csv": " Save it as CSV in UTF-8.",
    **dict.fromkeys(WITH_TABS, " Save it as TSV in UTF-8."),
}
"""What to do with a broken table, by its suffix."""


@dataclass(frozen=True)
class TableRows:
    """Rows of one or several files with the same columns.

    Parameters
    ----------
    path
        The file or folder, for messages.
    dataset
        The rows, mapped into memory.
    starts, folders
        Number of each file's first row, and the folder to which its paths are relative.
    warnings
        Sentences about what may have been read wrongly.
    """

    path: Path
    dataset: Dataset
    starts: tuple[int, ...]
    folders: tuple[Path, ...]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def kind(self) -> str:
        return "table"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.dataset.column_names)

    @cached_property
    def _features(self) -> Mapping[str, Any]:
        """The columns' types. ``datasets`` copies all of them each time that it is asked."""
        return self.dataset.features

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row. The name of an image or sound that exists beside the table knows its path."""
        return self.take([index])[0]

    def take(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        indices = [int(index) for index in indices]
        with _in_range(self.path):
            cells = self.dataset[indices]
        columns = {name: self._named(name, own) for name, own in cells.items()}
        folders = [self.folders[bisect.bisect_right(self.starts, i) - 1] for i in indices]
        return [
            {name: _with_path(values[place], folder) for name, values in columns.items()}
            for place, folder in enumerate(folders)
        ]

    def name(self, index: int) -> str:
        return f"row {index + 1}"

    def column(self, name: str) -> list[Any]:
        return self._listed(name, self._arrow(name))

    def cells(self, name: str, indices: np.ndarray) -> list[Any]:
        """Some values of a column."""
        return self._listed(name, self._arrow(name).take(indices))

    def file_kind(self, name: str) -> str | None:
        """Return "image" or "sound" if the table says that a column holds these."""
        return {"Image": "image", "Audio": "sound"}.get(type(self._features[name]).__name__)

    def _listed(self, name: str, arrow: Any) -> list[Any]:
        with _in_range(self.path):
            return self._named(name, arrow.to_pylist())

    def _named(self, name: str, cells: list[Any]) -> list[Any]:
        """Cells of a column; names of classes instead of their numbers."""
        names = getattr(self._features[name], "names", None)
        return [names[cell] if cell is not None else None for cell in cells] if names else cells

    def _arrow(self, name: str) -> Any:
        if name not in self.columns:
            raise InputError(
                f"{self.path} has no column {name!r}. It has {named(self.columns, 20)}."
            )
        return self.dataset.data.column(name)


@contextmanager
def _in_range(path: Path) -> Iterator[None]:
    """Name the table in an error about a value that Python cannot represent."""
    try:
        yield
    except (OverflowError, ValueError) as error:
        raise InputError(f"{path} has a value that cannot be read: {reason(error)}.") from error


def _with_path(value: Any, folder: Path) -> Any:
    if isinstance(value, str) and len(value) < 1000 and kind_of(value) in ("image", "sound"):
        try:
            for name in (value, value.replace("\\", "/")):  # as Windows writes paths
                if (path := folder / name).is_file():
                    return NamedFile.at(value, path)
        except (OSError, ValueError):  # not a name of a file at all
            return value
    return value


def table_rows(path: Path, files: Sequence[Path]) -> TableRows:
    """Read the files of a table.

    Raises
    ------
    InputError
        If a file cannot be read, or has other columns than the first, or there are no rows.
    BackendError
        If ``datasets`` is not installed.
    """
    warnings: list[str] = []
    read = {file: part for file in files if len(part := _read(file, warnings))}
    if not read:
        raise InputError(f"{path} has no rows.")
    files, parts = list(read), list(read.values())
    for file, part in read.items():
        if set(part.column_names) != set(parts[0].column_names):
            raise InputError(
                f"{file} has the columns {named(part.column_names, 20)}; {files[0]} has "
                f"{named(parts[0].column_names, 20)}. All files of a table need the same."
            )
    starts = tuple(itertools.accumulate([0, *map(len, parts[:-1])]))
    folders = tuple(file.parent for file in files)
    return TableRows(path, _joined(path, parts), starts, folders, tuple(warnings))


def _joined(path: Path, parts: list[Dataset]) -> Dataset:
    from datasets import concatenate_datasets

    try:
        return parts[0] if len(parts) == 1 else concatenate_datasets(parts)
    except Exception as error:
        raise InputError(
            f"The files of {path} do not fit together: {reason(error)}. A column must have one "
            "type in all of them."
        ) from error


def _read(file: Path, warnings: list[str]) -> Dataset:
    """Read a file; sentences about what may be wrong go to ``warnings``."""
    try:
        import datasets
        from datasets.packaged_modules.csv.csv import Csv
        from datasets.packaged_modules.parquet.parquet import Parquet

        from ivy_models.datasets.json_tables import JsonTable
    except ImportError as error:
        raise package_missing("Reading tables needs", "datasets") from error
    encoding, digest, is_empty = _look_at(file)
    suffix = suffix_of(file)
    options: dict[str, Any] = {"encoding": encoding}
    if suffix == ".parquet":
        is_empty, options = _parquet(datasets, file, warnings)
    elif encoding == OTHER:
        warnings.append(
            f"{file.name} is not written in UTF-8, so it is read as Windows-1252. If letters are "
            "wrong, save it in UTF-8."
        )
    builder: Any = Parquet if suffix == ".parquet" else JsonTable
    if suffix in (".csv", *WITH_TABS):
        header, delimiter, written = _head(file, encoding)
        names = list(_different(written))
        if repeated := [name for name, n in Counter(written).items() if name and n > 1]:
            warnings.append(
                f"{file.name} has several columns named {named(list(map(repr, repeated)))}. The "
                "later ones have a number after their name here."
            )
        builder = Csv
        options |= {
            "sep": delimiter,
            "header": header,
            "column_names": names,
            "skipinitialspace": True,
            "features": datasets.Features({name: datasets.Value("string") for name in names}),
            "keep_default_na": False,
            "na_filter": False,
            "index_col": False,
        }
    if builder is JsonTable:
        options["file"] = str(file)
    if is_empty or options.get("column_names") == []:
        return datasets.Dataset.from_dict({})
    with _quiet(datasets):
        try:
            built: Any = builder(data_files={"train": str(file)}, hash=digest, **options)
            # A decompressed copy in the cache is found by its path alone: always made again.
            copies = datasets.DownloadConfig(force_extract=True, delete_extracted=True)
            built.download_and_prepare(download_config=copies)
            if not built.info.splits["train"].num_examples:  # all lines are blank
                return datasets.Dataset.from_dict({})
            table = built.as_dataset(split="train")
        except InputError:
            raise
        except Exception as error:
            first = _cause(error)
            if isinstance(first, OSError) and first.errno:  # the file itself was read before
                config: Any = importlib.import_module("datasets.config")
                raise InputError(
                    f"{file} cannot be converted in the cache {config.HF_DATASETS_CACHE}: "
                    f"{reason(first)}. Set the environment variable HF_DATASETS_CACHE to another "
                    "folder."
                ) from error
            raise InputError(
                f"{file} cannot be read as a table: {reason(first)}.{ADVICE.get(suffix, '')}"
            ) from error
        return _named_once(_plain(datasets, table))


def _parquet(datasets: Any, file: Path, warnings: list[str]) -> tuple[bool, dict[str, Any]]:
    """Whether a Parquet file has no rows, and the options by which it is read."""
    from pyarrow import ArrowException, parquet

    try:
        found = parquet.ParquetFile(file)
        schema, is_empty = found.schema_arrow, not found.metadata.num_rows
    except (OSError, ArrowException) as error:
        raise InputError(f"{file} cannot be read as a table: {reason(error)}.") from error
    if repeated := [name for name in schema.names if schema.names.count(name) > 1]:
        raise InputError(
            f"{file} has several columns named {repeated[0]!r}. Give each a name of its own."
        )
    odd = [field for field in schema if not _is_known(datasets, field.type)]
    if odd:
        listed = named([f"{field.name} ({field.type})" for field in odd])
        warnings.append(f"Left out, because columns of these types cannot be read: {listed}.")
    for field in odd:
        schema = schema.remove(schema.get_field_index(field.name))
    features = datasets.Features.from_arrow_schema(schema)
    return is_empty or not features, {"columns": schema.names, "features": features}


def _is_known(datasets: Any, kind: Any) -> bool:
    try:
        datasets.features.features.generate_from_arrow_type(kind)
    except (ValueError, NotImplementedError, TypeError):
        return False
    return True


def _cause(error: Exception) -> Exception:
    """What went wrong first; ``datasets`` hides it behind an error of its own."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _plain(datasets: Any, table: Dataset) -> Dataset:
    """Leave images and sounds as files, which this library decodes itself, and texts as texts."""
    for name, feature in table.features.items():
        if isinstance(feature, (datasets.Image, datasets.Audio)):
            table = table.cast_column(name, type(feature)(decode=False))
        elif getattr(feature, "dtype", None) == "string_view":  # Arrow cannot select its rows
            table = table.cast_column(name, datasets.Value("string"))
    return table


def _named_once(table: Dataset) -> Dataset:
    """Give each column a name of its own, in the form of :func:`composed`."""
    names = table.column_names
    new = _different(composed(name) for name in names)
    changed = {old: name for old, name in zip(names, new, strict=True) if old != name}
    return table.rename_columns(changed) if changed else table


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Hide progress bars and log messages about errors, which are raised anyway."""
    logging, bars = datasets.utils.logging, datasets.are_progress_bars_disabled()
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def _look_at(file: Path) -> tuple[str, str, bool]:
    """The encoding of a file if it is a text, a hash of it for the cache, and whether it is empty.

    ``datasets`` itself looks at the path and the time alone, and would reuse a table whose content
    was replaced.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open_file(file) as opened:
            start = opened.read(START)
            is_empty = is_last = not start
            _check_start(file, start)
            encoding = wide_encoding(start) or "utf-8-sig"
            decoder = codecs.getincrementaldecoder(encoding)()
            opened.seek(0)
            while not is_last:
                chunk = opened.read(CHUNK)
                digest.update(chunk)
                is_last = not chunk
                if encoding != OTHER:
                    try:
                        decoder.decode(chunk, is_last)
                    except UnicodeDecodeError:
                        encoding = OTHER
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{file} cannot be read: {reason(error)}.") from error
    return encoding, digest.hexdigest(), is_empty


def _check_start(file: Path, start: bytes) -> None:
    """Refuse a file whose first bytes and name are of different kinds."""
    for begin, (what, suffixes) in CONTENTS.items():
        if start.startswith(begin) and suffix_of(file) not in suffixes:
            raise InputError(
                f"{file} is {what}, but its name ends in {suffix_of(file)}. Give it the name of "
                "its kind, or save it as the kind of its name."
            )


def _head(file: Path, encoding: str) -> tuple[int, str, list[str]]:
    """The row of a CSV file's header, its delimiter and columns. No columns: it has no rows.

    Excel may write a first line that names the delimiter, such as ``sep=;``.
    """
    delimiters = "\t" if suffix_of(file) in WITH_TABS else DELIMITERS
    with open_file(file, "rt", encoding=encoding, errors="replace", newline="") as opened:
        first = next(filter(str.strip, opened), "").rstrip("\r\n")
    if is_named := re.fullmatch('(?:sep=(.)|"sep=(.)")', first):
        delimiters = is_named[1] or is_named[2]
    header = 1 if is_named else 0
    candidates = {}
    for delimiter in delimiters:
        if records := _records(file, encoding, delimiter, LOOK)[header:]:
            is_even = len({len(record) for record in records}) == 1
            candidates[delimiter] = (is_even and len(records[0]) > 1, len(records[0]), records)
    delimiter = max(candidates, key=lambda each: candidates[each][:2], default=None)
    if delimiter is None or len(candidates[delimiter][2]) == 1:
        return header, ",", []
    names, *records = candidates[delimiter][2]
    if longer := [record for record in records if len(record) > len(names)]:
        raise InputError(
            f"{file} has {len(names)} columns in its first line, but a row with "
            f"{len(longer[0])} cells: {named([repr(shown(cell)) for cell in longer[0]], 5)}. The "
            "first line must name all columns; remove lines above it."
        )
    return header, delimiter, [name.strip() for name in names]


def has_tabs(file: Path) -> bool:
    """Whether a text file is a table: whether tabs divide its first lines into as many cells."""
    try:
        with open_file(file) as opened:
            encoding = wide_encoding(opened.read(START)) or "utf-8-sig"
        sizes = {len(record) for record in _records(file, encoding, "\t", LOOK)}
    except InputError:
        return False
    except OSError as error:
        raise InputError(f"{file} cannot be read: {reason(error)}.") from error
    return len(sizes) == 1 and sizes != {1}


def _records(file: Path, encoding: str, delimiter: str, number: int) -> list[list[str]]:
    """The first records of a CSV file that are not blank lines."""
    limit = csv.field_size_limit(MAX_CELL)
    with open_file(file, "rt", encoding=encoding, errors="replace", newline="") as opened:
        try:
            reader = csv.reader(opened, delimiter=delimiter, skipinitialspace=True)
            return list(itertools.islice(filter(None, reader), number))
        except csv.Error as error:
            raise InputError(f"{file} cannot be read as CSV: {error}.") from error
        finally:
            csv.field_size_limit(limit)


def _different(names: Iterable[str]) -> Iterator[str]:
    """Names without repetitions; a column without a name gets its number."""
    taken: set[str] = set()
    for place, name in enumerate(names, 1):
        own = name = name or f"column {place}"
        for number in itertools.count(2):
            if own not in taken:
                break
            own = f"{name} {number}"
        taken.add(own)
        yield own
