"""Measure process memory while one model is called with changing shapes and backends.

    python benchmarks/many_calls.py --calls 1000

Each call takes a random backend and one of 72 random shapes. The model keeps fewer compiled
programs than that, so JAX and TensorFlow usually compile again. Prints a row for every 100 calls.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from ivy_models.measure.memory import resident
from ivy_models.ops import BACKENDS, ops_named
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec

SPEC = PerceiverIOSpec(
    input_dim=3,
    num_input_axes=2,
    output_dim=5,
    queries_dim=16,
    query_shape=[1],
    network_depth=2,
    num_latents=8,
    latent_dim=16,
    num_self_att_heads=2,
    num_lat_att_per_layer=1,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    arguments = parser.parse_args()
    model, rng, start = PerceiverIO(SPEC), np.random.default_rng(0), time.perf_counter()
    print("calls   MiB  programs  seconds")
    for call in range(1, arguments.calls + 1):
        ops = ops_named(rng.choice(arguments.backends))
        shape = rng.integers((1, 4, 4), (3, 10, 10))
        model(ops.asarray(rng.standard_normal((*shape, 3), np.float32)))
        if call % 100 == 0:
            seconds, programs = time.perf_counter() - start, len(model._compiled._programs)
            print(f"{call:5}{resident() >> 20:6}{programs:10}{seconds:9.0f}", flush=True)


if __name__ == "__main__":
    main()
