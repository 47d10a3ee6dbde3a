"""``ivy-models evaluate``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ivy_models.cli.model_data import each_row, rows_for
from ivy_models.cli.options import InputPath, batch_size_from, model_options
from ivy_models.cli.predict import error_line
from ivy_models.errors import printable, shown

if TYPE_CHECKING:
    from ivy_models.datasets.rows import Rows
    from ivy_models.preprocessing.targets import Target

MANY = 20
"""Most classes for which the confusion matrix is printed."""


@click.command()
@model_options(None, "image classifier")
@click.argument("data", type=InputPath())
@click.option(
    "--target",
    "names",
    multiple=True,
    help="Target to evaluate. Repeat for several. Default: all targets of the model.",
)
@batch_size_from(64)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
def evaluate(load, data: Path, names: tuple[str, ...], batch_size: int, as_json: bool) -> None:
    """Compare MODEL's predictions with known targets.

    DATA is a folder with a subfolder for each class, or a table that has the target's column. For a
    class the output is accuracy, F1 and the confusion matrix; for a number, the mean absolute
    error, the root mean squared error and R2. Sources that cannot be read, and those
    whose class the model does not have, are left out; the exit code is then 1.

    Example: ivy-models evaluate my_model held_out_photos
    """
    from tqdm import tqdm

    from ivy_models.tasks.prediction import predict, targets_of
    from ivy_models.training.report.metrics import (
        check_known,
        predicted_value,
        target_metrics,
        true_values,
    )

    model = load()
    rows = rows_for(model.preprocessing, data)
    targets = _chosen(targets_of(model), names)
    true, is_complete = {}, True
    for target in targets:
        values = _values(target, rows, data)
        true[target.name] = true_values(target, values)
        sentences, some = _left_out(target, values, true[target.name])
        is_complete = is_complete and not some
        for sentence in sentences:
            click.echo(f"Warning: {printable(sentence)}", err=True)
        check_known(target, true[target.name])
    predicted: dict[str, list[float]] = {target.name: [] for target in targets}
    usable = []
    found = predict(model, each_row(rows, batch_size), batch_size)
    for index, each in enumerate(
        tqdm(found, total=len(rows), unit="row", disable=not sys.stderr.isatty())
    ):
        if each.error is not None:
            tqdm.write(error_line(rows.name(index), each.error), file=sys.stderr)
            continue
        assert each.values is not None
        usable.append(index)
        for target in targets:
            predicted[target.name].append(predicted_value(target, each.values[target.name]))
    import numpy as np

    metrics = {
        target.name: target_metrics(
            target, true[target.name][usable], np.array(predicted[target.name])
        )
        for target in targets
    }
    click.echo(json.dumps(metrics, indent=2) if as_json else "\n\n".join(paragraphs(metrics)))
    if failures := len(rows) - len(usable):
        click.echo(f"{failures} of {len(rows)} sources could not be predicted.", err=True)
    if failures or not is_complete:
        sys.exit(1)


def _chosen(targets: Sequence[Target], names: Sequence[str]) -> list[Target]:
    from ivy_models.preprocessing.table.cells import composed

    known = [target.name for target in targets]
    names = [composed(name) for name in names]  # as columns are named
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(
            f"The model has no target {unknown[0]!r}; it predicts {', '.join(known)}."
        )
    return [target for target in targets if not names or target.name in names]


def _values(target: Target, rows: Rows, data: Path) -> list[Any]:
    """The values of a target in all rows."""
    from ivy_models.errors import InputError

    if target.name not in rows.columns:
        names = ", ".join(rows.columns)
        has = f"Its columns are {names}" if names else "It has no subfolders"
        raise InputError(
            f"{data} has no values of the target {target.name!r} to compare with. {has}."
        )
    return rows.column(target.name)


def _left_out(target: Target, values: Sequence[Any], true: Any) -> tuple[list[str], bool]:
    """Sentences about rows without a truth, and whether some of these have another value."""
    from ivy_models.datasets.files import named
    from ivy_models.preprocessing.table.cells import is_missing
    from ivy_models.preprocessing.targets import ClassTarget, is_known

    unknown = [v for v, known in zip(values, is_known(target, true), strict=True) if not known]
    others = Counter(str(value) for value in unknown if not is_missing(value))
    sentences = []
    if missing := len(unknown) - others.total():
        said = f"without a value of {target.name!r}: {missing:,} of {len(values):,} rows"
        sentences.append(f"Left out, {said}.")
    if others:
        has = "the model has no such class" if isinstance(target, ClassTarget) else "not a number"
        listed = named([f"{shown(value)} ({count:,})" for value, count in others.most_common()])
        said = f"{others.total():,} of {len(values):,} rows, {target.name} {listed}"
        sentences.append(f"Left out, because {has}: {said}.")
    return sentences, bool(others)


def paragraphs(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the metrics of each target as a paragraph."""
    from ivy_models.cli.tables import table
    from ivy_models.training.report.metrics import summary

    for name, found in metrics.items():
        rows = [(name, f"{found['examples']:,} examples"), *summary(found)]
        yield table([(f"  {a}" if i else a, b) for i, (a, b) in enumerate(rows)])
        if found["kind"] == "class":
            yield _classes(found)


def _classes(found: Mapping[str, Any]) -> str:
    """F1 of each class, and beside it the number of examples by predicted class."""
    from ivy_models.cli.tables import table

    labels = found["labels"]
    shown = labels if len(labels) <= MANY else []
    rows = [("true class", "F1", "examples", *(f"as {label}" for label in shown))]
    for label, row in zip(labels, found["confusion"], strict=True):
        f1 = found["f1"][label]
        counts = (f"{n:,}" for n in row[: len(shown)])
        rows.append((label, "" if f1 is None else f"{f1:.3f}", f"{sum(row):,}", *counts))
    return table(rows)
