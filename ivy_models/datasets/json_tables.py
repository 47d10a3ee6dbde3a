"""Tables of JSON: objects one after another, or in a list.

Cells are texts, as those of CSV: numbers stay as they are written, and no type is guessed from the
first rows. Only a column with lists or objects has lists.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from ivy_models.datasets.files import open_file, suffix_of
from ivy_models.errors import InputError, shown

ROWS = 10_000
"""Number of rows that are converted at a time."""

NESTED = frozenset((list, dict))
"""Types of cells that hold several values."""

CHUNK = 1 << 20
"""Number of characters that are read at a time, or more where an object is longer."""

EXPECTED = (
    "expected an object for each row, one in a line or all in a list. pandas writes them with "
    'to_json(FILE, orient="records").'
)


@dataclass
class JsonConfig(datasets.BuilderConfig):
    """The file to read, and its encoding."""

    file: str = ""
    encoding: str = "utf-8-sig"


class JsonTable(datasets.ArrowBasedBuilder):
    """Converts a file to Arrow in the cache of ``datasets``, with constant memory."""

    BUILDER_CONFIG_CLASS = JsonConfig
    config: JsonConfig

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo()

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        types = _types(Path(self.config.file), self.config.encoding)
        self.info.features = datasets.Features.from_arrow_schema(pa.schema(list(types.items())))
        return [datasets.SplitGenerator(name="train", gen_kwargs={"types": types})]

    def _generate_tables(self, **kwargs: Any) -> Iterator[tuple[Any, pa.Table]]:
        types: Mapping[str, pa.DataType] = kwargs["types"]
        rows = objects(Path(self.config.file), self.config.encoding)
        while chunk := list(itertools.islice(rows, ROWS)):
            columns = {
                name: _array([row.get(name) for row in chunk], kind) for name, kind in types.items()
            }
            yield datasets.builder.Key(0, 0), pa.table(columns)


def _types(file: Path, encoding: str) -> dict[str, pa.DataType]:
    """The columns, in the order in which they occur, and their types. One at least."""
    number, first, last = 0, {}, {}
    nested: set[str] = set()
    for row in objects(file, encoding):
        number += 1
        first = first or row
        last.update(row)
        if not NESTED.isdisjoint(map(type, row.values())):
            nested.update(name for name, cell in row.items() if type(cell) in NESTED)
    if number == 1 and suffix_of(file) == ".json":
        _check_single(file, first)
    text = pa.string()
    return {name: pa.list_(text) if name in nested else text for name in last or [""]}


def _check_single(file: Path, row: Mapping[str, Any]) -> None:
    """Refuse a single object that is no row, but holds the rows or the columns."""
    for name, cell in row.items():
        if isinstance(cell, list) and cell and all(isinstance(each, dict) for each in cell):
            raise InputError(
                f"{file} has one object, with a list of objects in {name!r}. If these are the "
                f"rows, save that list alone; {EXPECTED}"
            )
    if row and NESTED.issuperset(map(type, row.values())):
        raise InputError(f"{file} has one object, of columns; {EXPECTED}")


def _array(cells: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.array([cell if cell is None else _parts(cell) for cell in cells], kind)
    try:
        return pa.array(cells, kind)
    except (pa.ArrowTypeError, UnicodeError):  # truth values; halves of surrogates
        return pa.array([cell if cell is None else _text(cell) for cell in cells], kind)


def _parts(cell: Any) -> list[str]:
    return list(map(_text, cell if isinstance(cell, list) else [cell]))


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell.encode("utf-8", "replace").decode()
    return str(cell) if isinstance(cell, bool) else json.dumps(cell)


def objects(file: Path, encoding: str) -> Iterator[dict[str, Any]]:
    """The objects of a file. Numbers are texts as they are written.

    Raises
    ------
    InputError
        If there is something else.
    """
    with open_file(file, "rt", encoding=encoding) as opened:
        text, size, number, problem = opened.read(CHUNK), CHUNK, 0, ""
        start = re.match(r"\s*\[", text)
        at, end = (start.end(), "]") if start else (0, "")
        while True:
            at = next(_BETWEEN.finditer(text, at)).end()
            if text[at : at + 1] not in ("", "{"):
                break
            if at < len(text):
                try:
                    row, at = _DECODER.raw_decode(text, at)
                except json.JSONDecodeError as error:  # perhaps only a part of the object was read
                    problem = f"{error.msg}, at {shown(repr(text[error.pos : error.pos + 50]))}"
                except (InputError, RecursionError) as error:
                    raise _mistake(file, number, str(error)) from error
                else:
                    number, size, problem = number + 1, CHUNK, ""
                    yield row
                    continue
            if not (more := opened.read(size)):
                break
            text, at, size = text[at:] + more, 0, 2 * size
        rest = text[at:].strip()
    if rest == end:
        return
    if not number and not rest.startswith("{"):
        raise InputError(f"{file} has {shown(repr(rest))} at its beginning; {EXPECTED}")
    got = shown(repr(rest)) if rest else "the end of the file"
    raise _mistake(file, number, problem or f"expected an object, got {got}")


def _mistake(file: Path, number: int, problem: str) -> InputError:
    return InputError(f"{file} cannot be read as a table, in row {number + 1}: {problem}.")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise InputError(f"an object has {name!r} more than once")
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_repetition,
    parse_float=str,
    parse_int=str,
    parse_constant=str,
    strict=False,
)

_BETWEEN = re.compile(r"[\s,]*")
