"""The output folder of a training run: what may be there, who writes there, and what is removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from ivy_models.base.atomic_files import PREFIX, remove_incomplete
from ivy_models.checkpoints.folder import SPEC_FILE, WEIGHTS_FILE
from ivy_models.training import checkpoint, records
from ivy_models.training.report import write

RUN_FILES = (
    records.FILE,
    records.EVENTS,
    checkpoint.FILE,
    SPEC_FILE,
    WEIGHTS_FILE,
    write.CARD,
    f"{write.FOLDER}/*",
)
"""What --overwrite removes."""


def check_output(output: Path, data: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a folder with files of something else, before the data are read."""
    if data.is_dir() and output.resolve().is_relative_to(data.resolve()):
        raise click.UsageError(
            f"{output} is inside {data}, so its files would become data. Name a folder outside."
        )
    if resume and overwrite:
        raise click.UsageError(
            "--overwrite deletes the run that --resume and --finish need. Choose one of them."
        )
    if output.exists() and not output.is_dir():
        raise click.UsageError(f"{output} is a file. Name a folder.")
    if not output.is_dir():
        return
    if not os.access(output, os.W_OK):
        raise click.UsageError(f"{output} cannot be written: permission denied.")
    if all(path.name.startswith(PREFIX) for path in output.iterdir()):
        return  # empty, or a run was killed before its first file
    if not (output / records.FILE).exists():
        raise click.UsageError(
            f"{output} is not empty and has no training run. Name another folder."
        )
    if not (resume or overwrite):
        raise click.UsageError(
            f"{output} has a training run. Continue it with --resume, replace it with --overwrite, "
            "or name another folder."
        )


@contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """Hold the output folder, so that no second run writes there at the same time."""
    try:
        import fcntl
    except ImportError:  # on Windows
        yield
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(output, os.O_RDONLY)
    except OSError as error:
        raise click.UsageError(f"{output} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise click.ClickException(
            f"Another run writes to {output} at this moment. Wait, or name another folder."
        ) from error
    except OSError:  # a file system without locks
        pass
    try:
        remove_incomplete(output)
        yield
    finally:
        with suppress(OSError):  # it has files
            output.rmdir()
        os.close(descriptor)


def remove_run(output: Path) -> None:
    for pattern in RUN_FILES:
        for file in output.glob(pattern):
            if file.is_file():
                file.unlink()
