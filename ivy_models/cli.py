"""The command line, ``ivy-models``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ivy_models import __version__
from ivy_models.errors import IvyModelsError
from ivy_models.ops import BACKENDS


class _Group(click.Group):
    """Prints this library's errors as one message, without a traceback."""

    def invoke(self, context: click.Context):
        try:
            return super().invoke(context)
        except IvyModelsError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Perceiver IO models on NumPy, PyTorch, JAX and TensorFlow."""


@main.command("list")
@click.argument("pattern", default="*")
def list_command(pattern: str) -> None:
    """List the models whose names match PATTERN, such as "*imagenet*"."""
    from ivy_models import list_models
    from ivy_models.transformers.perceiver_io.presets import PRESETS

    for name in list_models(pattern):
        click.echo(f"{name:<32} {PRESETS[name].description}")


def _model_options(default: str):
    """The options of every command that runs a model."""
    options = [
        click.option("--model", default=default, show_default=True, help="See `list`."),
        click.option("--weights", type=click.Path(path_type=Path), help="A local file or folder."),
        click.option("--backend", default="numpy", show_default=True, type=click.Choice(BACKENDS)),
        click.option("--device", help='Such as "cpu" or "cuda"; default: the framework\'s.'),
    ]

    def add(command):
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _check_task(model: str, task: str) -> None:
    """Refuse a model that is not made for the command, before its weights are downloaded."""
    from ivy_models.transformers.perceiver_io.presets import PRESETS

    if model in PRESETS and PRESETS[model].task != task:
        raise click.UsageError(f"{model} is no {task}; see `ivy-models list`.")


@main.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@_model_options(default="perceiver_io_digits")
@click.option(
    "--top", default=3, show_default=True, type=click.IntRange(1), help="Labels an image."
)
def classify(
    images: tuple[Path, ...],
    model: str,
    weights: Path | None,
    backend: str,
    device: str | None,
    top: int,
) -> None:
    """Print the most probable labels of IMAGES, with their probabilities.

    One image that cannot be read does not stop the others; the exit code is then 1.
    """
    from ivy_models.backend import set_backend
    from ivy_models.classification import classify as classify_image
    from ivy_models.errors import InputError
    from ivy_models.transformers.perceiver_io.factories import create_model

    _check_task(model, "image classifier")
    set_backend(backend)
    classifier = create_model(model, pretrained=True, weights=weights, device=device)
    failures = 0
    for image in images:
        try:
            predictions = classify_image(classifier, image, top)
        except InputError as error:
            failures += 1
            click.echo(f"Error: {error}", err=True)
            continue
        click.echo(f"{image}:")
        for label, probability in predictions:
            click.echo(f"  {probability:6.1%}  {label}")
    if failures:
        click.echo(f"{failures} of {len(images)} images could not be classified.", err=True)
        sys.exit(1)


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--model", help="What SOURCE holds the weights of, where it is a file; see `list`.")
@click.option(
    "--layout",
    default="native",
    show_default=True,
    type=click.Choice(["native", "huggingface"]),
    help="Of OUTPUT: this library's, or that of transformers.",
)
def convert(source: Path, output: Path, model: str | None, layout: str) -> None:
    """Read a model from SOURCE and write it as the folder OUTPUT.

    SOURCE is a folder of this library or of transformers, or a file of weights: one of the
    original implementation, or .safetensors with this library's names.
    """
    from ivy_models.backend import set_backend
    from ivy_models.transformers.perceiver_io import PerceiverIO
    from ivy_models.transformers.perceiver_io.factories import create_model

    if not source.is_dir() and model is None:
        raise click.UsageError(f"{source} is no folder: say whose weights it has by --model.")
    if source.is_dir() and model is not None:
        raise click.UsageError(f"{source} says itself what model it is; leave out --model.")
    set_backend("numpy")
    if model is None:
        converted = PerceiverIO.from_pretrained(source)
    else:
        converted = create_model(model, weights=source)
    converted.save_pretrained(output, layout)
    click.echo(f"{output}: {converted.num_parameters:,} parameters.")


@main.command("fill-mask")
@click.argument("text")
@_model_options(default="perceiver_io_language")
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(1), help="Candidates a mask."
)
@click.option(
    "--length", default=1, show_default=True, type=click.IntRange(1), help="Bytes a mask."
)
def fill_mask(
    text: str,
    model: str,
    weights: Path | None,
    backend: str,
    device: str | None,
    top: int,
    length: int,
) -> None:
    """Print the most probable texts for each [MASK] in TEXT, with their probabilities."""
    from ivy_models.backend import set_backend
    from ivy_models.language import fill_mask as candidates_for
    from ivy_models.transformers.perceiver_io.factories import create_model

    _check_task(model, "language model")
    set_backend(backend)
    language_model = create_model(model, pretrained=True, weights=weights, device=device)
    for number, candidates in enumerate(candidates_for(language_model, text, top, length), 1):
        click.echo(f"[MASK] {number}:")
        for candidate, probability in candidates:
            click.echo(f"  {probability:6.1%}  {candidate!r}")


@main.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@_model_options(default="perceiver_io_optical_flow")
def flow(
    first: Path,
    second: Path,
    output: Path,
    model: str,
    weights: Path | None,
    backend: str,
    device: str | None,
) -> None:
    """Write the optical flow from the frame FIRST to the frame SECOND to OUTPUT.

    A name that ends in .flo gives a Middlebury file, any other a picture.
    """
    from PIL import Image

    from ivy_models.backend import set_backend
    from ivy_models.flow import draw_flow, estimate_flow, write_flo
    from ivy_models.transformers.perceiver_io.factories import create_model

    is_picture = output.suffix.lower() in Image.registered_extensions()
    if not is_picture and output.suffix.lower() != ".flo":
        raise click.UsageError(f"{output} ends neither in .flo nor as a picture does, as .png.")
    if not output.resolve().parent.is_dir():
        raise click.UsageError(f"There is no folder {output.resolve().parent}.")
    _check_task(model, "model of optical flow")
    set_backend(backend)
    flow_model = create_model(model, pretrained=True, weights=weights, device=device)
    field = estimate_flow(flow_model, first, second, progress=True)
    if is_picture:
        Image.fromarray(draw_flow(field)).save(output)
    else:
        write_flo(output, field)
    click.echo(f"{output}: {field.shape[1]} x {field.shape[0]} pixels.")


@main.command()
@click.argument("clip", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@_model_options(default="perceiver_io_video")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Labels.")
def video(
    clip: Path,
    output: Path,
    model: str,
    weights: Path | None,
    backend: str,
    device: str | None,
    top: int,
) -> None:
    """Write what the autoencoder makes of the video file CLIP to the video file OUTPUT.

    Prints the most probable labels of the clip, with their probabilities.
    """
    from ivy_models.backend import set_backend
    from ivy_models.preprocessing import write_video
    from ivy_models.transformers.perceiver_io.factories import create_model
    from ivy_models.video import reconstruct_video

    if not output.resolve().parent.is_dir():
        raise click.UsageError(f"There is no folder {output.resolve().parent}.")
    _check_task(model, "autoencoder of video")
    set_backend(backend)
    autoencoder = create_model(model, pretrained=True, weights=weights, device=device)
    reconstruction = reconstruct_video(autoencoder, clip, top=top, progress=True)
    write_video(output, reconstruction.frames, reconstruction.sound)
    click.echo(f"{output}: {len(reconstruction.frames)} frames.")
    for label, probability in reconstruction.predictions:
        click.echo(f"  {probability:6.1%}  {label}")
