"""Random changes of the training data that leave the targets as they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ivy_models.errors import InputError, not_installed
from ivy_models.preprocessing import ImagePreprocessing, SoundPreprocessing

GAIN = 6.0
"""Greatest change of a sound's loudness, in decibels."""

SHIFT = 0.1
"""Greatest shift of a sound, as a share of its length."""

NOISE = 0.005
"""Greatest standard deviation of the noise, where 1 is full scale."""


class Augmentation(Protocol):
    """Changes a batch's data at random."""

    def __call__(self, data: Any, rng: np.random.Generator) -> Any:
        """Return changed data of the same shapes; the same for the same ``rng``."""
        ...


def augmentation_for(preprocessing: Any) -> Augmentation:
    """Choose the augmentation for prepared data.

    Raises
    ------
    InputError
        If the data are neither images nor sounds.
    BackendError
        If a package is not installed.
    """
    if isinstance(preprocessing, ImagePreprocessing):
        return ImageAugmentation(preprocessing)
    if isinstance(preprocessing, SoundPreprocessing):
        return augment_sounds
    raise InputError(
        "Only images and sounds can be augmented. Leave out augment for texts and tables."
    )


def augment_sounds(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the loudness of sounds (B, samples, 1), shift them, and add noise.

    Samples that leave one end are replaced by silence at the other.
    """
    changed = np.zeros_like(data)
    length = data.shape[1]
    for new, old in zip(changed, data, strict=True):
        shift = int(rng.integers(-int(SHIFT * length), int(SHIFT * length) + 1))
        new[max(shift, 0) : length + min(shift, 0)] = old[max(-shift, 0) : length - max(shift, 0)]
        new *= 10 ** (rng.uniform(-GAIN, GAIN) / 20)
        new += rng.uniform(0, NOISE) * rng.standard_normal(new.shape, np.float32)
    return np.clip(changed, -1, 1)


@dataclass(frozen=True)
class ImageAugmentation:
    """Flips, crops and RandAugment's operations, by ``kornia``.

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
        _ = self._transform  # imports kornia now, not in the first batch

    @cached_property
    def _transform(self) -> Any:
        try:
            from kornia import augmentation
        except ImportError as error:
            raise not_installed("Augmenting images needs", error, "train") from error
        crop = augmentation.RandomResizedCrop(
            self.preprocessing.size,
            scale=(0.5, 1.0),
            ratio=(3 / 4, 4 / 3),
            cropping_mode="resample",
        )
        flip = augmentation.RandomHorizontalFlip(p=0.5)
        if self.preprocessing.channels == 1:  # kornia's operations on colours need three
            return augmentation.AugmentationSequential(crop, flip)
        operations = augmentation.auto.RandAugment(n=2, m=9)
        return augmentation.AugmentationSequential(crop, flip, operations)

    def __call__(self, data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change images (B, height, width, channels).

        kornia draws from torch's generator on the CPU, which is put back afterwards.
        """
        import torch

        mean = np.array(self.preprocessing.mean, np.float32)
        std = np.array(self.preprocessing.std, np.float32)
        images = torch.from_numpy(np.moveaxis(data * std + mean, -1, 1).clip(0, 1))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(int(rng.integers(2**63)))
            changed = self._transform(images.contiguous()).numpy()
        return ((np.moveaxis(changed, 1, -1).clip(0, 1) - mean) / std).astype(np.float32)
