"""``ivy-models train`` from data of each kind to predictions, and what can go wrong."""

import csv
import io
import json
import os
import re
import signal
import wave

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.training import draw_nothing, heeding_ctrl_c
from PIL import Image

from ivy_models import classify
from ivy_models.errors import TrainingError
from ivy_models.preprocessing import (
    ImageColumn,
    ImagePreprocessing,
    NumberColumn,
    TablePreprocessing,
)
from ivy_models.preprocessing.targets import ClassTarget, NumberTarget
from ivy_models.training.progress import Progress
from ivy_models.training.settings import (
    default_batch_size,
    default_epochs,
    default_weight_decay,
)
from ivy_models.transformers.perceiver_io import PerceiverIO

TINY = ["--model", "tiny", "--epochs", "2", "--batch-size", "8"]

pytestmark = pytest.mark.skipif("torch" not in CHOSEN, reason="trains on torch")


@pytest.fixture(autouse=True)
def only_photos_are_drawn(request, monkeypatch):
    if request.node.name != "test_photos":
        draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty images: bright and dark ones."""
    folder, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for i in range(40):
        name, low = (("bright", 128), ("dark", 0))[i % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(low, low + 128, (16, 16), np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Twenty sounds: noise and silence."""
    folder, rng = tmp_path_factory.mktemp("data") / "sounds", np.random.default_rng(0)
    for i in range(20):
        name, loudness = (("noise", 20000), ("silence", 10))[i % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        with wave.open(str(folder / name / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(rng.integers(-loudness, loudness, 1000).astype(np.int16).tobytes())
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Twenty texts of two kinds."""
    folder = tmp_path_factory.mktemp("data") / "texts"
    for i in range(20):
        name, words = (("good", "I like it"), ("bad", "I regret it"))[i % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{i}.txt").write_text(f"{words}, {i} times.")
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A hundred rows of mixed columns, with a class and a number to predict."""
    path, rng = tmp_path_factory.mktemp("data") / "people.csv", np.random.default_rng(0)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["annual income", "city", "joined", "comment", "buys", "spent"])
        for i in range(100):
            income, city = rng.integers(20, 90), rng.choice(["Bern", "Rome", "Oslo"])
            shown = "" if rng.random() < 0.1 else income
            joined = f"2024-{rng.integers(1, 13):02}-{rng.integers(1, 29):02}"
            comment = f"{rng.choice(['likes it a lot', 'never came back'])}, visit {i}"
            buys, spent = ("yes" if income > 50 else "no"), income * 1.5 + rng.normal()
            rows.writerow([shown, city, joined, comment, buys, f"{spent:.2f}"])
    return path


def test_photos(run, photos, tmp_path):
    folder = tmp_path / "my model"
    result = run("train", str(photos), "--output", str(folder), *TINY, "--epochs", "8")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    for said in (
        "target  label   class  2 classes: bright (20), dark (20)",
        "32 examples to train, 8 to validate",
        "label (2 classes)",
        "parameters",
        "epoch 8:",
        "Best epoch: ",
        f"ivy-models predict '{folder}' NEW_DATA",
    ):
        assert said in result.stderr
    model = PerceiverIO.from_pretrained(folder)
    assert model.labels == ("bright", "dark")
    assert model.targets == (ClassTarget("label", ("bright", "dark")),)
    assert (folder / "report" / "confusion_label.png").exists()
    card = (folder / "README.md").read_text()
    assert f"ivy-models train {photos} --output '{folder}' --model tiny --epochs 8" in card

    metrics = json.loads(run("evaluate", str(folder), str(photos), "--json").stdout)["label"]
    assert metrics["examples"] == 40
    assert metrics["accuracy"] > 0.9
    predicted = run("predict", str(folder), str(photos / "dark"), "--json")
    values = [json.loads(line)["values"]["label"] for line in predicted.stdout.splitlines()]
    assert sum(value["label"] == "dark" for value in values) > 17
    image = photos / "dark" / "1.png"
    assert values[0]["probability"] == pytest.approx(classify(model, image)[0].probability, 1e-4)
    result = run("classify", "--model", str(folder), str(image), "--top", "1")
    assert "dark" in result.stdout
    assert "label (2 classes)" in run("info", str(folder)).stdout

    result = run("train", str(photos), "--output", str(folder), *TINY)
    assert result.exit_code == 2
    assert "--resume" in result.stderr
    tuned = tmp_path / "tuned"
    options = ["--model", str(folder), "--epochs", "1", "--freeze", "processor"]
    result = run("train", str(photos), "--output", str(tuned), *options)
    assert result.exit_code == 0, result.output
    assert run("evaluate", str(tuned), str(photos)).exit_code == 0


@pytest.mark.skipif("paddle" not in CHOSEN, reason="needs paddle")
def test_photos_on_another_framework(run, photos, tmp_path):
    """On Paddle, which compiles nothing; test_loop.py trains on all of them."""
    small = tmp_path / "small.json"
    small.write_text('{"num_lat_att_per_layer": 1, "num_latents": 4, "stem_dim": 8}')
    options = [*TINY, "--epochs", "1", "--spec", str(small), "--backend", "paddle"]
    result = run("train", str(photos), "--output", str(tmp_path / "model"), *options)
    assert result.exit_code == 0, result.output
    assert "Training: paddle" in result.stderr
    assert run("predict", str(tmp_path / "model"), str(photos / "dark")).exit_code == 0


def test_a_table(run, table, tmp_path):
    targets = ["--target", "buys", "--target", "spent"]
    result = run("train", str(table), "--output", str(tmp_path), *targets, *TINY)
    assert result.exit_code == 0, result.output
    for said in ("annual income  number", "city           category", "comment        text"):
        assert said in result.stderr
    assert "| weight_decay | 4.0 |" in (tmp_path / "README.md").read_text()
    model = PerceiverIO.from_pretrained(tmp_path)
    assert model.labels is None
    assert model.targets[0] == ClassTarget("buys", ("no", "yes"))
    assert isinstance(model.targets[1], NumberTarget)
    found = list(csv.DictReader(io.StringIO(run("predict", str(tmp_path), str(table)).stdout)))
    assert len(found) == 100
    assert {row["buys"] for row in found} <= {"no", "yes"}
    assert all(np.isfinite(float(row["spent"])) for row in found)
    lacking = tmp_path / "lacking.csv"
    lacking.write_text("city\nBern\n")
    result = run("predict", str(tmp_path), str(lacking))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "lacks columns that the model reads: annual income, joined, comment." in result.stderr
    result = run("evaluate", str(tmp_path), str(table), "--json")
    assert list(json.loads(result.stdout)) == ["buys", "spent"]
    for command in (
        ("classify", "--model", str(tmp_path), str(table)),
        ("demo", "--model", str(tmp_path), "--no-browser"),
    ):
        refused = run(*command)
        assert refused.exit_code in (1, 2)
        assert "ivy-models predict" in " ".join(refused.stderr.split())
    text = run("info", str(tmp_path)).stdout
    for column in ("annual income", "city", "joined", "comment"):
        assert column in text
    assert "buys (2 classes), spent (number)" in text


def test_sounds(run, sounds, tmp_path):
    result = run("train", str(sounds), "--output", str(tmp_path), *TINY, "--patience", "1")
    assert result.exit_code == 0, result.output
    assert run("predict", str(tmp_path), str(sounds)).stdout.count(".wav") == 20
    result = run("classify", "--model", str(tmp_path), str(sounds / "noise"), "--json")
    assert result.stdout.count("noise") >= 10


def test_texts(run, texts, tmp_path):
    for name in ("metrics.csv", "checkpoint.safetensors", "events.out.tfevents.1.0"):
        (tmp_path / name).write_text("of an earlier run")
    result = run("train", str(texts), "--output", str(tmp_path), *TINY, "--overwrite")
    assert result.exit_code == 0, result.output
    assert all(b"earlier" not in file.read_bytes() for file in tmp_path.glob("*.*"))
    assert run("predict", str(tmp_path), str(texts)).stdout.count(".txt") == 20
    result = run("classify", "--model", str(tmp_path), str(texts / "good"), "--json")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 10)
    assert "report" in {path.name for path in tmp_path.iterdir()}
    page = (tmp_path / "report" / "mistakes_label.html").read_text()
    assert "<h1>Worst mistakes: label</h1>" in page


def test_control_characters_of_names_are_escaped(run, texts, tmp_path):
    """Names of folders can hold line breaks, and escapes that change a terminal."""
    odd = "good\n\x1b[31m"
    for name, own in (("good", odd), ("bad", "bad")):
        (tmp_path / "texts" / own).mkdir(parents=True)
        for file in (texts / name).iterdir():
            (tmp_path / "texts" / own / file.name).write_bytes(file.read_bytes())
    (tmp_path / "texts" / odd / "1.txt").write_bytes(b"")
    data, model = str(tmp_path / "texts"), str(tmp_path / "model")
    trained = run("train", data, "--output", model, *TINY, "--epochs", "1")
    assert trained.exit_code == 0, trained.output
    assert r"2 classes: bad (10), good\n\x1b[31m (11)" in trained.stderr
    evaluated = run("evaluate", model, data)
    for result in (trained, evaluated, run("evaluate", model, str(texts))):
        assert "\x1b" not in result.output
    assert r"good\n\x1b[31m" in evaluated.stdout
    found = csv.DictReader(io.StringIO(run("predict", model, data).stdout))
    assert {row["source"].rpartition("/")[0] for row in found} == {odd, "bad"}


def test_stopped_and_resumed(run, photos, tmp_path, monkeypatch):
    """Ctrl-C ends with a sentence; the resumed run gives the weights of a run that went through."""
    options = [*TINY, "--epochs", "6"]

    def train(name, *more):
        return run("train", str(photos), "--output", str(tmp_path / name), *options, *more)

    with monkeypatch.context() as patch, heeding_ctrl_c():
        patch.setattr(Progress, "epoch", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        result = train("stopped")
    assert result.exit_code == 130, result.output
    assert result.stderr.endswith("The same command with --resume continues.\n")
    assert "Traceback" not in result.stderr
    epochs = []
    for name, *more in (("stopped", "--finish"), ("stopped", "--resume"), ("whole",)):
        result = train(name, *more)
        assert result.exit_code == 0, result.output
        epochs.append(int(re.search(r"Best epoch: \d+ of (\d+)", result.stderr)[1]))
    assert epochs[0] < epochs[1] == epochs[2]
    first, second = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("stopped", "whole")
    )
    assert first == second
    assert train("stopped", "--resume").exit_code == 0  # there is no step left
    assert (tmp_path / "stopped" / "model.safetensors").read_bytes() == second


def test_data_that_changed_are_named(run, table, tmp_path):
    """A new category changes the preprocessing and the spec, which are no causes."""
    data = tmp_path / "people.csv"
    command = ["train", str(data), "--output", str(tmp_path / "model"), "--target", "buys"]
    command += [*TINY, "--epochs", "1"]
    rows = table.read_text().splitlines()
    data.write_text("\n".join(rows))
    assert run(*command).exit_code == 0
    for changed, message in (
        (
            [*rows[:5], rows[5].replace(rows[5].split(",")[1], "Kiel"), *rows[6:]],
            "was written: row 5.",
        ),
        (rows[:-1], "number of examples is"),
    ):
        data.write_text("\n".join(changed))
        result = run(*command, "--resume")
        assert result.exit_code == 1
        said = " ".join(result.stderr.partition("Error: ")[2].split())
        assert message in said
        assert "modalities" not in said
    data.write_text("\n".join(rows))
    result = run(*command, "--resume", "--column", "city=ignore")
    assert "kind of the column 'city' is category there and None here" in result.stderr


def test_refusals(run, photos, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    spec = tmp_path / "spec.json"
    spec.write_text('{"num_latentz": 3}')
    for arguments, code, message in (
        (["nowhere"], 1, "nowhere"),
        (["-"], 2, "stdin is not read here; save it to a file"),
        (["/dev/null"], 1, "is not a regular file. Save the data to a file first."),
        ([str(tmp_path / "a.xlsx")], 1, "a.xlsx has an unknown extension. Save the sheet as CSV."),
        ([str(tmp_path / "empty")], 1, "has no files"),
        ([str(photos), "--output", str(tmp_path / "notes"), "--overwrite"], 2, "no training run"),
        ([str(photos), "--output", str(spec)], 2, "is a file"),
        ([str(tmp_path / "empty"), "--output", str(spec / "new")], 2, "cannot be written: Not a d"),
        ([str(photos), "--resume", "--overwrite"], 2, "Choose one"),
        ([str(photos), "--finish", "--overwrite"], 2, "Choose one"),
        ([str(photos), "--output", str(photos / "model")], 2, "its files would become data"),
        ([str(photos), "--column", "label=ignore"], 1, "must be one of class, number"),
        ([str(photos), "--spec", str(spec)], 1, "Did you mean num_latents?"),
        ([str(photos), "--model", "huge"], 2, "tiny, small, base"),
        ([str(photos), "--metric", "f2"], 1, "metric must be one of"),
        ([str(photos), "--column", "label"], 2, "is not NAME=KIND"),
        ([str(photos), "--target", "x"], 1, "'x'"),
        ([str(photos), "--mixup", "-1"], 1, "mixup must be at least 0"),
    ):
        result = run("train", "--output", str(tmp_path / "new"), *arguments)
        assert result.exit_code == code, result.output
        assert message in " ".join(result.stderr.split())
        assert result.exception is None or isinstance(result.exception, SystemExit)
    assert (tmp_path / "notes" / "README.md").read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_a_refused_command_replaces_nothing(run, photos, tmp_path):
    (tmp_path / "metrics.csv").write_text("an earlier run")
    (tmp_path / "spec.json").write_text('{"with_final_head": false}')
    for arguments, message in (
        (["--metric", "f2"], "metric must be one of"),
        (["--freeze", "body"], "no weight matches"),
        (["--accumulate", "7"], "cannot be divided"),
        (["--spec", str(tmp_path / "spec.json")], "has with_final_head=False"),
    ):
        result = run("train", str(photos), "--output", str(tmp_path), "--overwrite", *arguments)
        assert result.exit_code == 1, result.output
        assert message in " ".join(result.stderr.split())
        assert (tmp_path / "metrics.csv").read_text() == "an earlier run"


@pytest.mark.parametrize("failing", ["make_trainer", "_Loop._step"])
def test_a_run_that_fails_at_once_replaces_nothing(run, photos, tmp_path, monkeypatch, failing):
    def fail(*_):
        raise TrainingError("the device is full")

    (tmp_path / "metrics.csv").write_text("an earlier run")
    (tmp_path / "checkpoint.safetensors").write_bytes(b"its checkpoint")
    monkeypatch.setattr(f"ivy_models.training.loop.{failing}", fail)
    result = run("train", str(photos), "--output", str(tmp_path), "--overwrite", *TINY)
    assert result.exit_code == 1, result.output
    assert "the device is full" in result.stderr
    assert (tmp_path / "metrics.csv").read_text() == "an earlier run"
    assert {file.name for file in tmp_path.iterdir()} == {"metrics.csv", "checkpoint.safetensors"}


def test_two_runs_in_one_folder(run, photos, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    result = run("train", str(photos), "--output", str(tmp_path), *TINY)
    os.close(held)
    assert result.exit_code == 1
    assert f"Another run writes to {tmp_path} at this moment." in result.stderr
    assert not list(tmp_path.iterdir())


def test_few_examples_have_small_batches():
    assert [default_batch_size(n) for n in (1, 100, 144, 400, 512, 10**6)] == [8, 8, 16, 32, 64, 64]


def test_more_examples_need_fewer_epochs():
    epochs = [default_epochs(n, 64) for n in (10, 500, 5000, 10**6)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] == 40
    assert epochs[-1] == 10


def test_small_tables_have_more_weight_decay():
    numbers = NumberColumn("age", 40, 15, [18, 40, 90])
    table = TablePreprocessing([numbers])
    decays = [default_weight_decay(table, n, 64, 2e-3) for n in (64, 1600, 6400, 10**6)]
    assert decays == pytest.approx([4, 4, 1, 0.0064], rel=0.01)
    assert default_weight_decay(table, 1600, 64, 0.0) == 4
    photo = ImageColumn("photo", ImagePreprocessing((8, 8)))
    for others in (ImagePreprocessing((8, 8)), TablePreprocessing([numbers, photo]), None):
        assert default_weight_decay(others, 1600, 64, 2e-3) == 0.05
