"""The report on a trained model."""

import json
import sys

import numpy as np
import pytest
from helpers.specs import small_spec
from huggingface_hub import ModelCard
from PIL import Image

from ivy_models.datasets import ArrayExamples, Column, TrainingData
from ivy_models.errors import BackendError, InputError
from ivy_models.preprocessing import ImagePreprocessing
from ivy_models.preprocessing.targets import MISSING, ClassTarget, NumberTarget
from ivy_models.training.loop import Fitted
from ivy_models.training.report import write_report
from ivy_models.training.report.metrics import target_metrics
from ivy_models.training.report.mistakes import worst_mistakes
from ivy_models.training.settings import Settings
from ivy_models.transformers.perceiver_io import PerceiverIO

SHAPE = ClassTarget("shape <b>", ("round", "square", "none"))
WEIGHT = NumberTarget("weight $", 100.0, 10.0)


def test_metrics_of_classes():
    found = target_metrics(SHAPE, np.array([0, 0, 1, MISSING]), np.array([0, 1, 1, 0]))
    assert (found["examples"], found["accuracy"]) == (3, 2 / 3)
    assert found["f1"] == {"round": 2 / 3, "square": 2 / 3, "none": None}
    assert found["macro_f1"] == pytest.approx(2 / 3)
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_metrics_of_numbers():
    found = target_metrics(WEIGHT, np.array([1.0, 3.0, np.nan]), np.array([2.0, 5.0, 9.0]))
    assert (found["examples"], found["mae"]) == (2, 1.5)
    assert found["rmse"] == pytest.approx(np.sqrt(2.5))
    assert found["r2"] == pytest.approx(1 - 5 / 2)
    assert target_metrics(WEIGHT, np.array([1.0]), np.array([2.0]))["r2"] is None
    with pytest.raises(InputError, match="not finite"):
        target_metrics(WEIGHT, np.array([1.0]), np.array([np.nan]))
    with pytest.raises(InputError, match="No example"):
        target_metrics(WEIGHT, np.array([np.nan]), np.array([2.0]))


def test_metrics_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(BackendError, match=r"\.\[train\]"):
        target_metrics(WEIGHT, np.array([1.0]), np.array([2.0]))


def test_the_worst_mistakes_come_first():
    output = np.array([[0.0, 9.0, 0.0], [0.0, 1.0, 0.0], [3.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    found = worst_mistakes(SHAPE, output, np.array([0, 0, 0, MISSING]), 5)
    assert [mistake.example for mistake in found] == [0, 1]
    assert found[0].true == "round (0.0%)"
    assert found[0].predicted == "square (100.0%)"
    numbers = worst_mistakes(WEIGHT, np.array([[0.0], [3.0], [1.0]]), np.array([0, 0, np.nan]), 1)
    assert [(m.example, m.true, m.predicted) for m in numbers] == [(1, "100", "130")]


@pytest.fixture
def trained(tmp_path, rng):
    """A model of images with two targets, as if it was trained, and its data."""
    model = PerceiverIO(small_spec(input_dim=1, output_dim=4, query_shape=[]))
    model.preprocessing, model.targets = ImagePreprocessing((8, 8), 1), (SHAPE, WEIGHT)
    images = rng.standard_normal((6, 8, 8, 1), np.float32)
    encoded = {SHAPE.name: np.arange(6) % 3, WEIGHT.name: rng.standard_normal(6)}
    examples = ArrayExamples(images, encoded)
    columns = (Column("a|b", "image", "6 files"), Column(SHAPE.name, "class", "3", True))
    data = TrainingData(examples, examples, model.preprocessing, model.targets, columns, ("Odd.",))
    rows = ["step,epoch,learning_rate,loss,validation_loss", "1,1,0.1,2.0,", "2,1,0.1,1.0,1.5"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows))
    best = {"epoch": 1, "step": 2, "loss": 1.5, "validation_loss": 1.5}
    return Fitted(model, (best,), best, "loss"), data


def report_on(folder, trained):
    said = []
    settings = Settings("torch", 1, batch_size=4)
    metrics = write_report(
        folder,
        *trained,
        name="my model",
        data_name="photos: old",
        settings=settings,
        command="ivy-models train photos",
        on_problem=said.append,
    )
    return metrics, said


def test_the_whole_report(tmp_path, trained):
    metrics, said = report_on(tmp_path, trained)
    assert not said
    assert json.loads((tmp_path / "report" / "metrics.json").read_text()) == metrics
    assert metrics[SHAPE.name]["examples"] == 6
    drawings = {path.name for path in (tmp_path / "report").glob("*.png")}
    assert drawings == {"curve.png", "confusion_1_shape_b.png", "numbers_2_weight.png"}
    for name in drawings:
        with Image.open(tmp_path / "report" / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 1

    page = (tmp_path / "report" / "mistakes_1_shape_b.html").read_text()
    wrong = round(6 * (1 - metrics[SHAPE.name]["accuracy"]))
    assert page.count("<li>") == wrong
    assert page.count("where it looked") == wrong
    assert "shape &lt;b&gt;" in page
    assert "<b>\n" not in page

    text = (tmp_path / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.metrics == ["accuracy", "f1", "mae", "rmse", "r_squared"]
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["mae"] == pytest.approx(metrics[WEIGHT.name]["mae"], rel=1e-4)
    assert card.data.eval_results[0].dataset_name == "photos: old"
    assert r"| a\|b | image |" in text
    assert "ivy-models train photos" in text
    assert "Odd." in text
    for link in ("report/curve.png", "report/mistakes_2_weight.html"):
        assert f"]({link})" in text
        assert (tmp_path / link).exists()


def test_without_matplotlib_the_drawings_are_left_out(tmp_path, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    _, (said,) = report_on(tmp_path, trained)
    assert said.startswith("The report has no drawings.")
    assert ".[plot]" in said
    assert "curve.png" not in (tmp_path / "README.md").read_text()
    assert (tmp_path / "report" / "mistakes_2_weight.html").exists()
