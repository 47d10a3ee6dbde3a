"""A preprocessing that fits the data."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.datasets.files import named
from ivy_models.errors import BackendError, InputError
from ivy_models.preprocessing import (
    ImagePreprocessing,
    SoundPreprocessing,
    TextPreprocessing,
    read_sound,
)
from ivy_models.preprocessing.media import decode
from ivy_models.preprocessing.modalities import SAMPLES_PER_PATCH
from ivy_models.preprocessing.sources import opened, reason, stored

SAMPLE = 100
"""Number of files that are looked at, spread over all."""

IMAGE_SIZES = (8, 128)
"""Least and greatest height and width of images."""

SAMPLE_RATES = (16_000, 8_000)
"""Greatest sample rate of sounds, in Hz; the second for sounds that are too long for the first."""

MAX_SAMPLES = 1 << 16
"""Upper bound on the samples of a sound."""

MAX_TEXT = 1024
"""Upper bound on the tokens of a text file."""


def default_preprocessing(kind: str, sources: Sequence[Any]) -> Any:
    """Choose a preprocessing by a sample of files.

    Parameters
    ----------
    kind
        "image", "sound" or "text".
    sources
        Files. Some may be broken.

    Raises
    ------
    InputError
        If none of the sampled files can be read.
    """
    choose = {
        "image": image_preprocessing,
        "sound": sound_preprocessing,
        "text": text_preprocessing,
    }
    return choose[kind](sources)


def sample(length: int, size: int = SAMPLE) -> np.ndarray:
    """Indices of at most ``size`` of ``length`` items, spread over all."""
    return np.unique(np.linspace(0, length - 1, min(size, length)).astype(int))


def image_preprocessing(sources: Sequence[Any]) -> ImagePreprocessing:
    """The median size and shape of some images, at most 128 pixels, in multiples of 4.

    Cameras and scanners store 10 to 14 bits in files of 16. White is then the greatest number of
    these bits.
    """
    from PIL import Image

    def size_mode_and_bits(source: Any) -> tuple[int, int, bool, int]:
        with Image.open(opened(stored(source))) as image:
            bits = 0  # unknown: not more than 8 bits, or floats
            if image.mode.startswith("I"):
                bits = int(np.asarray(image).max()).bit_length()
            return image.height, image.width, image.mode in ("1", "L", "I;16"), bits

    found = np.array(_of_sample(size_mode_and_bits, sources, "images"))
    heights, widths, are_grey, bits = found.T
    ratios = np.log(widths / heights)
    ratio = np.median(ratios)
    if np.mean(np.abs(ratios - ratio) < 0.1) < 0.9:
        ratio = 0.0  # of different shapes: squares
    area = np.exp(np.median(np.log(heights * widths)) / 2)
    side = min(area, IMAGE_SIZES[1] / np.exp(abs(ratio) / 2))
    low, high = IMAGE_SIZES
    # A stem reduces height and width to a quarter.
    size = [
        int(np.clip(4 * round(side * np.exp(sign * ratio / 2) / 4), low, high)) for sign in (-1, 1)
    ]
    middle = 0.5
    if bits.all() and bits.max() < 16:
        middle *= (2 ** int(bits.max()) - 1) / 65535
    channels = 1 if are_grey.all() else 3
    return ImagePreprocessing((size[0], size[1]), channels, mean=middle, std=middle)


def sound_preprocessing(sources: Sequence[Any]) -> SoundPreprocessing:
    """The rate of some sounds, and the length that 90 % of them do not exceed, both bounded."""

    def rate_and_seconds(source: Any) -> tuple[float, float]:
        source = stored(source)
        rate = _sample_rate(source)
        most = min(rate, SAMPLE_RATES[0])
        return rate, len(read_sound(source, most, 2 * MAX_SAMPLES)) / most

    rates, seconds = np.array(_of_sample(rate_and_seconds, sources, "sounds", SAMPLE // 5)).T
    length = float(np.quantile(seconds, 0.9))
    fitting = [rate for rate in SAMPLE_RATES if length * rate <= MAX_SAMPLES]
    rate = int(min(np.median(rates), *fitting[:1] or SAMPLE_RATES[1:]))
    patches = np.ceil(min(length * rate, MAX_SAMPLES) / SAMPLES_PER_PATCH)
    return SoundPreprocessing(rate, SAMPLES_PER_PATCH * int(max(patches, 1)))


def text_preprocessing(sources: Sequence[Any]) -> TextPreprocessing:
    """The length that 95 % of some text files do not exceed, at most 1024 bytes."""
    sizes = _of_sample(lambda source: Path(source).stat().st_size, sources, "texts")
    return TextPreprocessing(text_length(sizes, MAX_TEXT))


def text_length(lengths: Sequence[int], limit: int) -> int:
    """A multiple of 8 that 95 % of some lengths in bytes do not exceed, up to a limit."""
    return int(min(limit, 8 * np.ceil(max(np.quantile(lengths, 0.95), 1) / 8)))


def _of_sample(look: Any, sources: Sequence[Any], what: str, size: int = SAMPLE) -> list[Any]:
    """What a function finds in a sample of files that it can read."""
    chosen = [sources[int(place)] for place in sample(len(sources), size)]
    found, errors = [], []
    for source in chosen:
        try:
            found.append(look(source))
        except BackendError:  # a package that is not installed
            raise
        except Exception as error:  # reading all the files reports the broken ones
            errors.append(error)
    if not found:
        raise InputError(
            f"None of {len(chosen)} {what} can be read: {named(chosen)}. The first: "
            f"{reason(errors[0])}."
        )
    return found


def _sample_rate(source: Any) -> int:
    try:
        return next(decode(source, "audio"))[0].sample_rate
    except BackendError:  # without PyAV only WAV files are read
        file = opened(source)
        head = Path(file).read_bytes()[:28] if isinstance(file, str) else file.read(28)
        return struct.unpack("<I", head[24:28])[0]
