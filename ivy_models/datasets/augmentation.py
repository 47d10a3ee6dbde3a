"""Random changes of the training data that leave the targets as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ivy_models.errors import InputError, package_missing
from ivy_models.preprocessing import ImagePreprocessing, SoundPreprocessing

GAIN = 6.0
"""Greatest change of a sound's loudness, in decibels."""

SHIFT = 0.1
"""Greatest shift of a sound, as a share of its length."""

IMAGE_SHIFT = 0.125
"""Greatest shift of an image, as a share of its height or width."""

NOISE = 0.005
"""Greatest standard deviation of the noise, where 1 is full scale."""

AREA, ASPECT = (0.5, 1.0), 4 / 3
"""Share of an image that is kept, and the greatest change of the ratio of its sides."""

COLOUR, ANGLE, SHEAR, MOVE = 0.4, 20.0, 0.2, 0.2
"""Greatest change of brightness, contrast and saturation; greatest angle in degrees; slope; and
shift as a share of the side."""


class Augmentation(Protocol):
    """Changes a batch's data at random."""

    def __call__(self, data: Any, rng: np.random.Generator) -> Any:
        """Return changed data of the same shapes; the same for the same ``rng``."""
        ...


def augmentation_for(
    preprocessing: Any, augment: bool | None, flip: bool = False
) -> Augmentation | None:
    """Choose the augmentation for prepared data.

    Parameters
    ----------
    preprocessing
        What prepares the data.
    augment
        True: all changes. None: only shifts of images and sounds, which hardly ever change the
        class; a flip turns a b into a d. False: no change.
    flip
        Whether to flip half of the images from left to right in any case.

    Raises
    ------
    InputError
        If all changes are asked for, and the data are neither images nor sounds; or flips, and the
        data are not images.
    BackendError
        If a package is not installed.
    """
    if flip:
        if not isinstance(preprocessing, ImagePreprocessing):
            raise InputError("Only images can be flipped. Leave out flip for other data.")
        others = augmentation_for(preprocessing, augment)
        return flip_images if others is None else Flipped(others)
    if augment is False:
        return None
    if isinstance(preprocessing, ImagePreprocessing):
        return ImageAugmentation(preprocessing) if augment else shift_images
    if isinstance(preprocessing, SoundPreprocessing):
        return augment_sounds if augment else shift_sounds
    if augment:
        raise InputError(
            "Only images and sounds can be augmented. Leave out augment for texts and tables."
        )
    return None


def augmentation_name(augmentation: Augmentation | None) -> str:
    """Name of an augmentation, or "none"."""
    if augmentation is None:
        return "none"
    if isinstance(augmentation, Flipped):
        return f"{augmentation_name(augmentation.others)} and {flip_images.__name__}"
    return getattr(augmentation, "__name__", type(augmentation).__name__)


