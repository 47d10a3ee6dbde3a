"""A preprocessing that fits the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ivy_models.errors import InputError
from ivy_models.preprocessing import ImagePreprocessing
from ivy_models.training.data.rows import Rows

SAMPLE = 100
"""Number of files that are looked at, spread over all."""

IMAGE_SIZES = (8, 128)
"""Least and greatest height and width of images."""


def default_preprocessing(rows: Rows) -> Any:
    """Choose a preprocessing by a sample of the files.

    Raises
    ------
    InputError
        If none of the sampled files can be read.
    """
    places = np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(int))
    return image_preprocessing([rows[int(place)] for place in places])


def image_preprocessing(sources: list[Any]) -> ImagePreprocessing:
    """The median size and shape of some images, at most 128 pixels, a multiple of 8."""
    from PIL import Image

    sizes, is_grey = [], True
    for source in sources:
        try:
            with Image.open(source) as image:
                sizes.append(image.size[::-1])
                is_grey &= image.mode in ("1", "L", "I;16")
        except Exception:  # reading all the files reports the broken ones
            continue
    if not sizes:
        raise InputError(f"None of {len(sources)} images can be read, such as {sources[0]}.")
    heights, widths = np.array(sizes).T
    ratios = np.log(widths / heights)
    ratio = np.median(ratios)
    if np.mean(np.abs(ratios - ratio) < 0.1) < 0.9:
        ratio = 0.0  # of different shapes: squares
    area = np.exp(np.median(np.log(heights * widths)) / 2)
    side = min(area, IMAGE_SIZES[1] / np.exp(abs(ratio) / 2))
    size = tuple(_rounded(side * np.exp(sign * ratio / 2)) for sign in (-1, 1))
    return ImagePreprocessing((size[0], size[1]), channels=1 if is_grey else 3)


def _rounded(side: float) -> int:
    low, high = IMAGE_SIZES
    return int(np.clip(round(side / 8) * 8, low, high))
