"""Runs code in a new process, isolated from other tests."""

import os
import subprocess
import sys

from helpers import ROOT, TESTS

LIMIT = 600
"""Seconds after which a process counts as hanging. No test depends on how long anything takes."""

ONE_HEAP = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""Makes memory independent of the number of cores: BLAS and malloc reserve some for each."""


def python(code, *arguments, status=0, get="stdout", **environment):
    """Output of Python code, which can import this library, the helpers and the benchmarks.

    Without code (None) the arguments are Python's own. The exit status must be ``status``, or the
    negative number of the signal that killed it. ``get`` is stdout or stderr.
    """
    paths = [str(ROOT), str(TESTS), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, *(() if code is None else ("-c", code)), *map(str, arguments)],
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert run.returncode == status, run.stderr
    return getattr(run, get)
