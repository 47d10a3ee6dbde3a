"""A run's metrics: a CSV file with a row for each step, and a picture of the loss."""

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure


class Row(NamedTuple):
    step: int
    epoch: int
    learning_rate: float
    loss: float


class Metrics:
    """A CSV file to append rows to. Existing rows from ``step`` on are dropped first."""

    def __init__(self, path: Path, step: int):
        kept = [row for row in read(path) if row.step < step] if step else []
        temporary = path.with_suffix(".writing")
        with temporary.open("w", newline="") as file:
            csv.writer(file).writerows([Row._fields, *kept])
        os.replace(temporary, path)
        self._file = path.open("a", newline="")
        self._writer = csv.writer(self._file)

    def add(self, row: Row) -> None:
        self._writer.writerow(row)

    def flush(self) -> None:
        self._file.flush()

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()


def read(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [
            Row(int(step), int(epoch), float(lr), float(loss)) for step, epoch, lr, loss in rows
        ]


def draw(rows: list[Row], path: Path) -> None:
    """Draw the loss of each step and its mean over each epoch."""
    steps, epochs, _, losses = (np.array(column) for column in zip(*rows, strict=True))
    means = [
        (steps[epochs == epoch].mean(), losses[epochs == epoch].mean()) for epoch in set(epochs)
    ]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, linewidth=0.3, label="each step")
    axes.plot(*zip(*sorted(means), strict=True), label="mean of an epoch")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    figure.savefig(path, dpi=150)
