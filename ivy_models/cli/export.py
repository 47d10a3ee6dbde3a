"""``ivy-models export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ivy_models.cli.options import ModelName, size_option


@click.command()
@click.argument("model", type=ModelName())
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Local weights (file or folder) of a model of `ivy-models list`, instead of the published "
    "ones.",
)
@size_option
@click.option("--any-size", is_flag=True, help="Accept data of any size.")
@click.option("--batch-size", type=click.IntRange(1), help="Fixed batch size. Default: any.")
@click.option("--mask", is_flag=True, help="Add a mask to the graph's inputs.")
@click.option(
    "--depth",
    type=click.IntRange(1),
    help="Write only the first blocks of the processor: faster, less accurate. Default: all.",
)
def export(
    model: str,
    output: Path,
    weights: Path | None,
    size: tuple[int, ...] | dict[str, tuple[int, ...]] | None,
    any_size: bool,
    batch_size: int | None,
    mask: bool,
    depth: int | None,
) -> None:
    """Write MODEL as the ONNX file OUTPUT.

    ONNX Runtime and other engines execute the file without this library. MODEL is a model name
    (see `ivy-models list`) or a model folder. An existing file is replaced. With a fixed size the
    graph needs less memory and time.

    Example: ivy-models export perceiver_io_digits digits.onnx
    """
    from ivy_models.arrays import set_backend
    from ivy_models.layers.parameters import map_tree
    from ivy_models.models.data_shape import data_shape
    from ivy_models.models.factories import create_model
    from ivy_models.models.presets import PRESETS
    from ivy_models.transformers.perceiver_io import PerceiverIO

    if any_size and size is not None:
        raise click.UsageError("Pass --size or --any-size, not both.")
    if model not in PRESETS and weights is not None:
        raise click.UsageError(f"{model} is a folder with its own weights: leave out --weights.")
    set_backend("numpy")
    if model in PRESETS:
        loaded = create_model(model, pretrained=True, weights=weights)
    else:
        loaded = PerceiverIO.from_pretrained(model)
    shape: Any
    fills_masks = loaded.tokenizer is not None and loaded.preprocessing is None
    if any_size or (size is None and fills_masks):  # it is given texts as they are, unpadded
        shape = loaded.spec.input().open_shape()
    else:
        shape = data_shape(loaded.spec, loaded.preprocessing, size)
    if isinstance(shape, dict):
        shape = map_tree(lambda sizes: (batch_size, *sizes), shape)
    else:
        shape = (batch_size, *shape)
    loaded.to_onnx(output, shape, mask=mask, depth=depth)
    click.echo(f"{output}: {output.stat().st_size / 1e6:,.1f} MB.")
