"""Compare the time of reading many points with that of the matrix products that it needs.

    python benchmarks/points.py                         # torch, jax
    python benchmarks/points.py --frameworks torch --repeats 9

512 latents read 2**20 points with 3 coordinates (32 bands) and 3 channels. The products are those
of the latents with the inputs' 198 channels, for the scores and for the sums. Each repeat measures
the machine's rate with products of 512x1024 by 1024x1024 before and after the call, so that other
work on the machine slows both. Prints the medians, the time at that rate, their ratio in the median
repeat and in the best one, and the additional memory of a call.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from products import gemm_gflop_per_second

from ivy_models.measure.memory import HostMemory
from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec
import ivy

LATENTS = 512
SPEC = PerceiverIOSpec(
    3, 1, 10, num_position_axes=3, num_fourier_freq_bands=32, max_fourier_freq=64.0,
    num_latents=LATENTS, latent_dim=64, network_depth=1, num_lat_att_per_layer=1,
    num_self_att_heads=1, queries_dim=32, query_shape=(1,),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frameworks", nargs="+", default=["torch", "jax"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--points", type=int, default=2**20)
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.within:  # each framework in a process of its own, whose memory is measured
        head = ("", "call, s", "GFLOP/s", "products, s", "ratio", "best", "MB")
        print("".join(f"{name:>12}" for name in head), flush=True)
        for name in arguments.frameworks:
            options = ["--points", str(arguments.points), "--repeats", str(arguments.repeats)]
            command = [sys.executable, __file__, "--within", "--frameworks", name, *options]
            subprocess.run(command, check=True)
        return
    (name,) = arguments.frameworks
    measure(name, arguments.points, arguments.repeats)


def measure(name: str, points: int, repeats: int) -> None:
    ops, call = ops_named(name), call_of(name, points)
    gflop = 2e-9 * 2 * LATENTS * points * SPEC.encoded_dim
    memory = HostMemory()
    megabytes = memory.extra(call) / 2**20
    seconds, rates = [], []
    for _ in range(repeats):
        before = gemm_gflop_per_second(ops, "float32", "cpu")
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
        rates.append((before + gemm_gflop_per_second(ops, "float32", "cpu")) / 2)
    ratios = [second * rate / gflop for second, rate in zip(seconds, rates, strict=True)]
    rate = median(rates)
    print(
        f"{name:>12}{median(seconds):12.2f}{rate:12.1f}{gflop / rate:12.2f}"
        f"{median(ratios):12.2f}{min(ratios):12.2f}{megabytes:12.0f}",
        flush=True,
    )


def call_of(name: str, points: int) -> Callable[[], object]:
    """A function that reads the points and waits for the latents."""
    ivy.set_backend(name)
    model = PerceiverIO(SPEC)
    rng = np.random.default_rng(0)
    data = rng.standard_normal((1, points, 3), np.float32)
    positions = rng.uniform(-1, 1, (1, points, 3)).astype(np.float32)
    data, positions = (ivy.array(x) for x in (data, positions))
    return lambda: ivy.to_numpy(model.encode(data, positions=positions))


if __name__ == "__main__":
    main()
