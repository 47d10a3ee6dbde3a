"""Measure this library and the Perceiver of transformers side by side.

    python benchmarks/run.py
    python benchmarks/run.py --sizes 224 --batches 1 --models fourier --repeats 3
    python benchmarks/run.py --training --output docs/benchmarks/training

The subjects take turns after every call, so that other load on the machine affects all of them.
Writes table.md, results.json and plot.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import report
from machine import describe_machine
from products import latent_gflop
from subjects import DEPTHS, MODELS, ONLY_SHAPE, SUBJECTS, TRAINING_SUBJECTS, Case

PAUSE = 0.2  # seconds; lets the threads of the previous call stop spinning


def main() -> None:
    arguments = parse_arguments()
    results = {
        "commands": [],
        "machine": describe_machine(arguments.device),
        "dtype": arguments.dtype,
        "device": arguments.device,
        "training": arguments.training,
        "cases": [],
    }
    if arguments.resume:
        results = json.loads((arguments.output / "results.json").read_text("utf-8"))
    results["commands"].append(shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]]))
    done = {(case["model"], case["batch"], case["size"]) for case in results["cases"]}
    for model, batch, size in _combinations(arguments):
        if (model, batch, size) in done:
            continue
        print(f"{model}, {size or 'its own'} px, batch {batch}", flush=True)
        cases = [
            Case(subject, model, size, batch, arguments.dtype, arguments.device, arguments.training)
            for subject in arguments.subjects
        ]
        results["cases"].append(
            {
                "model": model,
                "size": size,
                "batch": batch,
                "latent_gflop": batch * _passes(arguments) * latent_gflop(MODELS[model]),
                "subjects": compare(cases, arguments.repeats),
            }
        )
        results["cases"].sort(key=_place)
        report.write(results, arguments.output)  # after every case, in case the run is interrupted


def _passes(arguments: argparse.Namespace) -> int:
    """Matrix products per layer: the backward pass adds one for the input, one for the weight."""
    return 3 if arguments.training else 1


def _place(case: dict[str, Any]) -> tuple:
    """Sort key of a case: the report's order does not depend on the order of measuring."""
    return list(MODELS).index(case["model"]), case["batch"], case["size"] or 0


def _combinations(arguments: argparse.Namespace) -> Iterator[tuple[str, int, int | None]]:
    for model in arguments.models:
        sizes = [None] if model in ONLY_SHAPE else arguments.sizes
        for batch, size in itertools.product(arguments.batches, sizes):
            yield model, batch, size


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--training", action="store_true", help="measure training steps instead of calls"
    )
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--models", nargs="+", choices=list(MODELS))
    parser.add_argument("--subjects", nargs="+", choices={*SUBJECTS, *TRAINING_SUBJECTS})
    parser.add_argument("--repeats", type=int, default=7, help="calls of each subject")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--device", default="cpu", help='"cpu" or "cuda"')
    parser.add_argument("--resume", action="store_true", help="keep the cases in results.json")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    everything = {
        "sizes": [224, 384, 512, 1024],
        "batches": [1, 8],
        "models": [name for name in MODELS if name not in DEPTHS],
        "subjects": SUBJECTS,
    }
    training = {
        "sizes": [224],
        "batches": [1],
        "models": ["fourier", *DEPTHS],
        "subjects": TRAINING_SUBJECTS,
    }
    for name, default in (training if arguments.training else everything).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
    return arguments


def compare(cases: list[Case], repeats: int) -> dict[str, dict[str, Any]]:
    """Measure the subjects in turns; return the results by subject."""
    workers = [Worker(case) for case in cases]
    try:
        for worker in workers:
            worker.load()
            worker.measure("call", "first_call_seconds")
            worker.measure("memory", "extra_bytes")
        for _ in range(repeats):
            for worker in workers:
                worker.measure("call", "seconds")
                worker.measure("gemm", "gemm_gflop_per_second")
        return {worker.case.subject: worker.results for worker in workers}
    finally:
        for worker in workers:
            worker.end()


class Worker:
    """Controls a worker process. After an error, further measurements are skipped."""

    def __init__(self, case: Case):
        self.case = case
        self.results: dict[str, Any] = {}
        self._process: subprocess.Popen | None = None

    def load(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask(asdict(self.case))

    def measure(self, what: str, field: str) -> None:
        """Append one measurement to ``results[field]``."""
        if "error" in self.results:
            return
        time.sleep(PAUSE)
        answer = self._ask(what)
        if "error" not in self.results:
            self.results.setdefault(field, []).append(answer)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _ask(self, question: Any) -> Any:
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": self._how_it_ended()}
        if isinstance(answer, dict):
            self.results["error"] = answer["error"]
            self.end()  # frees its memory for the other workers
            print(f"  {self.case.subject} failed: {report.reason(self.results)}", flush=True)
        return answer

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        if code < 0:  # some frameworks crash when an allocation fails
            return f"ended by {signal.Signals(-code).name}, perhaps out of memory"
        return f"ended with exit status {code}"


if __name__ == "__main__":
    main()
