"""``ivy-models flow``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ivy_models.cli.options import InputPath, batch_size_option, model_options
from ivy_models.cli.outputs import check_output_file


@click.command()
@click.argument("first", type=InputPath())
@click.argument("second", type=InputPath())
@click.argument("output", type=click.Path(path_type=Path))
@model_options("perceiver_io_optical_flow", "model of optical flow")
@batch_size_option
def flow(first: Path, second: Path, output: Path, load, batch_size: int) -> None:
    """Write the optical flow from frame FIRST to SECOND to OUTPUT.

    If OUTPUT ends in .flo, it is a Middlebury file; otherwise it is a picture. Large frames are
    cut into tiles, and --batch-size is the number of tiles in a batch.

    Example: ivy-models flow first.png second.png flow.flo --backend torch
    """
    from PIL import Image

    from ivy_models.base.atomic_files import replaced
    from ivy_models.tasks.flow import draw_flow, estimate_flow, read_frames, write_flo

    is_picture = Image.registered_extensions().get(output.suffix.lower()) in Image.SAVE
    if not is_picture and output.suffix.lower() != ".flo":
        raise click.UsageError(
            f"{output} must end in .flo, or in the suffix of a picture such as .png."
        )
    check_output_file(output, first, second)
    frames = read_frames(first, second)
    field = estimate_flow(load(), *frames, progress=sys.stderr.isatty(), batch_size=batch_size)
    if is_picture:
        with replaced(output) as temporary:
            Image.fromarray(draw_flow(field)).save(temporary)
    else:
        write_flo(output, field)
    click.echo(f"{output}: {field.shape[1]} x {field.shape[0]} pixels.")
