"""Modalities of a multimodal model for preprocessed texts, images and sounds."""

from __future__ import annotations

import math

from ivy_models.preprocessing.image import ImagePreprocessing
from ivy_models.preprocessing.sound import SoundPreprocessing
from ivy_models.preprocessing.text import TextTokens
from ivy_models.transformers.perceiver_io import InputModality

SAMPLES_PER_PATCH = 16
"""Samples of a sound that become one input; fewer if its length is no multiple of this."""

STEM_SIZE = 8
"""Least height and width of an image for a stem, which reduces each to a quarter. On few images it
learns far more than single pixels or patches do."""


def modality(
    name: str, preprocessing: TextTokens | ImagePreprocessing | SoundPreprocessing, dim: int
) -> InputModality:
    """Describe texts, images or sounds as one modality.

    Parameters
    ----------
    name
        Name of the modality.
    preprocessing
        What prepares the data.
    dim
        Channels of an input; about half of them are for its position.
    """
    if isinstance(preprocessing, TextTokens):
        return InputModality(
            name,
            dim,
            1,
            vocabulary_size=preprocessing.vocabulary_size,
            learned_position_shape=(preprocessing.num_tokens,),
        )
    if isinstance(preprocessing, SoundPreprocessing):
        patch = math.gcd(preprocessing.num_samples, SAMPLES_PER_PATCH)
        return InputModality(
            name,
            1,
            1,
            num_fourier_freq_bands=max(1, dim // 4),
            patch_shape=(patch,) if patch > 1 else None,
        )
    has_stem = min(preprocessing.size) >= STEM_SIZE
    return InputModality(
        name,
        preprocessing.channels,
        2,
        num_fourier_freq_bands=max(1, dim // 8),
        stem="two_convolutions" if has_stem else None,
        stem_dim=max(1, dim // 2) if has_stem else None,
    )
