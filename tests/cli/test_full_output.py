"""Output that cannot be written: a full disk or a closed pipe ends every command in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import CHOSEN, ROOT
from helpers.specs import flow_spec, language_spec
from PIL import Image

from ivy_models import perceiver_io_language
from ivy_models.cli import main
from ivy_models.transformers.perceiver_io import PerceiverIO

SEVEN = str(ROOT / "examples" / "seven.png")
DIGITS = "perceiver_io_digits"
FULL = Path("/dev/full")
COMMANDS = {
    "list": [],
    "info": [DIGITS],
    "classify": [SEVEN],
    "fill-mask": ["a[MASK]", "--model", "text"],
    "flow": ["frame.png", "frame.png", "o.flo", "--model", "flow"],
    "convert": [str(ROOT / "ivy_models" / "data" / DIGITS), "converted"],
    "benchmark": [DIGITS, "--repeats", "1"],
}

pytestmark = [
    pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full"),
    pytest.mark.skipif("numpy" not in CHOSEN, reason="needs NumPy"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    perceiver_io_language(language_spec(), pretrained=False).save_pretrained(folder / "text")
    PerceiverIO(flow_spec()).save_pretrained(folder / "flow")
    Image.new("RGB", (11, 9)).save(folder / "frame.png")
    return folder


def start(folder, arguments, **streams):
    command = [sys.executable, "-m", "ivy_models", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, text=True, env=environment, **streams)


HELP = [["--help"], ["--version"], *([name, "--help"] for name in main.commands)]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[name, *rest] for name, rest in COMMANDS.items()] + HELP)
def test_a_full_disk(folder, arguments):
    with FULL.open("w") as full:
        program = start(folder, arguments, stdout=full, stderr=subprocess.PIPE)
        _, errors = program.communicate()
    lines = [line for line in errors.splitlines() if not line.startswith("Measuring ")]
    assert lines == ["Error: the output cannot be written: No space left on device."]
    assert program.returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_pipe(folder, name):
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    program = start(folder, [name, *COMMANDS[name]], **pipe)
    program.stdout.close()  # as `| head -0` does
    lines = [line for line in program.stderr if not line.startswith("Measuring ")]
    program.stderr.close()
    assert (program.wait(), lines) == (1, [])


def test_full_streams_for_results_and_errors(folder):
    with FULL.open("w") as full:
        program = start(folder, ["classify", SEVEN, "none.png"], stdout=full, stderr=full)
        assert program.wait() == 1
