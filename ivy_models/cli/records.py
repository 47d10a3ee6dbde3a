"""The record printed for each file: text for people, JSON lines or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ivy_models.errors import InputError

STDIN = "-"

Record = Callable[[Any, list[Any] | None, InputError | None], str]
"""Formats one file with its predictions or its error."""

COLUMNS = ("image", "rank", "label", "probability", "error")
"""CSV columns; each prediction or error is one row."""


def source_name(source: Any) -> str:
    """A path as text; a dash for stdin."""
    return click.format_filename(source) if isinstance(source, Path) else STDIN


def text() -> Record:
    def record(path, predictions, error):
        lines = [f"  {probability:6.1%}  {label}" for label, probability in predictions or ()]
        return "" if error else "\n".join([f"{source_name(path)}:", *lines, ""])

    return record


def jsonl() -> Record:
    def record(path, predictions, error):
        fields: dict[str, Any] = {"image": str(path) if isinstance(path, Path) else STDIN}
        if error is None:
            fields["predictions"] = [prediction._asdict() for prediction in predictions]
        else:
            fields["error"] = str(error)
        return json.dumps(fields) + "\n"

    return record


def csv_lines(columns: Sequence[str]) -> Callable[[Iterable[Sequence[Any]]], str]:
    """Make a function that formats rows of CSV, the first time with the columns before them."""
    header = [columns]

    def lines(rows: Iterable[Sequence[Any]]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*header, *rows])
        header.clear()
        return text.getvalue()

    return lines


def csv_rows() -> Record:
    lines = csv_lines(COLUMNS)

    def record(path, predictions, error):
        name = source_name(path)
        rows = [(name, rank, *pair, "") for rank, pair in enumerate(predictions or (), 1)]
        if error is not None:
            rows = [(name, "", "", "", error)]
        return lines(rows)

    return record


FORMATS: dict[str, Callable[[], Record]] = {"text": text, "jsonl": jsonl, "csv": csv_rows}
"""Functions that make a formatter, by the name of the format."""
