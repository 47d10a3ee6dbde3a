"""The tool that runs transformers' tests on accelerated models finds outputs that differ."""

import os
import subprocess
import sys

import pytest
from helpers import CHOSEN, ROOT

pytestmark = pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")

BEGINNING = """
import torch, transformers
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

def model(**changes):
    config = transformers.PerceiverConfig(num_latents=5, d_latents=16, num_blocks=1,
        num_self_attends_per_block=1, num_self_attention_heads=2, num_cross_attention_heads=1)
    config.update(changes)
    return transformers.PerceiverForImageClassificationFourier(config).eval()

IMAGES = torch.ones(1, 3, 6, 5)
"""
RIGHT = """
def test_calls():
    model()(IMAGES)
    model()(IMAGES, output_attentions=True)
    model(hidden_act="mish")(IMAGES)
"""
WRONG = """
def test_call(monkeypatch):
    run = PerceiverIOCore.run
    monkeypatch.setattr(PerceiverIOCore, "run", lambda *a: [1.01 * x for x in run(*a)])
    model()(IMAGES)

def test_failure():
    assert type(model().perceiver) is transformers.PerceiverModel
"""


def result_of(folder, tests):
    path = folder / "tests/models/perceiver/test_modeling_perceiver.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(BEGINNING + tests)
    tool = ROOT / "tools/transformers_suite.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, tool, folder], env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_calls_are_counted_and_compared(tmp_path):
    run = result_of(tmp_path, RIGHT)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "tests: 1 passed, 0 skipped, 0 failed" in run.stdout
    assert "models: 2 accelerated, 1 left as they are" in run.stdout
    assert "1: its configuration: hidden_act is 'mish'" in run.stdout
    assert "calls: 1 of the core, each compared; 1 of transformers' own code" in run.stdout


@pytest.mark.slow
def test_differences_and_failures_are_found(tmp_path):
    run = result_of(tmp_path, WRONG)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 pass without acceleration" in run.stdout
    assert "too large" in run.stdout
    assert "test_call (call)" in run.stdout
    assert "test_failure" in run.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_run_without_models_fails(tmp_path):
    run = result_of(tmp_path, "import a_package_that_is_not_installed\n")
    assert run.returncode == 1
    assert "No model was accelerated" in run.stdout
