"""Accuracy on a small validation set, with interruptions."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ivy_models import verify_model
from ivy_models.errors import InputError
from ivy_models.models.presets import PRESETS
from ivy_models.verification import accuracy, validation_set
from ivy_models.verification.accuracy import ranks_of
from ivy_models.verification.validation_set import SOLUTION, read_validation_set

MODEL = "perceiver_io_imagenet_fourier"
CLASSES = [f"n0000{i}000" for i in range(10)]
PER_CLASS = 2
TOTAL = len(CLASSES) * PER_CLASS


@pytest.fixture
def ten_classes(monkeypatch):
    digest = hashlib.sha256("\n".join(CLASSES).encode()).hexdigest()
    monkeypatch.setattr(validation_set, "CLASSES_SHA256", digest)


@pytest.fixture
def images(tmp_path, rng, ten_classes):
    """A folder of images in class folders, and other files."""
    folder = tmp_path / "val"
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for i in range(PER_CLASS):
            pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}_{i}.png")
    (folder / "readme.txt").write_text("no class")
    (folder / CLASSES[0] / "notes.txt").write_text("no image")
    (folder / CLASSES[0] / "._hidden.png").write_text("no image")
    return folder


@pytest.fixture
def logits(models, images, monkeypatch):
    """Logits of the model for all images; from then on, this set is the complete one."""
    monkeypatch.setattr(accuracy, "NUM_IMAGES", TOTAL)
    monkeypatch.setitem(PRESETS, MODEL, replace(PRESETS[MODEL], accuracy=50.0))
    found = {}
    ranks = accuracy.ranks_of

    def spy(logits, labels):
        for row, label in zip(logits, labels, strict=True):
            found[len(found)] = (row, label)
        return ranks(logits, labels)

    monkeypatch.setattr(accuracy, "ranks_of", spy)
    return found


def measure(folder, **options):
    *_, check = verify_model(
        MODEL, **{"backends": ["numpy"], "imagenet": folder, "batch_size": 3} | options
    )
    return check


def expected(logits):
    hits = [list(np.argsort(-row)).index(label) for row, label in logits.values()]
    return tuple(100 * np.mean([rank < k for rank in hits]) for k in (1, 5))


def progress_files(cache):
    return list(cache.glob("imagenet-*"))


def test_top_1_and_top_5(images, logits, backend, cache, capfd):
    check = measure(images, backends=[backend])
    assert len(logits) == TOTAL
    assert [label for _, label in logits.values()] == sorted(PER_CLASS * list(range(10)))
    top_1, top_5 = expected(logits)
    assert check.what == f"accuracy on {backend}"
    assert f"top-1 {top_1:.2f}%, top-5 {top_5:.2f}% of {TOTAL} images" in check.detail
    assert f"difference {top_1 - 50:+.2f}" in check.detail
    assert check.failed == (abs(top_1 - 50) > accuracy.TOLERANCE)
    assert "100%" in capfd.readouterr().err
    assert not progress_files(cache)


@pytest.mark.parametrize(("difference", "failed"), [(0.4, False), (0.6, True), (-0.6, True)])
def test_the_published_accuracy(images, logits, monkeypatch, difference, failed):
    measure(images)
    published = expected(logits)[0] - difference
    monkeypatch.setitem(PRESETS, MODEL, replace(PRESETS[MODEL], accuracy=published))
    check = measure(images)
    assert check.failed == failed
    assert check.outcome == ("wrong" if failed else "right")


def test_fewer_images_are_not_compared(images, logits, monkeypatch):
    monkeypatch.setattr(accuracy, "NUM_IMAGES", TOTAL + 1)
    check = measure(images)
    assert check.outcome == "not run"
    assert "top-5" in check.detail
    assert not check.failed


def test_a_model_of_another_kind(models, images):
    *_, check = verify_model("perceiver_io_language", backends=["numpy"], imagenet=images)
    assert check.detail == "the model is not an ImageNet classifier"
    assert not check.failed


# Interruptions


@pytest.fixture
def interrupted(images, logits, cache, monkeypatch):
    """Interrupt the measurement after three batches of three."""
    count = accuracy.ranks_of

    def interrupt(logits, labels):
        if len(progress_files(cache)) and done(cache) == 9:
            raise KeyboardInterrupt
        return count(logits, labels)

    with monkeypatch.context() as patch:
        patch.setattr(accuracy, "ranks_of", interrupt)
        with pytest.raises(KeyboardInterrupt):
            measure(images)
    assert done(cache) == len(logits) == 9
    return images


def done(cache):
    (path,) = progress_files(cache)
    return json.loads(path.read_text())["counts"]["done"]


def test_an_interrupted_measurement_continues(interrupted, logits, cache):
    check = measure(interrupted, batch_size=4)
    assert len(logits) == TOTAL
    top_1, top_5 = expected(logits)
    assert f"top-1 {top_1:.2f}%, top-5 {top_5:.2f}% of {TOTAL} images" in check.detail
    assert not progress_files(cache)


def another_folder(folder, _):
    return folder.rename(folder.with_name("moved"))


def another_image(folder, _):
    Image.new("RGB", (50, 50)).save(folder / CLASSES[0] / f"{CLASSES[0]}_0.png")
    return folder


def a_damaged_file(folder, cache):
    (path,) = progress_files(cache)
    path.write_text(path.read_text()[:-5])
    return folder


def impossible_counts(folder, cache):
    (path,) = progress_files(cache)
    content = json.loads(path.read_text())
    content["counts"]["done"] = TOTAL + 1
    path.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "change", [another_folder, another_image, a_damaged_file, impossible_counts]
)
def test_another_measurement_starts_from_the_beginning(interrupted, logits, cache, change):
    folder = change(interrupted, cache)
    logits.clear()
    measure(folder)
    assert len(logits) == TOTAL


def test_other_weights_start_from_the_beginning(interrupted, logits, models, change, monkeypatch):
    logits.clear()
    change(models.path(MODEL))
    monkeypatch.setattr("ivy_models.verification.known.ANSWERS", {})
    measure(interrupted, weights=models.path(MODEL), accept_changed=True)
    assert len(logits) == TOTAL


def test_an_image_that_cannot_be_read_stops_the_measurement(images, logits, cache):
    bad = images / CLASSES[2] / f"{CLASSES[2]}_0.png"
    content = bad.read_bytes()
    bad.write_bytes(b"x" * len(content))
    with pytest.raises(InputError, match=f"{bad.name} is not an image"):
        measure(images)
    assert done(cache) == 3
    bad.write_bytes(content)
    measure(images)
    assert len(logits) == TOTAL


# The folder


def test_a_folder_of_all_images_with_their_classes(images, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    rows = ["ImageId,PredictionString"]
    for path in sorted(images.glob("*/n*.png")):
        path.rename(flat / path.name)
        rows.append(f"{path.stem},{path.parent.name} 1 2 3 4 {path.parent.name} 5 6 7 8")
    with pytest.raises(InputError, match=f"or put {SOLUTION} beside them"):
        read_validation_set(flat)
    (flat / SOLUTION).write_text("\n".join(rows))
    found = read_validation_set(flat)
    assert len(found.images) == TOTAL
    assert found.labels == tuple(sorted(PER_CLASS * list(range(10))))
    (flat / SOLUTION).write_text("\n".join(rows[:-2]))
    with pytest.raises(InputError, match="has no class for 2 images, such as n00009000_0.png"):
        read_validation_set(flat)
    (flat / SOLUTION).write_text("1\n2\n3\n")
    with pytest.raises(InputError, match="Expected the columns ImageId and PredictionString"):
        read_validation_set(flat)


def test_other_folders_are_refused(images, tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        read_validation_set(tmp_path / "none")
    with pytest.raises(InputError, match="has no images in class folders such as n01440764"):
        read_validation_set(tmp_path)
    for path in (images / CLASSES[3]).iterdir():
        path.unlink()
    with pytest.raises(InputError, match="are of 9 classes, n00000000 to n00009000. Expected"):
        read_validation_set(images)


def test_ranks_count_equal_logits_and_nan_against_the_model():
    nan = np.nan
    logits = np.array([[3, 2, 1], [1, 2, 3], [2, 2, 2], [nan, 1, 2], [nan, nan, nan], [1, nan, 0]])
    assert list(ranks_of(logits, np.array([0, 0, 0, 0, 1, 0]))) == [0, 2, 2, 2, 2, 1]
