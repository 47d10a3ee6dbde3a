"""scikit-learn's digits as the examples split them: 1,797 grey images of 8x8 pixels."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 0


def digits_split() -> tuple[np.ndarray, ...]:
    """Images as uint8 (n, 8, 8), classes and indices: train, then held out."""
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    indices = np.arange(len(images))
    train, test = train_test_split(
        indices, test_size=0.2, random_state=SPLIT_SEED, stratify=digits.target
    )
    return images[train], digits.target[train], train, images[test], digits.target[test], test


def write_digits(folder: Path, labels: tuple[str, ...]) -> None:
    """Write the held-out images as PNG files, in one folder per class: ``seven/0012.png``."""
    *_, images, classes, indices = digits_split()
    for image, label, index in zip(images, classes, indices, strict=True):
        path = folder / labels[label] / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
