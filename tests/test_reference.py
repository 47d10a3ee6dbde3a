"""Recorded results of the original implementation."""

import subprocess
import sys

import pytest
import verify_reference
from conftest import CHOSEN, ROOT, TINY

TINY_CASES = sorted(folder.name for folder in TINY.iterdir() if folder.name != "video_autoencoding")


def test_there_are_cases():
    assert len(TINY_CASES) == 6


@pytest.mark.parametrize("case", TINY_CASES)
def test_tiny_models(backend, case):
    output, expected = verify_reference.run_tiny(TINY / case)
    assert verify_reference.relative_difference(output, expected) < 1e-4


@pytest.mark.parametrize("case", TINY_CASES)
def test_tiny_models_that_stream(backend, case, always_streaming):
    test_tiny_models(backend, case)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", verify_reference.FULL)
@pytest.mark.parametrize("name", CHOSEN)
def test_full_size_models(name, checkpoint):
    # A process of its own, so that the memory of one model is free before the next.
    tool = ROOT / "tools" / "verify_reference.py"
    command = [sys.executable, tool, "--full", checkpoint, "--backend", name]
    run = subprocess.run(
        [*command, "--tolerance", "1e-3"], capture_output=True, text=True, check=False
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
