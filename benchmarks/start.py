"""Measure what it costs to start: CPU seconds and peak memory of new processes.

    python benchmarks/start.py --repeats 7

The subjects take turns. Prints the median, the least and the most seconds of each, and its memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

from machine import describe_machine

CLASSIFY = """
import numpy as np
import ivy_models
import ivy

ivy.set_backend("{backend}")
ivy_models.create_model("perceiver_io_digits")(np.zeros((1, 8, 8, 1), np.float32))
"""

SUBJECTS = {
    "import ivy": "import ivy",
    "import ivy_models, ivy": "import ivy_models, ivy",
    **{f"first call on {name}": CLASSIFY.format(backend=name) for name in ("numpy", "torch")},
    "import of transformers' Perceiver": "from transformers import PerceiverModel",
}


def run(code: str) -> tuple[float, float]:
    """Return the CPU seconds and the peak memory in MiB of a process."""
    with tempfile.TemporaryDirectory() as folder:  # Ivy alone leaves files in the working folder
        process = subprocess.Popen([sys.executable, "-c", code], cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"This failed:\n{code}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    for name, value in describe_machine("cpu").items():
        print(f"{name}: {value}")
    runs = {name: [] for name in SUBJECTS}
    for code in SUBJECTS.values():
        run(code)  # writes bytecode and fills the disk's cache
    for _ in range(repeats):
        for name, code in SUBJECTS.items():
            runs[name].append(run(code))
    print(f"\n{'':34}median  least   most     MiB")
    for name, figures in runs.items():
        seconds, memory = zip(*figures, strict=True)
        spread = f"{statistics.median(seconds):6.2f} {min(seconds):6.2f} {max(seconds):6.2f}"
        print(f"{name:34}{spread} {statistics.median(memory):7.0f}")


if __name__ == "__main__":
    main()
