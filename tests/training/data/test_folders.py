"""Folders by class."""

import numpy as np
from PIL import Image

from ivy_models.training.data import read_rows, read_training_data


def write_images(folder, rng, classes=("cat", "dog"), count=10):
    for value, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 100, (12, 16, 3)) + 100 * value
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


def test_a_folder_by_class_becomes_batches(tmp_path, rng):
    write_images(tmp_path, rng)
    data = read_training_data(tmp_path)
    (target,) = data.targets
    assert target.labels == ("cat", "dog")
    assert (len(data.train), len(data.validation)) == (16, 4)
    batch = data.train.batch([0, 15])
    assert batch.data.shape == (2, *data.preprocessing.size, 3)
    assert batch.mask is None
    assert batch.targets["label"].tolist() == [0, 1]
    assert sorted(data.validation.encoded_targets()["label"]) == [0, 0, 1, 1]


def test_rows_of_a_folder_know_their_labels(tmp_path, rng):
    write_images(tmp_path, rng, count=1)
    rows = read_rows(tmp_path)
    assert [rows.name(i) for i in range(len(rows))] == ["cat/0.png", "dog/0.png"]
    assert rows.column("label") == ["cat", "dog"]
