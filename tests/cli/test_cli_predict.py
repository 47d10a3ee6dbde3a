"""``ivy-models predict`` and ``evaluate``: formats, broken sources, refusals."""

import csv
import io
import json

import numpy as np
import pytest
from helpers.specs import small_spec
from PIL import Image

from ivy_models import classify, predict
from ivy_models.models.sizes import spec_for
from ivy_models.preprocessing import (
    CategoryColumn,
    ImagePreprocessing,
    NumberColumn,
    SoundPreprocessing,
    TablePreprocessing,
)
from ivy_models.preprocessing.targets import ClassTarget, NumberTarget
from ivy_models.transformers.perceiver_io import PerceiverIO


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A classifier of two kinds of images, and a folder of five, one of them broken."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("round/a.png", "round/b.png", "square/a.png", "square/b.png"):
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 8), np.uint8)).save(folder / "data" / name)
    (folder / "data" / "round" / "bad.png").write_text("no image")
    model = PerceiverIO(small_spec(input_dim=1, output_dim=2, query_shape=[]))
    model.preprocessing = ImagePreprocessing((8, 8), 1)
    model.labels = ("round", "square")
    model.save_pretrained(folder / "model")
    return folder


SOURCES = ["round/a.png", "round/b.png", "round/bad.png", "square/a.png", "square/b.png"]


def test_a_folder_by_class(run, photos):
    model, data = str(photos / "model"), photos / "data"
    predicted = run("predict", model, str(data), "--output", str(photos / "found.csv"))
    assert (predicted.exit_code, predicted.stdout) == (1, "")
    assert predicted.stderr.count("bad.png is not an image") == 1
    assert predicted.stderr.endswith("1 of 5 sources could not be predicted.\n")
    rows = list(csv.DictReader((photos / "found.csv").open()))
    assert [row["source"] for row in rows] == SOURCES
    assert list(rows[0]) == ["source", "label", "label probability", "error"]
    assert "bad.png" in rows[2]["error"]
    assert rows[2]["label"] == ""
    loaded = PerceiverIO.from_pretrained(model)
    for row in (rows[0], *rows[3:]):
        (best,) = classify(loaded, data / row["source"], 1)
        assert row["label"] == best.label
        assert float(row["label probability"]) == pytest.approx(best.probability, rel=1e-4)

    lines = run("predict", model, str(data), "--json").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert found[0]["values"]["label"]["label"] == rows[0]["label"]
    assert list(found[2]) == ["source", "error"]

    result = run("evaluate", model, str(data), "--json")
    assert result.exit_code == 1
    metrics = json.loads(result.stdout)["label"]
    usable = [row for row in rows if not row["error"]]
    right = [row["label"] == row["source"].split("/")[0] for row in usable]
    assert metrics["accuracy"] == np.mean(right)
    confusion = np.array(metrics["confusion"])
    assert (confusion.sum(), np.trace(confusion)) == (4, sum(right))
    text = run("evaluate", model, str(data)).stdout
    assert f"{np.mean(right):.1%}" in text
    assert "as square" in text


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    columns = [NumberColumn("age", 40, 15, [18, 40, 90]), CategoryColumn("city", ["Bern", "Rome"])]
    preprocessing = TablePreprocessing(columns)
    targets = (NumberTarget("error", 1000.0, 100.0), ClassTarget("buys", ("no", "yes")))
    model = PerceiverIO(spec_for(preprocessing, targets, 2, "tiny"))
    model.preprocessing = preprocessing
    model.targets = targets
    model.save_pretrained(folder / "model")
    (folder / "rows.csv").write_text("age,city,error,buys\n29,Rome,900,yes\n,Oslo,1100,no\n")
    return folder


