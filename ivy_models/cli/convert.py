"""``ivy-models convert``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ivy_models.cli.options import ModelName


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=ModelName(),
    help="Model whose weights are in SOURCE, if SOURCE is a file (see `ivy-models list`).",
)
@click.option(
    "--perceiver-pytorch",
    "arguments",
    metavar="JSON",
    help="Constructor arguments of the perceiver-pytorch model whose weights are in SOURCE, such "
    'as \'{"depth": 6, "dim": 32, "queries_dim": 32}\'.',
)
@click.option(
    "--layout",
    default="native",
    show_default=True,
    type=click.Choice(["native", "huggingface"]),
    help="Layout of OUTPUT: this library's (native) or that of transformers (huggingface).",
)
@click.option("--half", is_flag=True, help="Write the weights in float16, which halves the size.")
def convert(
    source: Path, output: Path, model: str | None, arguments: str | None, layout: str, half: bool
) -> None:
    """Read a model from SOURCE and write it as the folder OUTPUT.

    SOURCE is a folder written by this library or by transformers, or a weights file: a pickle
    of the original implementation, a .safetensors file with this library's names, or a .pt or
    .safetensors file of perceiver-pytorch. An existing model in OUTPUT is replaced.

    Example: ivy-models convert my_model for_transformers --layout huggingface
    """
    from ivy_models.arrays import set_backend
    from ivy_models.models.factories import create_model
    from ivy_models.transformers.perceiver_io import PerceiverIO

    if model is not None and arguments is not None:
        raise click.UsageError("Pass --model or --perceiver-pytorch, not both.")
    described = model is not None or arguments is not None
    if not source.exists() and not described:
        raise click.UsageError(f"There is no file or folder {source}.")
    if not source.is_dir() and not described:
        raise click.UsageError(
            f"{source} is a file, which does not describe its model: name the model with --model, "
            "or pass its constructor arguments with --perceiver-pytorch."
        )
    if source.is_dir() and described:
        raise click.UsageError(
            f"{source} already describes its model: leave out --model and --perceiver-pytorch."
        )
    set_backend("numpy")
    if arguments is not None:
        converted = PerceiverIO.from_perceiver_pytorch(source, **_parsed(arguments))
    elif model is None:
        converted = PerceiverIO.from_pretrained(source)
    else:
        converted = create_model(model, weights=source)
    converted.save_pretrained(output, layout, half)
    click.echo(f"{output}: {converted.num_parameters:,} parameters.")


def _parsed(arguments: str) -> dict[str, Any]:
    try:
        parsed = json.loads(arguments)
    except ValueError as error:
        raise click.UsageError(f"--perceiver-pytorch is not JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise click.UsageError(
            "--perceiver-pytorch must be a JSON object that maps argument names to values."
        )
    return parsed