def shift_images(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift images (B, Y, X, channels). What leaves one edge is replaced by a reflection."""
    rows, columns = (_shifted_places(len(data), size, rng) for size in data.shape[1:3])
    return data[np.arange(len(data))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _shifted_places(batch: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Which of the places along an axis each place shows: integers (B, size)."""
    most = round(IMAGE_SHIFT * size)
    reflected = np.pad(np.arange(size), most, "reflect")
    return reflected[rng.integers(0, 2 * most + 1, (batch, 1)) + np.arange(size)]


def flip_images(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip about half of the images (B, Y, X, channels) from left to right."""
    flipped = rng.random((len(data), 1, 1, 1)) < 0.5
    return np.where(flipped, data[:, :, ::-1], data)


@dataclass(frozen=True)
class Flipped:
    """Flip about half of the images, after other changes."""

    others: Augmentation

    def __call__(self, data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change images (B, height, width, channels)."""
        return flip_images(self.others(data, rng), rng)


def shift_sounds(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift sounds (B, samples, 1). Silence replaces the samples that leave one end."""
    changed = np.zeros_like(data)
    length = data.shape[1]
    most = int(SHIFT * length)
    shifts = rng.integers(-most, most + 1, len(data)).tolist()
    for new, old, shift in zip(changed, data, shifts, strict=True):
        new[max(shift, 0) : length + min(shift, 0)] = old[max(-shift, 0) : length - max(shift, 0)]
    return changed


def augment_sounds(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift sounds (B, samples, 1), change their loudness, and add noise."""
    changed = shift_sounds(data, rng)
    each = (len(data), 1, 1)
    changed *= 10 ** (rng.uniform(-GAIN, GAIN, each) / 20)
    changed += rng.uniform(0, NOISE, each) * rng.standard_normal(changed.shape, np.float32)
    return np.clip(changed, -1, 1)


@dataclass(frozen=True)
class ImageAugmentation:
    """Flip, crop and resize images, and apply two operations of RandAugment to each.

    RandAugment is by Cubuk et al., 2019 (arXiv:1909.13719). ``kornia`` computes the operations; the
    random numbers are all of ``rng``, because kornia's own would be of torch's global generator,
    which a model that trains at the same time uses too.

    Parameters
    ----------
    preprocessing
        The images' preprocessing, whose normalisation is undone before and done again afterwards.

    Raises
    ------
    BackendError
        If kornia is not installed.
    """

    preprocessing: ImagePreprocessing

    def __post_init__(self):
        _import_kornia()  # now, not in the first batch

    def __call__(self, data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change images (B, height, width, channels)."""
        import torch

        mean = np.array(self.preprocessing.mean, np.float32)
        std = np.array(self.preprocessing.std, np.float32)
        pixels = np.broadcast_to(data * std + mean, (*data.shape[:-1], 3))
        images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1))).clip(0, 1)
        with torch.no_grad():
            changed = _with_operations(_cropped(images, rng), rng)
        pixels = np.moveaxis(changed.clip(0, 1).numpy(), 1, -1)
        if data.shape[-1] == 1:
            pixels = pixels.mean(-1, keepdims=True)
        return ((pixels - mean) / std).astype(np.float32)


def _import_kornia() -> Any:
    try:
        import kornia
    except ImportError as error:
        raise package_missing("Augmenting images needs", "kornia") from error
    return kornia


def _cropped(images: Any, rng: np.random.Generator) -> Any:
    """Flip half of the images (B, 3, Y, X); crop each to a part and resize that."""
    import torch

    batch, _, height, width = images.shape
    area = rng.uniform(*AREA, batch)
    stretch = np.exp(rng.uniform(-np.log(ASPECT), np.log(ASPECT), batch) / 2)
    sizes = np.sqrt(area) * np.stack([stretch, 1 / stretch])
    ys, xs = np.minimum(sizes, 1) * np.array([[height - 1], [width - 1]])
    top, left = rng.uniform(0, 1, (2, batch)) * np.stack([height - 1 - ys, width - 1 - xs])
    right, bottom = left + xs, top + ys
    flipped = rng.random(batch) < 0.5
    left, right = np.where(flipped, right, left), np.where(flipped, left, right)
    corners = np.stack([(left, top), (right, top), (right, bottom), (left, bottom)])
    boxes = torch.from_numpy(np.moveaxis(corners, -1, 0).astype(np.float32))
    return _import_kornia().geometry.transform.crop_and_resize(images, boxes, (height, width))


def _with_operations(images: Any, rng: np.random.Generator) -> Any:
    """Apply two random operations of random strength to each of the images (B, 3, Y, X)."""
    import torch

    operations = _operations()
    for _ in range(2):
        chosen = rng.integers(len(operations), size=len(images))
        strengths = torch.from_numpy(rng.uniform(-1, 1, len(images)).astype(np.float32))
        for number, operation in enumerate(operations):
            places = np.flatnonzero(chosen == number)
            if len(places):
                images[places] = operation(images[places], strengths[places])
    return images


def _operations() -> list[Callable[[Any, Any], Any]]:
    """Functions of images (n, 3, Y, X) and strengths (n,) between -1 and 1."""
    import torch

    kornia = _import_kornia()
    enhance, transform = kornia.enhance, kornia.geometry.transform

    def along(axis: int, strengths: Any) -> Any:
        return torch.stack([strengths if i == axis else 0 * strengths for i in range(2)], 1)

    def moved(images: Any, strengths: Any, axis: int) -> Any:
        return transform.translate(images, MOVE * images.shape[3 - axis] * along(axis, strengths))

    return [
        lambda images, _: images,
        lambda images, _: enhance.equalize(images),
        lambda images, s: enhance.adjust_brightness(images, COLOUR * s),
        lambda images, s: enhance.adjust_contrast(images, 1 + COLOUR * s),
        lambda images, s: enhance.adjust_saturation(images, 1 + COLOUR * s),
        lambda images, s: enhance.sharpness(images, 1 + s),
        lambda images, s: enhance.posterize(images, (6 - 2 * s).int()),
        lambda images, s: enhance.solarize(images, 0.75 + 0.25 * s),
        lambda images, s: transform.rotate(images, ANGLE * s),
        lambda images, s: transform.shear(images, SHEAR * along(0, s)),
        lambda images, s: transform.shear(images, SHEAR * along(1, s)),
        lambda images, s: moved(images, s, 0),
        lambda images, s: moved(images, s, 1),
    ]