def test_a_table_with_two_targets(run, table):
    model, data = str(table / "model"), str(table / "rows.csv")
    result = run("predict", model, data)
    assert (result.exit_code, result.stderr) == (0, "")
    header, *rows = csv.reader(io.StringIO(result.stdout))
    assert header == ["source", "error", "buys", "buys probability", "error_"]
    assert len(rows) == 2
    assert {row[2] for row in rows} <= {"no", "yes"}
    metrics = json.loads(run("evaluate", model, data, "--target", "error", "--json").stdout)
    assert list(metrics) == ["error"]
    errors = [float(row[1]) - true for row, true in zip(rows, (900, 1100), strict=True)]
    assert metrics["error"]["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert metrics["error"]["rmse"] == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-5)
    assert "R2" in run("evaluate", model, data).stdout
    refused = run("classify", "--model", model, data)
    assert refused.exit_code == 1
    assert "ivy-models predict" in refused.stderr


def test_rows_are_prepared_together_as_alone(table):
    model = PerceiverIO.from_pretrained(table / "model")
    rows = [{"age": "29", "city": "Rome"}, {"age": None, "city": "Oslo"}]
    for own in (rows, [rows[0], {"age": "1"}, rows[1]]):
        for together, alone in zip(predict(model, own, 3), predict(model, own), strict=True):
            assert str(together.error) == str(alone.error)
            assert (alone.values is None) == ("city" not in alone.source)
            if alone.values is not None:
                assert together.values["error"] == pytest.approx(alone.values["error"], rel=1e-5)


def test_cells_that_are_not_known_are_named(run, table, tmp_path):
    model, data = str(table / "model"), tmp_path / "new.csv"
    data.write_text(
        "age,city,error,buys\n29 years,Rome,900,yes\n,Oslo,1100,no\n30 years,Bern,1,no\n"
    )
    for command in ("predict", "evaluate"):
        result = run(command, model, str(data))
        assert result.exit_code == 0
        said = "Warning: 100% of the cells of 'age' are not known as number, such as '29 years', so"
        assert result.stderr.startswith(said)
        assert "'city'" not in result.stderr
    data.write_text("age,city,error,buys\n29,Z\xfcrich,900,yes\n", encoding="cp1252")
    assert (
        "not written in UTF-8, so it is read as Windows" in run("predict", model, str(data)).stderr
    )


def test_rows_without_a_known_truth_are_counted(run, table, photos, tmp_path):
    """One unknown class does not refuse the others; as for broken rows, the exit code is 1."""
    model, data = str(table / "model"), tmp_path / "new.csv"
    rows = ["29,Rome,900,yes", ",Oslo,1100,no", "30,Bern,free,maybe", "31,Bern,,perhaps"]
    data.write_text("\n".join(["age,city,error,buys", *rows, "32,Rome,1000,maybe"]))
    result = run("evaluate", model, str(data), "--json")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Warning: Left out, without a value of 'error': 1 of 5 rows.",
        "Warning: Left out, because not a number: 1 of 5 rows, error free (1).",
        "Warning: Left out, because the model has no such class: 3 of 5 rows, buys maybe (2), "
        "perhaps (1).",
    ]
    metrics = json.loads(result.stdout)
    assert (metrics["error"]["examples"], metrics["buys"]["examples"]) == (3, 2)
    data.write_text("\n".join(["age,city,error,buys", rows[0], "30,Bern,,no"]))
    result = run("evaluate", model, str(data), "--target", "error")
    assert result.exit_code == 0
    assert result.stderr == "Warning: Left out, without a value of 'error': 1 of 2 rows.\n"
    data.write_text("\n".join(["age,city,error,buys", rows[2]]))
    result = run("evaluate", model, str(data), "--target", "buys")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No example has a known value of the target 'buys'. It is one of" in result.stderr


def test_refusals(run, photos, table, tmp_path):
    image_model, table_model = str(photos / "model"), str(table / "model")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "photos").mkdir()
    rows = str(table / "rows.csv")
    two = PerceiverIO.from_pretrained(table_model)
    one = PerceiverIO(spec_for(two.preprocessing, two.targets[1:], 2, "tiny"))
    one.preprocessing, one.targets = two.preprocessing, two.targets[1:]
    one.save_pretrained(tmp_path / "one")
    for arguments, code, message in (
        (("predict", image_model, "nowhere"), 1, "There is no file or folder nowhere"),
        (("predict", image_model, str(tmp_path)), 1, "The model reads images; there are none"),
        (("predict", image_model, str(table / "rows.csv")), 1, "rows.csv is a table"),
        (("predict", table_model, str(photos / "data")), 1, "reads rows of a table"),
        (
            ("predict", table_model, rows, "--output", rows),
            2,
            "an input, which would be overwritten",
        ),
        (
            ("classify", "--model", str(tmp_path / "one"), rows),
            2,
            "Use ivy-models predict MODEL DATA",
        ),
        (("predict", "nope", "x.png"), 2, "nope"),
        (("evaluate", image_model, str(photos / "data" / "round")), 1, "It has no subfolders"),
        (("evaluate", image_model, str(photos / "data"), "--target", "x"), 2, "no target 'x'"),
        (("predict", image_model, "x.png", "--output", str(tmp_path)), 2, "is a folder"),
        (("evaluate", "perceiver_io_digits", str(photos / "data")), 1, "label round (3)"),
    ):
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert message in " ".join(result.stderr.split())
    model = PerceiverIO(small_spec(num_input_axes=1, input_dim=1))
    model.preprocessing = SoundPreprocessing(8000, 64)
    model.save_pretrained(tmp_path / "sounds")
    result = run("predict", str(tmp_path / "sounds"), str(tmp_path / "notes.txt"))
    assert "notes.txt" in result.stderr
