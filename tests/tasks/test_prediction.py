"""Predictions for any targets, and the targets that are saved with a model."""

import json

import numpy as np
import pytest
from helpers.specs import small_spec
from PIL import Image

from ivy_models import Prediction, classify, predict
from ivy_models.errors import InputError, SpecError, WeightsError
from ivy_models.preprocessing import ImagePreprocessing
from ivy_models.preprocessing.targets import ClassTarget, NumberTarget
from ivy_models.tasks.prediction import targets_of
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

TARGETS = (
    ClassTarget("shape", ("round", "square")),
    NumberTarget("weight", 100.0, 10.0),
    ClassTarget("colour", ("red", "green")),
)


def image_model(**changes):
    model = PerceiverIO(small_spec(input_dim=1, **changes))
    model.preprocessing = ImagePreprocessing((8, 8), 1, 1.0, 0.5, 0.5)
    return model


@pytest.fixture
def files(tmp_path, rng):
    """Four images; the third is broken."""
    for name in "abcd":
        Image.fromarray(rng.integers(0, 256, (9, 8), np.uint8)).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in "abcd"]
    paths[2].write_bytes(b"no image")
    return paths


def test_several_targets(backend, files):
    model = image_model(query_shape=[])
    model.targets = TARGETS
    outputs = ivy.to_numpy(model(model.preprocessing([files[0], files[1], files[3]])))
    found = list(predict(model, files, batch_size=2))
    assert [each.source for each in found] == files
    assert found[2].values is None
    assert str(files[2]) in str(found[2].error)
    assert found[0].error is None
    for output, each in zip(outputs, (found[0], found[1], found[3]), strict=True):
        assert list(each.values) == ["shape", "weight", "colour"]
        assert each.values["weight"] == pytest.approx(100 + 10 * output[2], rel=1e-5)
        for name, logits in (("shape", output[:2]), ("colour", output[3:])):
            target = TARGETS[0] if name == "shape" else TARGETS[2]
            label, probability = each.values[name]
            assert label == target.labels[logits.argmax()]
            assert probability == pytest.approx((np.exp(logits) / np.exp(logits).sum()).max(), 1e-5)


def test_a_classifier_without_targets_predicts_its_label(files):
    model = image_model()
    model.labels = list("vwxyz")
    (found,) = predict(model, files[:1])
    assert found.values == {"label": classify(model, files[0], 1)[0]}
    model.labels = None
    (found,) = predict(model, files[:1])
    assert isinstance(found.values["label"], Prediction)
    assert found.values["label"].label.startswith("class ")


def test_labels_of_several_classes_get_numbers(files):
    """ImageNet has two classes called crane."""
    model = image_model()
    model.labels = ["crane", "dog", "crane", "cat", "cow"]
    (target,) = targets_of(model)
    assert target.labels == ("crane (class 0)", "dog", "crane (class 2)", "cat", "cow")
    (found,) = predict(model, files[:1])
    assert found.values["label"].label in target.labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [(("a",), "at least two classes, got .*a"), (("a", "b", "a"), "several classes called a")],
)
def test_classes_are_several_and_have_different_names(labels, message):
    with pytest.raises(SpecError, match=message):
        ClassTarget("kind", labels)


def test_masks_of_the_preprocessing_are_used():
    model = PerceiverIO(small_spec(num_input_axes=1, input_dim=2))
    model.preprocessing = lambda row: (np.float32([row, [0, 0]]), np.array([True, False]))
    (found,) = predict(model, [[3.0, 4.0]])
    (same,) = predict(model, [[3.0, 4.0]])
    model.preprocessing = lambda row: (np.float32([row, [9, 8]]), np.array([True, False]))
    (hidden,) = predict(model, [[3.0, 4.0]])
    assert found.values == same.values == hidden.values


def test_targets_are_saved(tmp_path):
    model = image_model()
    model.targets = TARGETS
    model.save_pretrained(tmp_path)
    assert PerceiverIO.from_pretrained(tmp_path).targets == TARGETS
    assert model.with_weights(model.v).targets == TARGETS
    config = json.loads((tmp_path / "config.json").read_text())
    for broken in ([3], [["a"]], "shape", [{"kind": "NumberTarget", "name": "a", "mean": 0}]):
        config["task"]["targets"] = broken
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(WeightsError):
            PerceiverIO.from_pretrained(tmp_path)


def test_refusals(files):
    model = image_model()
    with pytest.raises(InputError, match="targets must be a list"):
        model.targets = "shape"
    with pytest.raises(InputError, match="targets must have different names, got .'shape', 'sh"):
        model.targets = TARGETS[:1] * 2
    model.targets = TARGETS[:2]
    with pytest.raises(InputError, match=r"3 classes and numbers, but its output has 5 channels"):
        predict(model, files)
    model.targets = TARGETS
    with pytest.raises(InputError, match=r"predicts 'shape', 'weight', 'colour'.*`ivy-models"):
        classify(model, files[0])
    with pytest.raises(InputError, match="batch_size"):
        predict(model, files, 0)
    model.preprocessing = None
    with pytest.raises(InputError, match="no preprocessing"):
        predict(model, files)
