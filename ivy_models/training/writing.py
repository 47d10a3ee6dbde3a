"""What a run writes and shows: checkpoints, records, progress."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ivy_models.errors import TrainingError
from ivy_models.training import checkpoint
from ivy_models.training.progress import Progress
from ivy_models.training.records import Records

CHECKPOINT_SECONDS = 60.0
"""Time between two checkpoints. There is also one at the end and on Ctrl-C."""

Results = dict[str, float]
"""A row of the history: "epoch", "step", "learning_rate", "loss" (the mean of the epoch) and the
results of the validation, such as "validation_loss"."""


class Writer:
    """Writes and shows what a run does.

    Parameters
    ----------
    folder
        The run's folder.
    validation
        Names of the validation's results.
    steps, done
        Number of steps of the whole run, and of those that it has made.
    clear
        As in :func:`.fit`.

    Raises
    ------
    TrainingError
        If the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        validation: Sequence[str],
        steps: int,
        done: int,
        clear: Callable[[], None] | None = None,
    ):
        self.folder, self.clear = folder, clear
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()  # before the first step, not after it
        self.open_records = functools.partial(Records, folder, validation, done)
        self.records: Records | None = None
        self.progress = Progress(steps, done)
        self.saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self.saved_at >= CHECKPOINT_SECONDS

    def step(self, row: Results, save: Callable[[], None] | None) -> None:
        """Add the row of a step, and write a checkpoint by ``save``, if it is given."""
        self.progress.step(row["loss"], row["learning_rate"])
        with _explained(self.folder):
            if self.records is None:
                if self.clear is not None:
                    self.clear()
                self.records = self.open_records()
            self.records.add(row)
            if save is not None:
                self.records.flush()  # first, so that no row up to the checkpoint is missing
                save()
                self.saved_at = time.monotonic()

    def epoch(self, results: Results, is_best: bool) -> None:
        """Show the results of an epoch."""
        self.progress.epoch(results, is_best)

    def close(self) -> None:
        self.progress.close()
        if self.records is not None:
            self.records.close()


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Explain why the files of a run cannot be written."""
    try:
        yield
    except OSError as error:
        kept = ""
        if (folder / checkpoint.FILE).exists():
            kept = " It can be resumed from its last complete checkpoint."
        raise TrainingError(
            f"The run cannot write to {folder}: {error.strerror or error}.{kept}"
        ) from error
