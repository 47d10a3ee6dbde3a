"""Measure the effect of an XLA flag on full-size models in JAX on a CPU.

    python benchmarks/xla_flag.py --processes 5 --calls 7

Processes with and without the flag alternate, so that changes in the speed of the machine affect
both. Each process builds one model with random weights, and times its first call, which compiles,
and later calls. Prints the median, lowest and highest time over the processes. Run it on an idle
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from ivy_models.models.data_shape import data_shape
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIOCore, initialise

FLAG = "--xla_cpu_experimental_ynn_fusion_type="
"""An empty value keeps XLA from using YNNPACK for matrix products."""

MODELS = ("perceiver_io_imagenet_fourier", "perceiver_io_imagenet_conv", "perceiver_io_language")


def measure(name: str, calls: int) -> dict[str, float]:
    """Measure seconds of the first call, and the median of later calls, in this process."""
    import jax

    preset = PRESETS[name]
    core, rng = PerceiverIOCore(preset.spec), np.random.default_rng(0)
    shape = (1, *data_shape(preset.spec, preset.data_preprocessing()))
    if preset.spec.vocabulary_size is None:
        data = rng.standard_normal(shape, np.float32)
    else:
        data = rng.integers(0, preset.spec.vocabulary_size, shape, np.int32)
    weights = jax.tree.map(jax.numpy.asarray, initialise(core.parameters()))
    data, apply, seconds = jax.numpy.asarray(data), jax.jit(core), []
    jax.block_until_ready((weights, data))
    for _ in range(1 + calls):
        start = time.perf_counter()
        jax.block_until_ready(apply(weights, data))
        seconds.append(time.perf_counter() - start)
    return {"first call": seconds[0], "later call": statistics.median(seconds[1:])}


def measured(name: str, calls: int, flag: str) -> dict[str, float]:
    """Run :func:`measure` in a new process with the flag."""
    command = [sys.executable, __file__, "--models", name, "--calls", str(calls), "--here"]
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    run = subprocess.run(
        command,
        env=os.environ | {"XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(PRESETS), default=MODELS)
    parser.add_argument(
        "--processes", type=int, default=5, help="number with the flag, and number without"
    )
    parser.add_argument("--calls", type=int, default=7, help="after the first, in each process")
    parser.add_argument("--flag", default=FLAG)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(*arguments.models, arguments.calls)))
        return
    print(f"seconds: median (lowest to highest) of {arguments.processes} processes")
    for name in arguments.models:
        runs: dict[str, list[dict[str, float]]] = {"": [], arguments.flag: []}
        for _ in range(arguments.processes):
            for flag, results in runs.items():
                results.append(measured(name, arguments.calls, flag))
        for what in ("first call", "later call"):
            for flag, results in runs.items():
                seconds = [result[what] for result in results]
                spread = f"({min(seconds):.3f} to {max(seconds):.3f})"
                kind = "with the flag" if flag else "without"
                print(f"{name:32}{what:12}{kind:15}{statistics.median(seconds):8.3f} {spread}")


if __name__ == "__main__":
    main()
