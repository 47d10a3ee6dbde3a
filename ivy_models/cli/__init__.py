"""The command line, ``ivy-models``: a group of commands, one in each file.

A command imports everything but click when it runs, so that ``--help`` is fast.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Any, TextIO

import click

from ivy_models import __version__
from ivy_models.cli.benchmark import benchmark
from ivy_models.cli.classify import classify
from ivy_models.cli.convert import convert
from ivy_models.cli.demo import demo
from ivy_models.cli.evaluate import evaluate
from ivy_models.cli.exit_codes import INTERRUPTED
from ivy_models.cli.export import export
from ivy_models.cli.fill_mask import fill_mask
from ivy_models.cli.flow import flow
from ivy_models.cli.info import info
from ivy_models.cli.language import language
from ivy_models.cli.listing import list_command
from ivy_models.cli.predict import predict
from ivy_models.cli.train import train
from ivy_models.cli.verify import verify
from ivy_models.cli.video import video
from ivy_models.errors import IvyModelsError, printable


class _Group(click.Group):
    """Prints errors as one message, without a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        _replace_closed_streams()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in CANNOT_WRITE or error.filename is not None:
                raise
            with contextlib.suppress(OSError):  # stderr may be as full as stdout
                click.echo(f"Error: the output cannot be written: {error.strerror}.", err=True)
            _discard_unwritten(sys.stdout)
            sys.exit(1)
        finally:
            _discard_unwritten(sys.stderr)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except IvyModelsError as error:
            lines = map(printable, str(error).splitlines())
            raise click.ClickException("\n".join(lines)) from error
        except OSError as error:
            if error.filename is None:
                raise  # of stdout or stderr, or a bug
            raise click.ClickException(f"{error.filename}: {error.strerror}.") from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(INTERRUPTED)


CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write to stdout or stderr; click handles a closed pipe (EPIPE)."""


def _discard_unwritten(stream: TextIO) -> None:
    """Redirect a stream that cannot be written, whose flush at exit would change the exit code."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _replace_closed_streams() -> None:
    """Discard the output to a closed stdout or stderr (``>&-``).

    Python sets such a stream to None, which libraries do not expect, and the next file that is
    opened would get its descriptor.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  open until the end


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Perceiver IO models on NumPy, PyTorch, JAX, TensorFlow and Paddle.

    The exit code is 0 on success, 1 if something failed, and 2 if the command line is wrong.
    """


COMMANDS = (
    list_command,
    info,
    train,
    classify,
    predict,
    evaluate,
    language,
    fill_mask,
    flow,
    video,
    demo,
    convert,
    export,
    benchmark,
    verify,
)
for command in COMMANDS:
    main.add_command(command)
