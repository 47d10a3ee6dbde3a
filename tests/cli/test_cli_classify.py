"""``ivy-models classify``: folders, formats, bad images, endings before the end."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import CHOSEN, ROOT, heed_interrupts, unset_backends
from helpers.specs import small_spec
from PIL import Image

from ivy_models import classify, classify_each, create_model
from ivy_models.cli import main
from ivy_models.errors import InputError
from ivy_models.preprocessing import SoundPreprocessing
from ivy_models.transformers.perceiver_io import PerceiverIO

SEVEN = str(ROOT / "examples" / "seven.png")
PROGRAM = [sys.executable, "-m", "ivy_models", "classify"]


@pytest.fixture
def folder(tmp_path, rng):
    """Five images, one of them broken, not created in sorted order."""
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
    assert result.stderr.endswith("1 of 6 files could not be classified.\n")
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
    assert f"There are no files in {tmp_path}" in result.stderr
    for i in range(7):
        (tmp_path / f"{i}.txt").write_text("no image")
    result = run("classify", str(tmp_path))
    assert result.exit_code == 2
    assert "The model's preprocessing can open none of the files" in " ".join(result.stderr.split())
    assert "2 more" in result.stderr


def test_a_folder_is_read_whole(run, tmp_path, rng):
    image = Image.fromarray(rng.integers(0, 256, (9, 8), np.uint8))
    names = ["a.jp2", "b.tga", "c.ico", "d.pcx", "e.jfif", "f.pgm"]
    for name in names:
        image.save(tmp_path / name, sizes=[image.size])  # by default Pillow 10.1 saves no icon
    image.save(tmp_path / "without_suffix", "PNG")
    image.save(tmp_path / "wrong.txt", "GIF")
    (tmp_path / "broken.png").write_text("no image")
    (tmp_path / ".git").mkdir()
    image.save(tmp_path / ".git" / "hidden.png")
    passed_over = ["clip.mpg", "data.h5", "labels.csv", "notes.txt", "page.pdf", "zip.zip"]
    for name in passed_over:
        (tmp_path / name).write_text("no image")
    result = run("classify", str(tmp_path), "--format", "jsonl")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    found = sorted([*names, "without_suffix", "wrong.txt", "broken.png"])
    assert [Path(line["image"]).name for line in lines] == found
    assert [Path(line["image"]).name for line in lines if "error" in line] == ["broken.png"]
    first = result.stderr.splitlines()[0]
    assert first.startswith("Passed over 6 files that the model's preprocessing cannot open: ")
    assert all(str(tmp_path / name) in first for name in passed_over[:5])
    assert first.endswith(" and 1 more.")


def test_a_folder_of_sounds(run, tmp_path, rng):
    spec = small_spec(num_input_axes=1, input_dim=1, output_dim=2, query_shape=[1])
    model = PerceiverIO(spec)
    model.preprocessing = SoundPreprocessing(8000, 64)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "sounds").mkdir()
    for name in ("a.wav", "b.WAV", "c"):
        with wave.open(str(tmp_path / "sounds" / name), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(rng.integers(-99, 99, 80, np.int16).tobytes())
    (tmp_path / "sounds" / "notes.txt").write_text("no sound")
    Image.new("L", (8, 8)).save(tmp_path / "sounds" / "cover.png")
    options = ["--model", str(tmp_path / "model"), "--format", "jsonl"]
    result = run("classify", str(tmp_path / "sounds"), *options)
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["image"]).name for line in lines] == ["a.wav", "b.WAV", "c"]
    assert "Passed over 2 files" in result.stderr


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_stdin(name):
    image, runner = Path(SEVEN).read_bytes(), CliRunner()
    result = runner.invoke(main, ["classify", name, "--json", "--top", "1"], input=image)
    (line,) = map(json.loads, result.stdout.splitlines())
    assert (line["image"], line["predictions"][0]["label"]) == ("-", "seven")
    for output, begin in (("text", "-:\n"), ("csv", "image,rank,label,probability,error\n-,1,")):
        result = runner.invoke(main, ["classify", name, SEVEN, "--format", output], input=image)
        assert result.stdout.startswith(begin)
        assert SEVEN in result.stdout
    result = runner.invoke(main, ["classify", name], input=b"no image")
    assert result.exit_code == 1
    assert "is not an image" in result.stderr
    unset_backends()


def test_names_from_a_file(tmp_path):
    runner, names = CliRunner(), tmp_path / "names.txt"
    names.write_text(f"{SEVEN}\n{SEVEN}\n")
    for arguments, listed, number in (
        (["--files-from", str(names)], None, 2),
        (["--files-from", "-", SEVEN], f"{SEVEN}\nnowhere.png\n", 3),
    ):
        result = runner.invoke(main, ["classify", *arguments, "--json"], input=listed)
        records = list(map(json.loads, result.stdout.splitlines()))
        assert len(records) == number
        assert result.exit_code == any("error" in record for record in records)
    assert "nowhere.png cannot be read" in result.stderr
    unset_backends()


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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends the signal of Ctrl-C")
def test_an_interrupted_run_keeps_its_results(folder):
    with (folder / "errors").open("w+") as errors:
        command = [*PROGRAM, *[str(folder)] * 10_000]
        program = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, preexec_fn=heed_interrupts
        )
        # Nobody reads on, so the program waits for a full pipe long before its end.
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
    """Output of a terminal until its other end is closed, which Linux reports as an error."""
    shown = b""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 10_000):
            shown += part
    return shown.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="makes a terminal as Linux does")
def test_the_progress_bar_shows_if_results_are_redirected(folder):
    import pty
    import termios

    main_end, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with ThreadPoolExecutor(
        1
    ) as pool:  # read continuously, because a full terminal blocks the program
        shown = pool.submit(read_all, main_end)
        run = subprocess.run([*PROGRAM, str(folder)], stdout=subprocess.PIPE, stderr=terminal)
        os.close(terminal)
        assert "5/5" in shown.result()
    os.close(main_end)
    assert run.stdout.count(b"\n") == 4 * 4
    assert "file/s" not in subprocess.run([*PROGRAM, SEVEN], capture_output=True, text=True).stderr


# From Python


class Counting:
    """A model that records its batch sizes."""

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
    with pytest.raises(InputError, match="must be at least 1"):
        classify_each(model, [], top, batch_size)


class Raising:
    """A user's preprocessing that fails for some sources."""

    def __call__(self, source):
        if isinstance(source, BaseException):
            raise source
        return np.full(source, 0.5, np.float32)


