"""What ``ivy-models train`` says: the data, the model, the result, and the command of the run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ivy_models.cli.described import target_text
from ivy_models.cli.tables import left_table
from ivy_models.errors import printable
from ivy_models.layers.parameters import count
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

if TYPE_CHECKING:
    from ivy_models.datasets import TrainingData
    from ivy_models.training.loop import Fitted
    from ivy_models.transformers.perceiver_io import PerceiverIO


def recognised(data: Path, examples: TrainingData) -> Iterator[str]:
    """Say what was recognised in the data."""
    yield f"Data: {data}"
    rows = [
        ("target" if column.is_target else "", column.name, column.kind, column.detail)
        for column in examples.columns
    ]
    yield left_table([("", "column", "kind", "found"), *rows])
    yield f"{len(examples.train):,} examples to train, {len(examples.validation):,} to validate"
    for warning in examples.warnings:
        yield f"Warning: {printable(warning)}"


def described(model: PerceiverIO, settings: Any) -> Iterator[str]:
    """Say which model is trained, and how."""
    spec = model.spec
    yield ""
    yield f"Model: {count(PerceiverIOCore(spec).parameters()):,} parameters"
    yield f"  inputs     {', '.join(inputs_of(spec))}"
    yield (
        f"  latents    {spec.num_latents} of {spec.latent_dim} channels, "
        f"{spec.network_depth} x {spec.num_lat_att_per_layer} layers"
    )
    yield f"  output     {', '.join(map(target_text, model.targets or ()))}"
    epochs = "1 epoch" if settings.epochs == 1 else f"{settings.epochs:g} epochs"
    yield (
        f"Training: {settings.backend}, {epochs}, batches of "
        f"{settings.batch_size}, learning rate {settings.learning_rate:g}, seed {settings.seed}"
    )


def inputs_of(spec: Any) -> Iterator[str]:
    """Name each modality with its stem or patches."""
    for part in spec.input_modalities or (spec,):
        name = getattr(part, "name", "data")
        if part.vocabulary_size is not None:
            yield f"{name} (tokens)"
        elif part.stem is not None:
            yield f"{name} (stem {part.stem})"
        elif part.patch_shape is not None:
            yield f"{name} (patches {' x '.join(map(str, part.patch_shape))})"
        else:
            yield name


def finished(fitted: Fitted) -> Iterator[str]:
    """Say how good the best epoch is."""
    from ivy_models.training.measures import validation_text

    best = fitted.best
    yield ""
    yield f"Best epoch: {best['epoch']:g} of {len(fitted.history)}: {validation_text(best)}"


def next_steps(output: Path, examples: TrainingData) -> Iterator[str]:
    """Say where the result is and what takes it."""
    folder = shlex.quote(str(output))
    yield f"{output} has the model, its card README.md and a report."
    yield f"  ivy-models predict {folder} NEW_DATA     # predictions as CSV"
    yield f"  ivy-models evaluate {folder} OTHER_DATA  # metrics on data with known targets"


def command_of(ctx: click.Context) -> str:
    """The command line, with the options that are not defaults."""
    words = [f"ivy-models {ctx.info_name}"]
    for param in ctx.command.params:
        value = ctx.params[str(param.name)]
        source = ctx.get_parameter_source(str(param.name))
        if source is not click.core.ParameterSource.COMMANDLINE or param.name in RUN_OPTIONS:
            continue
        if isinstance(param, click.Argument):
            words.append(_word(value))
        elif isinstance(param, click.Option) and param.is_flag:
            words.append(param.opts[0] if value else param.secondary_opts[0])
        else:
            words += [f"{param.opts[0]} {_word(v)}" for v in (value if param.multiple else [value])]
    return " ".join(words)


RUN_OPTIONS = ("resume", "finish", "overwrite")
"""Options that change nothing of the result."""


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        value = "=".join(value)
    return shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))
