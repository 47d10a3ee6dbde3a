"""``ivy-models benchmark``."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import click

from ivy_models.cli.options import (
    ModelName,
    batch_size_option,
    device_option,
    dtype_option,
    size_option,
    use_backend,
)
from ivy_models.ops import BACKENDS


@click.command()
@click.argument("name", type=ModelName())
@size_option
@batch_size_option
@click.option(
    "--repeats", default=5, show_default=True, type=click.IntRange(1), help="Number of timed calls."
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    default=["numpy"],
    show_default="numpy",
    type=click.Choice(BACKENDS),
    help="Repeat for several backends; each is measured in its own process.",
)
@device_option
@dtype_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead, one line for each backend."
)
def benchmark(
    name: str,
    size: tuple[int, ...] | dict[str, tuple[int, ...]] | None,
    batch_size: int,
    repeats: int,
    backends: tuple[str, ...],
    device: str | None,
    dtype: str | None,
    as_json: bool,
) -> None:
    """Measure the time and the memory of one call of a model.

    NAME is a model name (see `ivy-models list`) or a model folder. Weights and data are random.
    A call takes NumPy arrays and returns NumPy arrays. The first call is reported separately,
    because some frameworks compile in it. Memory is the peak above that of the loaded model.

    Example: ivy-models benchmark perceiver_io_digits --backend numpy --backend torch
    """
    from ivy_models.cli.described import describe
    from ivy_models.models.data_shape import data_shape

    model = describe(name)
    data_shape(model.spec, model.preprocessing, size)  # refuses a wrong size for all backends
    results = []
    for backend in backends:
        if len(backends) == 1:
            results.append(_measure(name, model, size, batch_size, repeats, backend, device, dtype))
        else:
            result = _in_a_process(name, size, batch_size, repeats, backend, device, dtype)
            results += [result] if result else []
    if as_json:
        for result in results:
            click.echo(json.dumps({"model": name, **result}))
    elif results:
        click.echo(_timing_table(results, batch_size))
    if len(results) < len(backends):
        click.echo(f"{len(backends) - len(results)} of {len(backends)} backends failed.", err=True)
        sys.exit(1)


def _measure(name, model, size, batch_size, repeats, backend, device, dtype) -> dict[str, Any]:
    """Measure in this process."""
    import numpy as np

    click.echo(f"Measuring {name} on {backend}: {repeats + 2} calls.", err=True)
    use_backend(backend, dtype)
    from ivy_models.arrays import to_numpy, unwrap_tree
    from ivy_models.measure.memory import meter
    from ivy_models.measure.timing import time_calls
    from ivy_models.models.data_shape import data_shape
    from ivy_models.shells.ivy import PerceiverIO

    spec = model.spec.replace(device=device, dtype=dtype or model.spec.dtype)
    shape, rng = data_shape(spec, model.preprocessing, size), np.random.default_rng(0)

    vocabularies = {m.name: m.vocabulary_size for m in spec.input_modalities or ()}

    def random(shape, name=None):
        if vocabulary_size := vocabularies.get(name, spec.vocabulary_size):
            return rng.integers(0, vocabulary_size, (batch_size, *shape), np.int32)
        return rng.standard_normal((batch_size, *shape), np.float32)

    limits = {m.name: m.position_range for m in spec.input_modalities or ()}

    def lowest(shape, name=None):
        position_range = np.atleast_2d(limits.get(name, spec.position_range))
        return np.full((batch_size, *shape), position_range[:, 0], np.float32)

    makers = {"data": random, "positions": lowest}
    arguments = {
        argument: {n: makers[argument](s, n) for n, s in sizes.items()}
        if isinstance(sizes, dict)
        else makers[argument](sizes)
        for argument, sizes in spec.input().by_argument(shape).items()
    }
    network = PerceiverIO(spec)

    def call():
        outputs = network(**arguments)
        for output in outputs.values() if isinstance(outputs, dict) else [outputs]:
            to_numpy(output, "output")

    weights_on = str(unwrap_tree(network.v)["latents"].device)
    on = "cpu" if "cpu" in weights_on.lower() else weights_on
    timing = time_calls(call, meter(backend, on), repeats)
    return {
        "backend": backend,
        "device": weights_on,
        "dtype": spec.dtype,
        "batch_size": batch_size,
        "first_seconds": timing.first_seconds,
        "seconds": timing.seconds,
        "median_seconds": timing.median_seconds,
        "extra_bytes": timing.extra_bytes,
    }


def _in_a_process(name, size, batch_size, repeats, backend, device, dtype) -> dict | None:
    """Measure in a new process. If it fails, it prints its own error; the result is None."""
    options = {
        "--batch-size": batch_size,
        "--repeats": repeats,
        "--backend": backend,
        "--device": device,
        "--dtype": dtype,
    }
    given = [str(part) for option in options.items() if option[1] for part in option]
    by_name = size if isinstance(size, dict) else {"": size} if size else {}
    for modality, numbers in by_name.items():
        given += ["--size", f"{modality}={'x'.join(map(str, numbers))}".removeprefix("=")]
    command = [sys.executable, "-m", "ivy_models", "benchmark", name, "--json", *given]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else None


def _timing_table(results: list[dict[str, Any]], batch_size: int) -> str:
    from ivy_models.cli.tables import table, three_digits

    rows = [("backend", "median, s", "min - max, s", "a second", "first call, s", "memory, MiB")]
    for result in results:
        median, extra = result["median_seconds"], result["extra_bytes"]
        shortest, longest = map(three_digits, (min(result["seconds"]), max(result["seconds"])))
        rows.append(
            (
                result["backend"],
                three_digits(median),
                f"{shortest} - {longest}",
                three_digits(batch_size / median),
                three_digits(result["first_seconds"]),
                "not measured" if extra is None else three_digits(extra / 2**20),
            )
        )
    return table(rows)