@pytest.mark.parametrize("batch_size", [1, 10])
def test_classify_each_goes_on_after_any_failure(backend, batch_size):
    model = create_model("perceiver_io_digits", pretrained=True)
    model.preprocessing = Raising()
    good, other_shape = (8, 8, 1), (3, 5)
    bad = [RuntimeError("my bug"), MemoryError(), SystemError("odd"), InputError("too dark")]
    results = list(classify_each(model, [good, *bad, other_shape, good], 1, batch_size))
    assert [result.predictions is None for result in results] == [False, *[True] * 5, False]
    errors = [str(result.error) for result in results[1:6]]
    assert "my bug" in errors[0]
    assert "not enough memory" in errors[1]
    assert "RuntimeError('my bug')" in errors[0]
    assert "(3, 5)" in errors[4]
    with pytest.raises(InputError, match="my bug"):
        classify(model, [good, bad[0]])
    with pytest.raises(KeyboardInterrupt):
        list(classify_each(model, [KeyboardInterrupt()]))


def test_wrong_labels_stop_every_image(backend):
    model = create_model("perceiver_io_digits", pretrained=True)
    model.labels = ("one", "two")
    with pytest.raises(InputError, match="2 labels for 10 classes"):
        list(classify_each(model, [np.zeros((8, 8), np.uint8)] * 2))


def test_no_sources_give_no_predictions(backend):
    model = create_model("perceiver_io_digits", pretrained=True)
    assert classify(model, []) == []
    assert list(classify_each(model, [])) == []
