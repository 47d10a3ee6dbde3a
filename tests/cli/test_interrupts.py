"""Ctrl-C while a command writes: the exit code of shells, the old file, and nothing else."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers import heed_interrupts
from helpers.models import video_model
from helpers.specs import small_spec

from ivy_models.preprocessing import write_video
from ivy_models.transformers.perceiver_io import PerceiverIO

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends the signal of Ctrl-C")

WAITING = """
import os, sys, time
from ivy_models.cli import main

def wait(*_):
    print("about to replace", flush=True)
    time.sleep(60)

os.replace = wait
main(sys.argv[1:])
"""
"""Runs a command up to where what it has written is to take its name."""


def interrupt(*arguments, cwd):
    program = subprocess.Popen(
        [sys.executable, "-c", WAITING, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        preexec_fn=heed_interrupts,
    )
    assert program.stdout.readline() == "about to replace\n", program.communicate()[1]
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=30)
    assert program.returncode == 130
    assert errors.endswith("Interrupted.\n")
    assert "Traceback" not in errors


def content(folder):
    """Files by their bytes, and folders."""
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.fixture
def folder(tmp_path):
    """Within another, for Ivy's log."""
    (tmp_path / "within").mkdir()
    return tmp_path / "within"


def test_convert(folder):
    PerceiverIO(small_spec()).save_pretrained(folder / "new")
    PerceiverIO(small_spec(), seed=1).save_pretrained(folder / "old")
    before = content(folder)
    interrupt("convert", folder / "new", folder / "old", cwd=folder.parent)
    assert content(folder) == before


def test_video(folder, rng):
    video_model().save_pretrained(folder / "model")
    write_video(folder / "clip.mp4", rng.random((4, 16, 16, 3), np.float32), np.zeros(64, "f4"))
    (folder / "old.mp4").write_bytes(b"old")
    before = content(folder)
    options = ["--model", folder / "model"]
    interrupt("video", folder / "clip.mp4", folder / "old.mp4", *options, cwd=folder.parent)
    assert content(folder) == before
