"""``ivy-models train``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ivy_models.cli.exit_codes import INTERRUPTED
from ivy_models.cli.groups import GroupedCommand, options_under
from ivy_models.cli.options import ADDRESS, InputPath
from ivy_models.training.settings import BACKENDS

if TYPE_CHECKING:
    from ivy_models.datasets import TrainingData
    from ivy_models.transformers.perceiver_io import PerceiverIO

general, data_option, model_option, training_option = map(
    options_under, ("Output", "Data", "Model", "Training")
)


class NamedKind(click.ParamType):
    """A column's name and its kind, such as city=category."""

    name = "name=kind"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        name, equals, kind = value.rpartition("=")
        if not (name and equals and kind):
            self.fail(f"{value!r} is not NAME=KIND, such as city=category.", param, ctx)
        return name, kind


@click.command(cls=GroupedCommand)
@click.argument("data", type=InputPath())
@general(
    "--output", required=True, type=click.Path(path_type=Path), help="Folder for the trained model."
)
@general(
    "--resume", is_flag=True, help="Continue a stopped run. The other options must be the same."
)
@general(
    "--finish",
    is_flag=True,
    help="End a stopped run: write the model of its best epoch. The other options must be the "
    "same.",
)
@general("--overwrite", is_flag=True, help="Replace the run in the output folder.")
@data_option(
    "--target",
    "targets",
    multiple=True,
    help="Column to predict. Repeat for several. Default for a folder: the subfolders' names.",
)
@data_option(
    "--column",
    "columns",
    multiple=True,
    type=NamedKind(),
    help="Kind of a column, if it is recognised wrongly: number, category, date, time (of the "
    "day), text, ngrams (short sequences of characters of a text), image, sound, or ignore.",
)
@data_option(
    "--validation",
    help="Share of the examples to hold out, or a folder or file with other examples. Default: a "
    "subfolder called validation or test, otherwise 0.2.",
)
@data_option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Random seed.")
@data_option(
    "--augment/--no-augment",
    default=None,
    help="Turn random augmentation of images or sounds on or off. Default: random shifts only.",
)
@data_option(
    "--flip",
    is_flag=True,
    help="Flip half of the images from left to right while training. --augment does this too.",
)
@model_option(
    "--model",
    "model_name",
    help="Size of a new model (tiny, small, base), or a model to fine-tune: a name of `ivy-models "
    "list` or a folder. Default: a size that fits the number of examples.",
)
@model_option(
    "--spec",
    "spec_file",
    type=InputPath(),
    help='JSON file with fields of the spec to set, such as {"num_latents": 64}.',
)
@model_option(
    "--freeze",
    "frozen",
    multiple=True,
    help="Weights to freeze: a name or a pattern, such as processor/*. Repeat for several.",
)
@model_option(
    "--layer-decay",
    default=1.0,
    show_default=True,
    help="Ratio of a layer's learning rate to that of the layer after it.",
)
@training_option(
    "--backend", type=click.Choice(BACKENDS), help="Framework. Default: the first one installed."
)
@training_option("--device", help='Device such as "cpu" or "cuda". Default: the framework\'s.')
@training_option(
    "--epochs",
    type=click.FloatRange(0, min_open=True),
    help="Number of passes over the examples. Default: depends on the number of examples.",
)
@training_option(
    "--batch-size",
    type=click.IntRange(1),
    help="Examples per step. Default: 64, or fewer if there are few examples.",
)
@training_option(
    "--learning-rate", type=float, help="Peak learning rate. Default: depends on the model's size."
)
@training_option(
    "--warmup",
    default=0.05,
    show_default=True,
    help="Share of the steps in which the learning rate rises.",
)
@training_option(
    "--weight-decay",
    type=float,
    help="AdamW's weight decay. Default: 0.05; up to 4 for a new model of a small table.",
)
@training_option(
    "--label-smoothing", default=0.1, show_default=True, help="Probability spread over all classes."
)
@training_option(
    "--clip-norm", default=1.0, show_default=True, help="Norm to which gradients are clipped."
)
@training_option("--dropout", default=0.0, show_default=True, help="Dropout rate of the MLPs.")
@training_option("--mixup", default=0.0, show_default=True, help="Alpha of mixup; 0 turns it off.")
@training_option(
    "--class-weights", is_flag=True, help="Give each class the same total weight in the loss."
)
@training_option(
    "--ema",
    default=0.0,
    show_default=True,
    help="Decay of the moving average of the weights; 0 turns it off.",
)
@training_option(
    "--accumulate",
    default=1,
    show_default=True,
    help="Number of parts of a batch (gradient accumulation). Saves memory.",
)
@training_option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16"]),
    help="Precision of the computation; bfloat16 is mixed precision.",
)
@training_option(
    "--rematerialise",
    is_flag=True,
    help="Recompute activations in the backward pass (gradient checkpointing). Saves memory "
    "and costs time.",
)
@training_option(
    "--shard",
    is_flag=True,
    help="Divide the weights among the processes of torchrun (FSDP). Saves memory.",
)
@training_option(
    "--patience",
    default=10,
    show_default=True,
    type=click.IntRange(0),
    help="Stop after this number of epochs without improvement (early stopping); 0 turns it off.",
)
@training_option(
    "--metric",
    help="Metric that selects the best epoch: accuracy, macro_f1, mae, rmse or loss. Default: "
    "accuracy for one class, otherwise loss.",
)
@click.pass_context
def train(
    ctx: click.Context,
    data: Path,
    output: Path,
    resume: bool,
    finish: bool,
    overwrite: bool,
    targets: tuple[str, ...],
    columns: tuple[tuple[str, str], ...],
    validation: str | None,
    seed: int,
    augment: bool | None,
    flip: bool,
    model_name: str | None,
    spec_file: Path | None,
    backend: str | None,
    device: str | None,
    epochs: float | None,
    learning_rate: float | None,
    weight_decay: float | None,
    batch_size: int | None,
    accumulate: int,
    patience: int,
    class_weights: bool,
    **settings: Any,
) -> None:
    """Train a model on your own data.

    DATA is a folder of images, sounds or texts with a subfolder for each class, or a table (CSV,
    JSON lines or Parquet) with columns of numbers, categories, dates, times, texts, and paths of
    images or sounds. The model of the best epoch and a report are written into the output folder.
    Pass the folder to `predict`, `evaluate`, `classify`, `export` or `from_pretrained`.

    Example: ivy-models train photos --output my_model
    """
    from ivy_models.base import torchrun
    from ivy_models.base.freed_memory import keep_freed_memory
    from ivy_models.cli import training_texts as texts
    from ivy_models.cli.options import use_backend
    from ivy_models.cli.run_folder import alone_in, check_output, remove_run
    from ivy_models.datasets import read_training_data
    from ivy_models.models.sizes import learning_rate_for
    from ivy_models.training.loop import TrainingStopped, fit
    from ivy_models.training.report import write_report
    from ivy_models.training.report.metrics import sklearn_metrics
    from ivy_models.training.settings import (
        Settings,
        default_batch_size,
        default_epochs,
        default_weight_decay,
    )

    begun = time.monotonic()
    changes = _read_spec(spec_file)
    if backend is None:
        backend = _first_installed()
    sklearn_metrics()  # the report needs it in the end
    if torchrun.is_launched() and backend != "torch":
        raise click.UsageError(f"torchrun works with --backend torch, not with {backend}.")
    if settings["shard"] and not torchrun.is_launched():
        raise click.UsageError(
            "--shard needs several processes. Start them with: torchrun --nproc-per-node 2 -m "
            "ivy_models train"
        )
    if is_first := torchrun.rank() == 0:  # the others may come when the run has begun
        check_output(output, data, resume or finish, overwrite)
        ctx.with_resource(alone_in(output))
    use_backend(backend, None)
    keep_freed_memory()
    base = _base(model_name, device)
    examples = read_training_data(
        data,
        target=_one_or_all(targets),
        columns=dict(columns),
        validation=_share_or_path(validation),
        preprocessing=None if base is None else base.preprocessing,
        seed=seed,
        augment=augment,
        flip=flip,
    )
    _say("\n".join(texts.recognised(data, examples)))
    model = _start(base, examples, model_name, changes, seed, device)
    batch_size = batch_size or default_batch_size(len(examples.train))
    if learning_rate is None:
        learning_rate = learning_rate_for(model.spec)
    if weight_decay is None:
        weight_decay = Settings.weight_decay
        if base is None:
            weight_decay = default_weight_decay(
                examples.preprocessing, len(examples.train), batch_size, learning_rate
            )
    chosen = Settings(
        backend=backend,
        epochs=epochs or default_epochs(len(examples.train), batch_size),
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        accumulation=accumulate,
        patience=patience or None,
        class_weights="balanced" if class_weights else None,
        seed=seed,
        **settings,
    )
    _say("\n".join(texts.described(model, chosen)))
    clear = partial(remove_run, output) if overwrite else None
    try:
        fitted = fit(model, examples, chosen, output, resume, finish=finish, clear=clear)
    except TrainingStopped as stopped:
        done = str(stopped).partition(". ")[0]
        _say(f"{done}. The same command with --resume continues.")
        sys.exit(INTERRUPTED)
    if not is_first:
        return
    fitted.model.save_pretrained(output)
    _say("\n".join(texts.finished(fitted)))
    write_report(
        output,
        fitted,
        examples,
        name=output.resolve().name,
        data_name=data.resolve().name,
        settings=chosen,
        command=texts.command_of(ctx),
        seconds=time.monotonic() - begun,
        on_problem=_say,
    )
    _say("\n".join(texts.next_steps(output, examples)))


