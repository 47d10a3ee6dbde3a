"""Recorded results of the original implementation."""

import os
import subprocess
import sys

import pytest
import verify_reference
from helpers import CHOSEN, ROOT, TINY

TINY_CASES = sorted(folder.name for folder in TINY.iterdir())


def test_there_are_cases():
    assert len(TINY_CASES) == 7


@pytest.mark.parametrize("case", TINY_CASES)
def test_tiny_models(backend, case):
    for output, expected in verify_reference.run_tiny(TINY / case):
        assert verify_reference.relative_difference(output, expected) < 1e-4


@pytest.mark.parametrize("case", [case for case in TINY_CASES if not case.startswith("language")])
def test_tiny_models_that_stream(backend, case, always_streaming):
    test_tiny_models(backend, case)


# The tool runs any of the six on any backend. Here each runs on at least two.
FULL_SIZE = {
    "imagenet_fourier_position_encoding": ["numpy", "torch", "jax", "tensorflow"],
    "imagenet_learned_position_encoding": ["torch", "jax"],
    "imagenet_conv_preprocessing": ["numpy", "tensorflow"],
    "language_perceiver_io_bytes": ["torch", "tensorflow"],
    "optical_flow": ["numpy", "jax"],
    "video_autoencoding": ["numpy", "torch"],
}


def test_every_full_size_model_is_run():
    assert set(FULL_SIZE) == set(verify_reference.FULL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [(model, name) for model, names in FULL_SIZE.items() for name in names if name in CHOSEN],
)
def test_full_size_models(checkpoint, name):
    # A new process, so that the memory of one model is free before the next.
    tool = ROOT / "tools" / "verify_reference.py"
    command = [sys.executable, tool, "--full", checkpoint, "--backend", name]
    run = subprocess.run(
        [*command, "--tolerance", "1e-3"],
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_tool_fails_on_a_difference(tmp_path, capsys, monkeypatch):
    case = TINY / "imagenet_fourier"
    command = ["verify_reference", str(case), "--backend", "numpy"]
    monkeypatch.setattr(sys, "argv", command)
    assert verify_reference.main() == 0
    monkeypatch.setattr(sys, "argv", [*command, "--tolerance", "1e-9"])
    assert verify_reference.main() == 1
    assert "imagenet_fourier (numpy): " in capsys.readouterr().out
