"""Drawings of a trained model's results, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.errors import not_installed
from ivy_models.interpret.drawing import BLUE, ORANGE
from ivy_models.training.records import read_records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LABELS = 30
"""Most classes whose names and counts are written into the confusion matrix."""

MOST_POINTS = 5000
"""Most points of a drawing."""


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of this size in inches, which pyplot neither shows nor keeps.

    Raises
    ------
    BackendError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise not_installed("Drawings need", error, "plot") from error
    return Figure(figsize=(width, height), layout="constrained")


def draw_confusion(metrics: Mapping[str, Any]) -> Figure:
    """Draw the confusion matrix of :func:`.target_metrics`, each row as shares of its class."""
    counts, labels = np.array(metrics["confusion"]), metrics["labels"]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(12.0, 3 + 0.5 * len(labels))
    figure = new_figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares, "Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(labels) <= MOST_LABELS:
        places = range(len(labels))
        axes.set_xticks(places, map(_plain, labels), rotation=45, ha="right")
        axes.set_yticks(places, map(_plain, labels))
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour)
    return figure


def draw_numbers(name: str, true: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw predicted numbers (n,) against true ones, with the line where they agree."""
    figure = new_figure(5, 5)
    axes = figure.subplots()
    known = np.flatnonzero(np.isfinite(true))
    known = known[np.unique(np.linspace(0, len(known) - 1, MOST_POINTS).astype(int))]
    true, predicted = true[known], predicted[known]
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(ends, ends, color=ORANGE, linewidth=1)
    axes.plot(true, predicted, ".", color=BLUE, markersize=4, alpha=0.6)
    axes.set(xlabel=f"true {_plain(name)}", ylabel=f"predicted {_plain(name)}")
    return figure


def draw_curve(path: Path, metric: str) -> Figure:
    """Draw the losses of a run, and below them a result of the validation.

    Parameters
    ----------
    path
        The run's metrics.csv.
    metric
        Name of the result, such as "accuracy".
    """
    rows = read_records(path)
    figure = new_figure(7, 6)
    losses, results = figure.subplots(2, 1, sharex=True)
    losses.plot(*_points(rows, "loss"), color=BLUE, linewidth=0.6, label="training")
    losses.plot(*_points(rows, "validation_loss"), color=ORANGE, label="validation")
    losses.set(ylabel="loss")
    losses.legend()
    results.plot(*_points(rows, f"validation_{metric}"), color=ORANGE)
    results.set(xlabel="step", ylabel=f"validation {_plain(metric).replace('_', ' ')}")
    return figure


def _points(rows: list[dict[str, str]], column: str) -> tuple[list[int], list[float]]:
    chosen = [row for row in rows if row.get(column)]
    return [int(row["step"]) for row in chosen], [float(row[column]) for row in chosen]


def _plain(text: str) -> str:
    """Text without formulas, which matplotlib draws between dollar signs."""
    return text.replace("$", r"\$")
