"""Columns of images and sounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ivy_models.base.fields import check_fields, named_fields, text
from ivy_models.preprocessing.image import ImagePreprocessing
from ivy_models.preprocessing.sound import SoundPreprocessing
from ivy_models.preprocessing.table.fields import instance


@named_fields
@dataclass(frozen=True)
class ImageColumn:
    """A column of images: paths, or anything else that the preprocessing accepts.

    Parameters
    ----------
    name
        Name of the column.
    preprocessing
        Converts an image to numbers.

    Raises
    ------
    SpecError
        If a field has a wrong type.
    """

    name: str
    preprocessing: ImagePreprocessing

    kind: ClassVar[str] = "image"

    def __post_init__(self):
        check_fields(self, name=text, preprocessing=instance(ImagePreprocessing))

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return (*self.preprocessing.size, self.preprocessing.channels)


@named_fields
@dataclass(frozen=True)
class SoundColumn:
    """A column of sounds: paths, or anything else that the preprocessing accepts.

    Parameters
    ----------
    name
        Name of the column.
    preprocessing
        Converts a sound to samples.

    Raises
    ------
    SpecError
        If a field has a wrong type.
    """

    name: str
    preprocessing: SoundPreprocessing

    kind: ClassVar[str] = "sound"

    def __post_init__(self):
        check_fields(self, name=text, preprocessing=instance(SoundPreprocessing))

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples and channels."""
        return (self.preprocessing.num_samples, 1)
