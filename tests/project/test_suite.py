"""The test run leaves no files behind, and nothing computes after its test."""

import os
import subprocess
import sys

import pytest
from helpers import CHOSEN, TESTS

RUN = [sys.executable, "-m", "pytest", "-q", "-p", "helpers.leftovers", "-p", "no:cacheprovider"]


def run_in(folder, test, *options):
    (folder / "pytest.ini").touch()
    (folder / "test_it.py").write_text(f"from pathlib import Path\ndef test_it():\n    {test}\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [*RUN, *options],
        cwd=folder,
        env=environment | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["-n1"]], ids=["alone", "xdist"])
def test_a_run_that_leaves_something_fails(tmp_path, options):
    result = run_in(tmp_path, "Path('ivy_logs.txt').touch(); Path('.ivy').mkdir()", *options)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "left in the checkout" in result.stdout
    assert {"ivy_logs.txt", ".ivy"} <= set(result.stdout.splitlines())


def test_a_run_that_leaves_nothing_passes(tmp_path):
    result = run_in(tmp_path, "Path('__pycache__').mkdir(exist_ok=True)")
    assert result.returncode == pytest.ExitCode.OK, result.stdout


@pytest.mark.skipif("jax" not in CHOSEN, reason="needs jax")
def test_jax_returns_when_it_has_computed():
    """Otherwise a test's last call would run on beside the next test."""
    import jax
    import jax.numpy as jnp

    x = jnp.ones((1000, 1000))
    loop = jax.jit(lambda x: jax.lax.fori_loop(0, 50, lambda _, x: x @ x / 1000, x))
    loop(x)
    assert loop(x).is_ready()
