"""``ivy-models video``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ivy_models.cli.options import InputPath, model_options
from ivy_models.cli.outputs import check_output_file


@click.command()
@click.argument("clip", type=InputPath())
@click.argument("output", type=click.Path(path_type=Path))
@model_options("perceiver_io_video", "autoencoder of video", engines=False)
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(1), help="Number of labels."
)
def video(clip: Path, output: Path, load, top: int) -> None:
    """Write the autoencoder's reconstruction of a video.

    CLIP and OUTPUT are video files. Prints the most probable labels of the clip, with their
    probabilities.

    Example: ivy-models video clip.mp4 reconstruction.mp4 --backend torch
    """
    from ivy_models.preprocessing.video import check_video_name, write_video
    from ivy_models.tasks.video import prepare_clip, reconstruct

    check_video_name(output)
    check_output_file(output, clip)
    # Before the weights are downloaded, so that a clip that cannot be used is refused first.
    data = prepare_clip(load.preprocessing(), clip)
    reconstruction = reconstruct(load(), data, top, progress=sys.stderr.isatty())
    write_video(output, reconstruction.frames, reconstruction.sound)
    click.echo(f"{output}: {len(reconstruction.frames)} frames.")
    for label, probability in reconstruction.predictions:
        click.echo(f"  {probability:6.1%}  {label}")
