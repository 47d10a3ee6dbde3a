"""Code in a process of its own: nothing of other tests, and nothing for other tests."""

import os
import subprocess
import sys

from helpers import ROOT, TESTS

LIMIT = 600
"""Seconds. It only ends a process that hangs: no test depends on how long anything takes."""

ONE_HEAP = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""Makes memory independent of the number of cores, by which BLAS and malloc set aside more."""


def python(code, *arguments, **environment):
    """What Python code prints. It can import this library, the helpers and the benchmarks."""
    paths = [str(ROOT), str(TESTS), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
