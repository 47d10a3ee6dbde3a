"""``ivy-models info``."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict

import click

from ivy_models.cli.options import ModelName, batch_size_option, dtype_option, size_option

NOTE = """\
GFLOP: 10^9 floating-point operations in one call's matrix products and convolutions; a
multiply-add counts as two. Written out: the same with attention as in the paper. Call: estimated
peak memory of a call's arrays; `ivy-models benchmark` measures it."""


@click.command()
@click.argument("name", type=ModelName())
@size_option
@batch_size_option
@dtype_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
def info(
    name: str,
    size: tuple[int, ...] | dict[str, tuple[int, ...]] | None,
    batch_size: int,
    dtype: str | None,
    as_json: bool,
) -> None:
    """Print a model's description and the cost of one call.

    NAME is a model name (see `ivy-models list`) or a model folder. The command downloads
    nothing and does not run the model.

    Example: ivy-models info perceiver_io_imagenet_fourier --size 384x512
    """
    from ivy_models.cli.described import describe, facts_of, shown_fields
    from ivy_models.models.data_shape import data_shape
    from ivy_models.transformers.perceiver_io.costs import model_costs

    model = describe(name)
    spec = model.spec.replace(dtype=dtype or model.spec.dtype)
    shape = data_shape(spec, model.preprocessing, size)
    costs = model_costs(spec, shape, batch_size)
    if as_json:
        parts = {part: asdict(cost) for part, cost in costs.items()}
        fields = {
            "model": name,
            **(facts_of(model.preset) if model.preset else {}),
            "preprocessing": shown_fields(model.preprocessing),
            "targets": [asdict(target) for target in model.targets],
            "data_shape": shape,
            "latents": (spec.num_latents, spec.latent_dim),
            "batch_size": batch_size,
            "dtype": spec.dtype,
            "costs": parts,
        }
        click.echo(json.dumps(fields, indent=2))
        return
    click.echo(name)
    for fact, value in _facts(model, spec, shape, batch_size):
        click.echo(_hanging(fact, value))
    click.echo(f"\n{_cost_table(costs)}\n\n{NOTE}")


def _hanging(fact: str, value: str) -> str:
    return textwrap.fill(
        value,
        97,
        initial_indent=f"  {fact:<15}",
        subsequent_indent=" " * 17,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _facts(model, spec, shape, batch_size: int) -> Iterator[tuple[str, str]]:
    """The known facts about the model, as pairs of a name and a value."""
    from ivy_models.checkpoints.download.cache import PublishedFile
    from ivy_models.cli.described import target_text
    from ivy_models.cli.tables import size_text
    from ivy_models.errors import shown
    from ivy_models.layers.parameters import flatten
    from ivy_models.preprocessing import TablePreprocessing

    if preset := model.preset:
        yield "made for", preset.description
        source = preset.weights
        yield "weights", source.url if isinstance(source, PublishedFile) else "in the package"
        yield "licence", preset.licence
        if preset.accuracy is not None:
            yield "accuracy", f"{preset.accuracy}%"
    if isinstance(model.preprocessing, TablePreprocessing):
        columns = (
            f"{shown(column.name)} ({column.kind})" for column in model.preprocessing.columns
        )
        yield "columns", ", ".join(columns)
    elif model.preprocessing is not None:
        yield "preprocessing", repr(model.preprocessing)
    if model.targets:
        yield "predicts", ", ".join(map(target_text, model.targets))
    shapes = flatten(shape) if isinstance(shape, dict) else [("", shape)]
    sizes = (f"{name} {size_text((batch_size, *s))}".strip() for name, s in shapes)
    yield "data", ", ".join(sizes)
    yield "latents", size_text((spec.num_latents, spec.latent_dim))
    yield "dtype", spec.dtype


def _cost_table(costs) -> str:
    from ivy_models.cli.tables import table, three_digits

    rows: list[tuple[str, ...]] = [
        ("part", "parameters", "weights, MiB", "GFLOP", "written out", "call, MiB")
    ]
    for part, cost in costs.items():
        numbers = (
            cost.weight_bytes / 2**20,
            cost.flops / 1e9,
            cost.plain_flops / 1e9,
            cost.call_bytes / 2**20,
        )
        rows.append((part, f"{cost.parameters:,}", *map(three_digits, numbers)))
    return table(rows)
