"""``ivy-models predict``."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ivy_models.cli.model_data import each_row, rows_for
from ivy_models.cli.options import InputPath, batch_size_from, format_options, model_options
from ivy_models.cli.outputs import check_output_file
from ivy_models.errors import printable

if TYPE_CHECKING:
    from ivy_models.preprocessing.targets import Target
    from ivy_models.tasks.prediction import Predicted

Writer = Callable[[str, "Predicted"], None]
"""Writes the name of a source and what was predicted for it."""


@click.command()
@model_options(None, "image classifier")
@click.argument("data", type=InputPath())
@click.option(
    "--output", type=click.Path(path_type=Path), help="File to write. Default: standard output."
)
@format_options("csv", "jsonl")
@batch_size_from(64)
def predict(load, data: Path, output: Path | None, output_format: str, batch_size: int) -> None:
    """Predict the classes and numbers of DATA with MODEL.

    MODEL is a folder written by `ivy-models train`, or any other model with preprocessing. DATA is
    an image, sound or text, a folder of them, or a table (CSV, JSON lines, Parquet). The output has
    one row for each file, or for each row of a table: its name or number, then the class and its
    probability, or the number, for each target. If a source cannot be read,
    the others are still predicted and the exit code is 1.

    Example: ivy-models predict my_model new_photos --output labels.csv
    """
    from tqdm import tqdm

    from ivy_models.tasks.prediction import predict as predict_each, targets_of

    if output is not None:
        check_output_file(output, data)
    model = load()
    rows = rows_for(model.preprocessing, data)
    targets = targets_of(model)
    found = predict_each(model, each_row(rows, batch_size), batch_size)
    failures = 0
    # Results printed to the same terminal would break the bar.
    hidden = (output is None and sys.stdout.isatty()) or not sys.stderr.isatty()
    opened = (
        nullcontext(sys.stdout)
        if output is None
        else output.open("w", newline="", encoding="utf-8")
    )
    with opened as file, tqdm(total=len(rows), unit="row", disable=hidden) as bar:
        write = WRITERS[output_format](file, targets)
        for index, each in enumerate(found):
            if each.error is not None:
                failures += 1
                tqdm.write(error_line(rows.name(index), each.error), file=sys.stderr)
            write(rows.name(index), each)
            bar.update()
    if failures:
        click.echo(f"{failures} of {len(rows)} sources could not be predicted.", err=True)
        sys.exit(1)


def error_line(name: str, error: Exception) -> str:
    """Name a source in the message about it, if the message does not."""
    name, message = printable(name), printable(str(error))
    return f"Error: {message}" if name in message else f"Error: {name}: {message}"


def csv_writer(file: Any, targets: Sequence[Target]) -> Writer:
    """Write a header, then a row for each source."""
    from ivy_models.preprocessing.targets import ClassTarget

    rows = csv.writer(file, lineterminator="\n")
    header = ["source"]
    for target in targets:
        header.append(target.name)
        if isinstance(target, ClassTarget):
            header.append(f"{target.name} probability")
    rows.writerow(unique([*header, "error"]))

    def write(name: str, each: Predicted) -> None:
        if each.values is None:
            rows.writerow([name, *[""] * (len(header) - 1), each.error])
        else:
            rows.writerow([name, *_cells(each), ""])

    return write


def _cells(each: Predicted) -> Iterator[Any]:
    for value in (each.values or {}).values():
        yield from value if isinstance(value, tuple) else (value,)


def jsonl_writer(file: Any, targets: Sequence[Target]) -> Writer:
    """Write a JSON object for each source."""

    def write(name: str, each: Predicted) -> None:
        fields: dict[str, Any] = {"source": name}
        if each.values is None:
            fields["error"] = str(each.error)
        else:
            fields["values"] = {key: _json_value(value) for key, value in each.values.items()}
        file.write(json.dumps(fields) + "\n")

    return write


def _json_value(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, tuple):
        return {name: _json_value(part) for name, part in value._asdict().items()}  # type: ignore[attr-defined]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unique(names: Sequence[str]) -> list[str]:
    """Append underscores to names that repeat an earlier one."""
    found: list[str] = []
    for name in names:
        while name in found:
            name += "_"
        found.append(name)
    return found


WRITERS: dict[str, Callable[[Any, Sequence[Target]], Writer]] = {
    "csv": csv_writer,
    "jsonl": jsonl_writer,
}
"""Functions that make a writer for a file, by the name of the format."""
