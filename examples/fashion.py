r"""Prepare Fashion-MNIST for ``ivy-models train``: 70,000 grey images of 28x28 pixels, ten classes.

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb fashion
    python examples/fashion.py fashion/usr/share/datasets/fashion-mnist fashion_images

Then train the model of the package, and measure it once on the test images:

    OMP_NUM_THREADS=1 ivy-models train fashion_images/train --output fashion_first --model tiny \
        --spec examples/fashion.json --flip --no-augment --validation 0.05 --epochs 9 \
        --batch-size 128 --learning-rate 0.003 --ema 0.995 --backend torch
    OMP_NUM_THREADS=1 ivy-models train fashion_images/train --output fashion_model \
        --model fashion_first --flip --no-augment --validation 0.05 --epochs 6 \
        --batch-size 128 --learning-rate 0.0015 --ema 0.995 --backend torch
    ivy-models evaluate fashion_model fashion_images/test

The data are by Zalando SE, with the MIT licence: https://github.com/zalandoresearch/fashion-mnist.
Debian's package has the four files as they were published. ``fashion_images`` gets the folders
``train``, 60,000 images, and ``test``, 10,000 images, with PNG files in a folder for each class.
"""

import argparse
import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CHECKSUMS = {
    "train-images-idx3-ubyte.gz": (
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
    ),
    "train-labels-idx1-ubyte.gz": (
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
    ),
}
"""SHA-256 of each file."""

LABELS = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""Names of the classes, by their numbers in the files."""

IMAGES_HEADER, LABELS_HEADER = 16, 8
"""Bytes of a file before its data."""


def read(folder: Path, name: str, header: int) -> np.ndarray:
    """The bytes of a file without its header, if it has the expected checksum."""
    content = (folder / name).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != CHECKSUMS[name]:
        raise SystemExit(
            f"{folder / name} has the SHA-256 {found}; expected {CHECKSUMS[name]}. Download it "
            "again."
        )
    return np.frombuffer(gzip.decompress(content), np.uint8, offset=header)


def fashion_split(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) and classes (n,), both uint8, of the part "train" or "t10k"."""
    images = read(folder, f"{part}-images-idx3-ubyte.gz", IMAGES_HEADER).reshape(-1, 28, 28)
    return images, read(folder, f"{part}-labels-idx1-ubyte.gz", LABELS_HEADER)


def write_images(folder: Path, images: np.ndarray, classes: np.ndarray) -> None:
    """Write PNG files into a folder for each class, named by their place in the data."""
    for name in LABELS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, (image, number) in enumerate(zip(images, classes.tolist(), strict=True)):
        Image.fromarray(image).save(folder / LABELS[number] / f"{index:05}.png")


def main(command: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with the four files")
    parser.add_argument("output", type=Path, help="folder for the images")
    arguments = parser.parse_args(command)
    for part, name in (("train", "train"), ("t10k", "test")):
        write_images(arguments.output / name, *fashion_split(arguments.source, part))


if __name__ == "__main__":
    main()
