"""``ivy-models classify``: folders, formats, bad images, endings before the end."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import CHOSEN, ROOT, heed_interrupts
from PIL import Image

from ivy_models import classify, classify_each, create_model
from ivy_models.errors import InputError
from ivy_models.transformers.perceiver_io import PerceiverIO

SEVEN = str(ROOT / "examples" / "seven.png")
PROGRAM = [sys.executable, "-m", "ivy_models", "classify"]


@pytest.fixture
def folder(tmp_path, rng):
    """Five images, one of them broken, in an order that is not that of their making."""
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "d.JPG", "sub/c.bmp", "a.png"):
        Image.fromarray(rng.integers(0, 256, (9, 8), np.uint8)).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    for name in ("notes.txt", ".hidden.png"):
        (tmp_path / name).write_text("no image")
    return tmp_path


IN_ORDER = ["a.png", "b.png", "bad.png", "d.JPG", "sub/c.bmp"]


@pytest.mark.parametrize("backend_name", CHOSEN)
def test_a_folder_in_batches(run, folder, backend_name):
    options = ["--backend", backend_name, "--top", "2", "--format", "jsonl", "--batch-size", "3"]
    result = run("classify", str(folder), SEVEN, *options)
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["image"] for line in lines] == [*(str(folder / n) for n in IN_ORDER), SEVEN]
    bad = lines.pop(2)
    assert "cannot be read" in bad["error"]
    assert "predictions" not in bad
    assert f"Error: {bad['error']}\n" in result.stderr
    assert result.stderr.endswith("1 of 6 images could not be classified.\n")
    model = create_model("perceiver_io_digits", pretrained=True)
    for line in lines:
        alone = classify(model, line["image"], 2)
        labels = [prediction["label"] for prediction in line["predictions"]]
        assert labels == [prediction.label for prediction in alone]
        probabilities = [prediction["probability"] for prediction in line["predictions"]]
        assert probabilities == pytest.approx([p.probability for p in alone], abs=1e-5)


def test_csv(run, folder):
    result = run("classify", str(folder), "--format", "csv", "--top", "2")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [Path(row["image"]).name for row in rows] == [
        name for name in map(os.path.basename, IN_ORDER) for _ in range(1 + (name != "bad.png"))
    ]
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2", "", "1", "2", "1", "2"]
    assert "cannot be read" in rows[4]["error"]
    assert 0 < float(rows[0]["probability"]) <= 1


def test_a_folder_without_images(run, tmp_path):
    result = run("classify", str(tmp_path))
    assert result.exit_code == 2
    assert f"There are no images in {tmp_path}" in result.stderr


def test_a_saved_model(run, tmp_path):
    create_model("perceiver_io_digits", pretrained=True).save_pretrained(tmp_path / "saved")
    result = run("classify", SEVEN, "--model", str(tmp_path / "saved"), "--dtype", "float64")
    assert "seven" in result.stdout
    arguments = ["--model", str(tmp_path / "saved"), "--weights", "other"]
    assert run("classify", SEVEN, *arguments).exit_code == 2


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_dtype_is_that_of_the_weights(run, monkeypatch):
    dtypes = []
    forward = PerceiverIO._forward
    monkeypatch.setattr(
        PerceiverIO,
        "_forward",
        lambda self, *data, **v: dtypes.append(self.v.latents.dtype) or forward(self, *data, **v),
    )
    assert run("classify", SEVEN, "--backend", "torch", "--dtype", "bfloat16").exit_code == 0
    assert [str(dtype) for dtype in dtypes] == ["bfloat16"]
    result = run("classify", SEVEN, "--dtype", "bfloat16")
    assert (result.exit_code, "Use another backend" in result.stderr) == (1, True)


def test_a_broken_pipe_has_no_traceback(folder):
    program = subprocess.Popen(
        [*PROGRAM, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    program.stdout.close()  # as `| head -0` does
    assert "Traceback" not in program.stderr.read()
    assert program.wait() == 1
    program.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="sends the signal of Ctrl-C")
def test_an_interrupted_run_keeps_what_it_has(folder):
    with (folder / "errors").open("w+") as errors:
        command = [*PROGRAM, *[str(folder)] * 10_000]
        program = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, preexec_fn=heed_interrupts
        )
        # Nobody reads on, so the program is waiting for a full pipe long before its end.
        first = program.stdout.readline()
        program.send_signal(signal.SIGINT)
        printed, _ = program.communicate()
        assert program.returncode == 130
        lines = [first, *printed.splitlines(keepends=True)]
        errors.seek(0)
        assert errors.read().endswith("Interrupted.\n")
    assert lines[0] == f"{folder / 'a.png'}:\n"
    assert lines[-1].endswith("\n")
    assert len(lines) < 10_000


def read_all(terminal):
    """What a terminal shows until its other end is closed, which Linux reports as an error."""
    shown = b""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 10_000):
            shown += part
    return shown.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="makes a terminal as Linux does")
def test_a_bar_where_results_go_elsewhere(folder):
    import pty
    import termios

    main_end, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with ThreadPoolExecutor(1) as pool:  # reads along: a full terminal holds the program up
        shown = pool.submit(read_all, main_end)
        run = subprocess.run([*PROGRAM, str(folder)], stdout=subprocess.PIPE, stderr=terminal)
        os.close(terminal)
        assert "5/5" in shown.result()
    os.close(main_end)
    assert run.stdout.count(b"\n") == 4 * 4
    assert "image/s" not in subprocess.run([*PROGRAM, SEVEN], capture_output=True, text=True).stderr


# From Python


class Counting:
    """A model that remembers how many it was called with at a time."""

    def __init__(self, model):
        self.model, self.batches = model, []
        self.preprocessing, self.labels, self.spec = model.preprocessing, model.labels, model.spec

    def __call__(self, data):
        self.batches.append(len(data))
        return self.model(data)


def test_classify_each_fills_its_batches(folder):
    model = Counting(create_model("perceiver_io_digits", pretrained=True))
    sources = [folder / name for name in IN_ORDER] + [np.zeros((8, 8), np.uint8)]
    results = list(classify_each(model, iter(sources), top=1, batch_size=3))
    assert model.batches == [3, 2]
    assert [result.source for result in results[:5]] == sources[:5]
    assert [result.error is None for result in results] == [True, True, False, True, True, True]
    assert [result.predictions is None for result in results].count(True) == 1
    assert all(len(result.predictions) == 1 for result in results if result.predictions)


def test_classify_each_reads_no_further_than_a_batch(folder):
    model = create_model("perceiver_io_digits", pretrained=True)

    def sources():
        yield folder / "bad.png"
        yield folder / "a.png"
        yield folder / "b.png"
        raise AssertionError("read too far")

    results = classify_each(model, sources(), batch_size=2)
    assert next(results).error is not None
    assert next(results).predictions is not None
    assert next(results).predictions is not None


@pytest.mark.parametrize(("top", "batch_size"), [(0, 1), (1, 0)])
def test_classify_each_refuses_at_once(top, batch_size):
    model = create_model("perceiver_io_digits", pretrained=True)
    with pytest.raises(InputError, match="is at least 1"):
        classify_each(model, [], top, batch_size)
