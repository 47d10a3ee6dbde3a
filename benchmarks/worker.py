"""Measure one subject in its own process.

Reads one JSON value per line: first the case, then "call", "memory" or "gemm". Answers each with
one line of JSON. After an error it sends the error and exits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import inference
import numpy as np
import training
from memory import fail_alone
from products import gemm_gflop_per_second
from subjects import MODELS, Case

from ivy_models.measure.memory import meter
from ivy_models.ops import Ops, ops_named
from ivy_models.ops.numpy_grid_sums import num_threads

AT_LEAST = 0.1
"""Minimum seconds of successive calls per measurement. The first call is measured alone."""


def main() -> None:
    # Send all output of the frameworks, C++ code included, to stderr: stdout carries only answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        worker = Worker(Case(**json.loads(sys.stdin.readline())))
        print(json.dumps("loaded"), file=answers)
        for line in sys.stdin:
            print(json.dumps(worker.measure(json.loads(line))), file=answers)
    except Exception as error:  # the report shows any error
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)


class Worker:
    def __init__(self, case: Case):
        self._case = case
        self._subject = load(case)
        self._called = False
        self._memory = meter(case.framework, case.device)

    def measure(self, what: str) -> float | None:
        return {"call": self._seconds, "memory": self._extra_bytes, "gemm": self._gemm_rate}[what]()

    def _seconds(self) -> float:
        fail_alone(self._case.device)
        start, calls, seconds = time.perf_counter(), 0, 0.0
        while calls == 0 or seconds < AT_LEAST * self._called:
            output = self._subject.call()
            calls += 1
            seconds = time.perf_counter() - start
        self._called = True
        rows_and_channels = (self._case.batch, self._case.output_channels)
        if (len(output), output.shape[-1]) != rows_and_channels or not np.isfinite(output).all():
            raise ValueError(f"the output, of shape {output.shape}, is wrong or not finite")
        return seconds / calls

    def _extra_bytes(self) -> int | None:
        fail_alone(self._case.device)
        return self._memory.extra(self._subject.call)

    def _gemm_rate(self) -> float:
        dtype = self._case.computed_in if self._case.framework == "torch" else self._case.dtype
        return gemm_gflop_per_second(self._subject.ops, dtype, self._case.device)


@dataclass(frozen=True)
class Subject:
    """A model to measure: ``call()`` runs it once; ``ops`` are the operations of its framework."""

    call: Callable[[], np.ndarray]
    ops: Ops


def load(case: Case) -> Subject:
    """Build the model with random weights."""
    # All workers share one GPU, so no framework may allocate all of its memory at the start.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    os.environ["JAX_ENABLE_X64"] = str(int(case.dtype == "float64"))
    if case.framework == "paddle":  # which sets 1 when it is imported, unless this is set
        os.environ.setdefault("OMP_NUM_THREADS", str(num_threads()))
    rng = np.random.default_rng(0)
    if MODELS[case.model].vocabulary_size is None:
        data = rng.standard_normal((case.batch, *case.shape)).astype(case.dtype)
    else:
        data = rng.integers(0, MODELS[case.model].vocabulary_size, (case.batch, *case.shape))
    if case.model == "video":
        sound = rng.standard_normal((case.batch, 30720, 1)).astype(case.dtype)
        data = {"image": data, "audio": sound}
    make = training.step if case.training else inference.call
    return Subject(make(case, data), ops_named(case.framework))


if __name__ == "__main__":
    main()
