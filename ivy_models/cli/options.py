"""Options of the commands that run a model, and loading of that model."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ivy_models.ops import BACKENDS
from ivy_models.transformers.perceiver_io.spec_checks import DTYPES

batch_size_option = click.option(
    "--batch-size",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Batch size.",
)
device_option = click.option(
    "--device", help='Device such as "cpu" or "cuda". Default: the framework\'s.'
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Data type of weights and computation. Default: the model's.",
)


class Size(click.ParamType):
    """Numbers joined by x, such as 384x512."""

    name = "size"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        numbers = value.lower().split("x")
        if not all(number.isdecimal() and int(number) for number in numbers):
            self.fail(f"{value!r} is not a size; write one such as 224 or 384x512.", param, ctx)
        return tuple(map(int, numbers))


size_option = click.option(
    "--size",
    type=Size(),
    help="Size of the data: 224, 384x512 (height x width), or a number of tokens or samples. "
    "Default: the size that the model was trained on.",
)


def model_options(default: str, task: str) -> Callable:
    """Add the options that choose and load a model; the command receives ``load``.

    Parameters
    ----------
    default
        Name of the model.
    task
        Kind of model that the command needs, as in :class:`.Preset`.
    """
    options = [
        click.option(
            "--model",
            default=default,
            show_default=True,
            help="Model name (see `ivy-models list`) or folder.",
        ),
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="Local weights (file or folder) instead of the published ones.",
        ),
        click.option("--backend", default="numpy", show_default=True, type=click.Choice(BACKENDS)),
        device_option,
        dtype_option,
    ]

    def add(command):
        @functools.wraps(command)
        def with_model(model, weights, backend, device, dtype, **named):
            load = functools.partial(_load, task, model, weights, backend, device, dtype)
            return command(load=load, **named)

        for option in reversed(options):
            with_model = option(with_model)
        return with_model

    return add


def _load(
    task: str,
    model: str,
    weights: Path | None,
    backend: str,
    device: str | None,
    dtype: str | None,
) -> Any:
    """Build the model. A model of another kind is refused before its weights are downloaded."""
    from ivy_models.models.presets import PRESETS

    folder = model not in PRESETS and Path(model).is_dir()
    if folder and weights is not None:
        raise click.UsageError(f"{model} is a folder with its own weights: leave out --weights.")
    if model in PRESETS and PRESETS[model].task != task:
        article = "an" if task[0] in "aeiou" else "a"
        raise click.UsageError(f"{model} is not {article} {task}; see `ivy-models list`.")
    use_backend(backend, dtype)
    if folder:
        from ivy_models.shells.ivy import PerceiverIO

        return PerceiverIO.from_pretrained(model, device=device, dtype=dtype)
    from ivy_models.models.factories import create_model

    return create_model(model, pretrained=True, weights=weights, device=device, dtype=dtype)


def use_backend(backend: str, dtype: str | None) -> None:
    """Set Ivy's backend, so that it computes in ``dtype``."""
    if dtype == "float64":
        os.environ["JAX_ENABLE_X64"] = "1"  # read when jax is imported
    from ivy_models.arrays import set_backend

    set_backend(backend)
