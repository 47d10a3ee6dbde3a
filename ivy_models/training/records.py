"""Records of a run: metrics.csv with a row for each step, and events for TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ivy_models.base.atomic_files import replaced

FILE = "metrics.csv"

EVENTS = "events.out.tfevents.*"
"""Pattern of the names of TensorBoard's event files."""

STEP = ("step", "epoch", "learning_rate", "loss")
"""Columns of every row. Rows of the last step of an epoch also have the validation's results."""


class Records:
    """Files to which a run adds its metrics. Rows of steps that a resumed run repeats are dropped.

    Parameters
    ----------
    folder
        The folder of the run.
    validation
        Names of the validation's results.
    done
        Number of steps that the run has made. Steps are counted from 1.
    """

    def __init__(self, folder: Path, validation: Sequence[str], done: int):
        path, self.columns = folder / FILE, [*STEP, *(f"validation_{name}" for name in validation)]
        kept = [row for row in read_records(path) if int(row["step"]) <= done] if done else []
        with replaced(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, self.columns)
        self._events = _events(folder, done)

    def add(self, row: Mapping[str, float]) -> None:
        """Add a row, a value for each of some columns."""
        self._writer.writerow(row)
        if self._events is not None:
            self._events.add(row)

    def flush(self) -> None:
        self._file.flush()
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Close the files. Rows since the last flush may be lost if the disk is full."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.close()


def read_records(path: Path) -> list[dict[str, str]]:
    """The complete rows of a run's metrics.csv, as texts by column.

    A killed run may leave a part of a row at the end.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


class _Events:
    """An event file of TensorBoard."""

    def __init__(self, folder: Path, done: int):
        # Their annotations are incomplete, and TensorBoard is optional.
        protos = "tensorboard.compat.proto"
        events: Any = import_module(f"{protos}.event_pb2")
        summaries: Any = import_module(f"{protos}.summary_pb2")
        records: Any = import_module("tensorboard.summary.writer.record_writer")
        self._event, self._summary = events.Event, summaries.Summary
        name = EVENTS.replace("*", f"{time.time_ns() // 1000:016}.{done}")
        self._writer = records.RecordWriter((folder / name).open("wb"))
        self._write(self._event(file_version="brain.Event:2"))
        # TensorBoard then forgets later steps of the run's earlier files.
        start = events.SessionLog(status=events.SessionLog.START)
        self._write(self._event(session_log=start, step=done))

    def add(self, row: Mapping[str, float]) -> None:
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name not in ("step", "epoch")
        ]
        self._write(self._event(step=int(row["step"]), summary=self._summary(value=values)))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _events(folder: Path, done: int) -> _Events | None:
    """An event file, if TensorBoard is installed."""
    try:
        return _Events(folder, done)
    except ImportError:
        return None
