"""Ctrl-C while a command writes: the exit code of shells, the old file, and nothing else."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers import heed_interrupts
from helpers.models import video_model
from helpers.processes import LIMIT
from helpers.specs import small_spec

from ivy_models.preprocessing import write_video
from ivy_models.transformers.perceiver_io import PerceiverIO

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends the signal of Ctrl-C")

WAITING = """
import os, sys
from ivy_models.cli import main

def wait(*_):
    print("about to replace", flush=True)
    sys.stdin.read()

os.replace = wait
main(sys.argv[1:])
"""
"""Runs a command until it would rename the written file, then waits for the end of stdin."""


def interrupt(*arguments, cwd):
    program = subprocess.Popen(
        [sys.executable, "-c", WAITING, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        preexec_fn=heed_interrupts,
    )
    assert program.stdout.readline() == "about to replace\n", program.communicate()[1]
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=LIMIT)
    assert program.returncode == 130
    assert errors.endswith("Interrupted.\n")
    assert "Traceback" not in errors


def content(folder):
    """Contents of files, and names of folders."""
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_convert(tmp_path):
    PerceiverIO(small_spec()).save_pretrained(tmp_path / "new")
    PerceiverIO(small_spec(), seed=1).save_pretrained(tmp_path / "old")
    before = content(tmp_path)
    interrupt("convert", tmp_path / "new", tmp_path / "old", cwd=tmp_path)
    assert content(tmp_path) == before


def test_video(tmp_path, rng):
    video_model().save_pretrained(tmp_path / "model")
    write_video(tmp_path / "clip.mp4", rng.random((4, 16, 16, 3), np.float32), np.zeros(64, "f4"))
    (tmp_path / "old.mp4").write_bytes(b"old")
    before = content(tmp_path)
    options = ["--model", tmp_path / "model"]
    interrupt("video", tmp_path / "clip.mp4", tmp_path / "old.mp4", *options, cwd=tmp_path)
    assert content(tmp_path) == before
