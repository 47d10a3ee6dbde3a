"""``ivy-models convert``."""

from __future__ import annotations

from pathlib import Path

import click

from ivy_models.cli.options import ModelName


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=ModelName(),
    help="Model that SOURCE has weights for, if SOURCE is a file (see `ivy-models list`).",
)
@click.option(
    "--layout",
    default="native",
    show_default=True,
    type=click.Choice(["native", "huggingface"]),
    help="Layout of OUTPUT: this library's (native) or that of transformers (huggingface).",
)
def convert(source: Path, output: Path, model: str | None, layout: str) -> None:
    """Read a model from SOURCE and write it as the folder OUTPUT.

    SOURCE is a folder written by this library or by transformers, or a weights file: a pickle
    of the original implementation, or a .safetensors file with this library's names. A model that
    is already in OUTPUT is replaced.

    Example: ivy-models convert my_model for_transformers --layout huggingface
    """
    from ivy_models.arrays import set_backend
    from ivy_models.models.factories import create_model
    from ivy_models.transformers.perceiver_io import PerceiverIO

    if not source.is_dir() and model is None:
        raise click.UsageError(f"{source} is not a folder: name its model with --model.")
    if source.is_dir() and model is not None:
        raise click.UsageError(f"{source} already describes its model: leave out --model.")
    set_backend("numpy")
    if model is None:
        converted = PerceiverIO.from_pretrained(source)
    else:
        converted = create_model(model, weights=source)
    converted.save_pretrained(output, layout)
    click.echo(f"{output}: {converted.num_parameters:,} parameters.")
