"""Measure the time to build each model with random weights.

    python benchmarks/building.py --backends numpy torch

It builds each model three times, and prints the median and the shortest time in seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time

from ivy_models import create_model, list_models
from ivy_models.ops import BACKENDS
import ivy

BUILDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--models", nargs="+", default=list_models())
    arguments = parser.parse_args()
    for backend in arguments.backends:
        ivy.set_backend(backend)
        for name in arguments.models:
            seconds = []
            for _ in range(BUILDS):
                start = time.perf_counter()
                create_model(name)
                seconds.append(time.perf_counter() - start)
            print(f"{backend:11}{name:32}{statistics.median(seconds):7.2f}{min(seconds):7.2f}")


if __name__ == "__main__":
    main()