def _say(text: str) -> None:
    """Print a text, once for all processes of torchrun."""
    from ivy_models.base import torchrun

    if torchrun.rank() == 0:
        click.echo(text, err=True)


def _first_installed() -> str:
    for backend in BACKENDS:
        if find_spec(backend) is not None:
            return backend
    raise click.ClickException(
        "Training needs torch, jax, tensorflow or paddle, and none is installed. Install one: pip "
        "install torch"
    )


def _read_spec(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    from ivy_models.checkpoints.files import parse_json, read_json_bytes

    return parse_json(read_json_bytes(path), path)


def _base(name: str | None, device: str | None) -> PerceiverIO | None:
    """The model to fine-tune. None: the name is that of a size, or there is none."""
    from ivy_models.models.presets import PRESETS
    from ivy_models.models.sizes import SIZES

    if name is None or name in SIZES:
        return None
    if name not in PRESETS and not Path(name).is_dir():
        kind = "an address" if ADDRESS.match(name) else "neither a size nor a model"
        raise click.UsageError(
            f"{name} is {kind}. --model takes a size ({', '.join(SIZES)}), a name of `ivy-models "
            "list`, or a folder."
        )
    from ivy_models.training.starting import pretrained_model

    return pretrained_model(name, device)


def _start(
    base: PerceiverIO | None,
    examples: TrainingData,
    size: str | None,
    changes: Mapping[str, Any],
    seed: int,
    device: str | None,
) -> PerceiverIO:
    from ivy_models.training.starting import finetuned_model, new_model

    if base is None:
        return new_model(examples, size, changes, seed, device)
    return finetuned_model(base, examples, changes, seed)


def _one_or_all(targets: Sequence[str]) -> Any:
    return targets[0] if len(targets) == 1 else list(targets) or None


def _share_or_path(validation: str | None) -> float | str | None:
    try:
        return None if validation is None else float(validation)
    except ValueError:
        return validation
