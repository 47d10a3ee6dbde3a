"""Options of the commands that run a model, and loading of that model."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ivy_models.ops import BACKENDS
from ivy_models.shells.engines import ENGINES
from ivy_models.transformers.perceiver_io.spec_checks import DTYPES

if TYPE_CHECKING:
    from ivy_models.shells.any_model import AnyModel


def batch_size_from(default: int) -> Callable:
    """The option for the batch size, with this default."""
    return click.option(
        "--batch-size",
        default=default,
        show_default=True,
        type=click.IntRange(1),
        help="Batch size.",
    )


batch_size_option = batch_size_from(1)
device_option = click.option(
    "--device", help='Device such as "cpu" or "cuda". Default: the framework\'s.'
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Data type of weights and computation. Default: the model's.",
)


class Size(click.ParamType):
    """Numbers joined by x, such as 384x512, or those of a modality, such as photo=384x512.

    Values are pairs of the modality's name, or None, and the numbers.
    """

    name = "size"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        name, equals, size = value.rpartition("=")
        numbers = size.lower().split("x")
        if not all(number.isdecimal() and int(number) for number in numbers):
            self.fail(
                f"{value!r} is not a size; write one such as 224 or 384x512, or photo=384x512 for "
                "one of several modalities.",
                param,
                ctx,
            )
        return (name if equals else None), tuple(map(int, numbers))


def _sizes(ctx, param, sizes):
    """The one size that was given, or several by modality, or None."""
    by_name = dict(sizes)
    if None in by_name and len(sizes) > 1:
        raise click.BadParameter(
            "give one size, or one as NAME=SIZE for each modality.", ctx, param
        )
    return by_name.get(None, by_name or None)


class ModelName(click.ParamType):
    """A name of ``ivy-models list``, or a folder; with ``onnx``, also the path of an ONNX file."""

    name = "model"

    def __init__(self, onnx: bool = False):
        self.onnx = onnx

    def convert(self, value, param, ctx):
        from ivy_models.errors import SpecError
        from ivy_models.models.presets import preset_named

        if not Path(value).is_dir() and not (self.onnx and is_onnx(value)):
            try:
                preset_named(value)
            except SpecError as error:
                self.fail(f"{error} It is not a folder either.", param, ctx)
        return value

    def shell_complete(self, ctx, param, incomplete):
        from ivy_models.models.presets import list_models

        names = [name for name in list_models() if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="dir")]


def is_onnx(model: str) -> bool:
    """Whether a model is an ONNX file, by its name."""
    return model.lower().endswith(".onnx")


class InputPath(click.ParamType):
    """The path of a file to read. With ``stdin`` a dash is stdin, an open file."""

    name = "path"

    def __init__(self, stdin: bool = False):
        self.stdin = stdin

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if self.stdin and value in ("-", "/dev/stdin"):
            return sys.stdin.buffer
        if value == "-":
            self.fail("stdin is not read here; save it to a file and pass its path.", param, ctx)
        if isinstance(value, str) and ADDRESS.match(value):
            self.fail(f"{value} is an address; download the file and pass its path.", param, ctx)
        return Path(value)

    def shell_complete(self, ctx, param, incomplete):
        return [CompletionItem(incomplete, type="file")]


ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

size_option = click.option(
    "--size",
    type=Size(),
    multiple=True,
    callback=_sizes,
    help="Size of the data: 224, 384x512 (height x width), or a number of tokens or samples. For "
    "a model with several modalities, NAME=SIZE for each modality whose size is not fixed. "
    "Default: the size that the model was trained on.",
)


def format_options(default: str, *others: str):
    """Add --format, and --json for ``jsonl``, which become the argument ``output_format``."""
    options = [
        click.option(
            "--format",
            "output_format",
            default=default,
            show_default=True,
            type=click.Choice([default, *others]),
            help="Output format.",
        ),
        # Not a flag value of the same argument, for which click 8.2 loses the default.
        click.option("--json", "as_json", is_flag=True, help="Same as --format jsonl."),
    ]

    def add(command):
        @functools.wraps(command)
        def with_format(output_format, as_json, **named):
            return command(output_format="jsonl" if as_json else output_format, **named)

        for option in reversed(options):
            with_format = option(with_format)
        return with_format

    return add


def model_options(default: str | None, task: str, engines: bool = True) -> Callable:
    """Add the options that choose and load a model; the command receives ``load``.

    Parameters
    ----------
    default
        Name of the model. None: the first argument names it.
    task
        Kind of model that the command needs, as in :class:`.Preset`.
    engines
        Whether an engine can run the command's model from an ONNX file.
    """
    options = [
        click.argument("model", type=ModelName(onnx=engines))
        if default is None
        else click.option(
            "--model",
            type=ModelName(onnx=engines),
            default=default,
            show_default=True,
            help="Model name (see `ivy-models list`) or folder"
            f"{', or an ONNX file of `ivy-models export`' if engines else ''}.",
        ),
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="Local weights (file or folder) instead of the published ones.",
        ),
        click.option(
            "--backend",
            show_default="numpy",
            type=click.Choice(BACKENDS),
            help="Framework that runs the model.",
        ),
        device_option,
        dtype_option,
    ]
    if engines:
        options.append(
            click.option(
                "--engine",
                type=click.Choice(list(ENGINES)),
                help="Engine that runs the model if it is an ONNX file.",
            )
        )

    def add(command):
        @functools.wraps(command)
        def with_model(model, weights, backend, device, dtype, engine=None, **named):
            load = ModelChoice(task, model, weights, backend, device, dtype, engine)
            return command(load=load, **named)

        for option in reversed(options):
            with_model = option(with_model)
        return with_model

    return add


@dataclass(frozen=True)
class ModelChoice:
    """The model that a command line names; a call builds it.

    Making one refuses a model of another kind, before its weights are downloaded.
    """

    task: str
    model: str
    weights: Path | None
    backend: str | None
    device: str | None
    dtype: str | None
    engine: str | None

    def __post_init__(self):
        from ivy_models.models.presets import PRESETS

        if self.engine is not None or is_onnx(self.model):
            self._check_engine()
        elif self.model not in PRESETS:
            if self.weights is not None:
                raise click.UsageError(
                    f"{self.model} is a folder with its own weights: leave out --weights."
                )
        elif PRESETS[self.model].task != self.task:
            article = "an" if self.task[0] in "aeiou" else "a"
            raise click.UsageError(
                f"{self.model} is not {article} {self.task}; see `ivy-models list`."
            )

    def _check_engine(self) -> None:
        if self.engine is None:
            choices = " or ".join(f"--engine {name}" for name in ENGINES)
            raise click.UsageError(f"{self.model} is an ONNX file: choose what runs it, {choices}.")
        if not is_onnx(self.model):
            raise click.UsageError(
                f"--engine {self.engine} runs an ONNX file, not {self.model}. Write the file with "
                f"`ivy-models export {self.model} model.onnx`, then pass --model model.onnx."
            )
        for name in ("weights", "backend", "device"):
            if getattr(self, name) is not None:
                raise click.UsageError(
                    f"An engine runs an ONNX file on the CPU, with the file's weights: leave out "
                    f"--{name}."
                )

    def preprocessing(self) -> Any:
        """The model's preprocessing, known before its weights are loaded; None if it has none."""
        from ivy_models.cli.described import describe

        return describe(self.model).preprocessing

    def __call__(self) -> AnyModel:
        from ivy_models.models.presets import PRESETS

        if self.engine is not None:
            from ivy_models.shells.onnx_model import OnnxModel

            return OnnxModel(self.model, self.engine, dtype=self.dtype or "float32")
        use_backend(self.backend or "numpy", self.dtype)
        if self.model in PRESETS:
            from ivy_models.models.factories import create_model

            return create_model(
                self.model,
                pretrained=True,
                weights=self.weights,
                device=self.device,
                dtype=self.dtype,
            )
        from ivy_models.shells.ivy import PerceiverIO

        return PerceiverIO.from_pretrained(self.model, device=self.device, dtype=self.dtype)


def use_backend(backend: str, dtype: str | None) -> None:
    """Set Ivy's backend, so that it computes in ``dtype``."""
    if dtype == "float64":
        os.environ["JAX_ENABLE_X64"] = "1"  # read when jax is imported
    from ivy_models.arrays import set_backend

    set_backend(backend)
