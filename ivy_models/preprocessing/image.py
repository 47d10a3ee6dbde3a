"""Images as a model was trained on them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.errors import InputError
from ivy_models.preprocessing.checks import check_floats

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class ImagePreprocessing:
    """Centre crop, resize (bicubic, antialiased), scale to [0, 1], normalise.

    Parameters
    ----------
    size
        Height and width in pixels.
    channels
        3 for RGB, 1 for grey.
    crop_fraction
        Share of the image, along the side that limits it, that the crop keeps.
    mean, std
        Of each channel, subtracted and divided by.
    """

    size: tuple[int, int]
    channels: int
    crop_fraction: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Any) -> np.ndarray:
        """Prepare one image, or a list of images.

        Parameters
        ----------
        images
            A path, a PIL image, or an array (height, width) or (height, width, 1, 3 or 4
            channels): uint8 in [0, 255], uint16 in [0, 65535] or floats in [0, 1]. Photos
            are turned as their EXIF data says; transparency is dropped. Or a list of these.

        Returns
        -------
        numpy.ndarray
            Float32 (height, width, channels), or (B, height, width, channels) for a list.

        Raises
        ------
        InputError
            If an image cannot be read, has another shape, type or range, or holds
            numbers that are not finite.
        """
        if isinstance(images, (list, tuple)):
            if not images:
                raise InputError("Expected at least one image, got an empty list.")
            return np.stack([self(image) for image in images])
        image = _read(images)
        pixels = self._resize(self._crop(image))
        return ((pixels - np.float32(self.mean)) / np.float32(self.std)).astype(np.float32)

    def _crop(self, image: Image.Image | np.ndarray) -> Image.Image | np.ndarray:
        is_array = isinstance(image, np.ndarray)
        height, width = image.shape[:2] if is_array else image.size[::-1]
        ratio = self.size[1] / self.size[0]
        crop_height = max(1, int(self.crop_fraction * min(height, width / ratio)))
        crop_width = max(1, int(self.crop_fraction * min(width, height * ratio)))
        top, left = (height - crop_height + 1) // 2, (width - crop_width + 1) // 2
        if is_array:
            return image[top : top + crop_height, left : left + crop_width]
        return image.crop((left, top, left + crop_width, top + crop_height))

    def _resize(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """-> (height, width, channels), floats in [0, 1]."""
        from PIL import Image

        to = (self.size[::-1], Image.Resampling.BICUBIC)
        if not isinstance(image, np.ndarray):
            image = image.convert("RGB" if self.channels == 3 else "L").resize(*to)
            return np.asarray(image, np.float32).reshape(*self.size, self.channels) / 255
        channels = [
            np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize(*to))
            for channel in np.moveaxis(_with_channels(image, self.channels), -1, 0)
        ]
        return np.clip(np.stack(channels, -1), 0, 1)


def read_rgb(image: Any) -> np.ndarray:
    """One image, as :class:`ImagePreprocessing` takes it -> float32 (height, width, 3) in [0, 1].

    Raises
    ------
    InputError
        As :class:`ImagePreprocessing`.
    """
    pixels = _read(image)
    if isinstance(pixels, np.ndarray):
        return np.ascontiguousarray(_with_channels(pixels, 3))
    return np.asarray(pixels.convert("RGB"), np.float32) / 255


def _read(image: Any) -> Image.Image | np.ndarray:
    """A path, PIL image or array -> an 8-bit PIL image, or floats (Y, X, 1, 3 or 4) in [0, 1]."""
    from PIL import Image, ImageOps

    if isinstance(image, (str, os.PathLike)):
        return _read_file(image)
    if not isinstance(image, Image.Image):
        return _read_array(image)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # more than 8 bits, which convert("RGB") would cut off
        pixels = np.asarray(image)
        return _read_array(pixels.astype(np.uint16) if image.mode.startswith("I") else pixels)
    return image


def _read_file(path: str | os.PathLike) -> Image.Image | np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        if not os.path.isfile(path) and os.path.exists(path):
            raise OSError("it is no file")  # a pipe or a device may have no end
        with Image.open(path) as file:
            if file.format == "EPS":
                raise OSError("EPS is a program, which Pillow has Ghostscript run")
            file.load()
            return _read(file)
    except UnidentifiedImageError:
        raise InputError(f"{path} is no image, or of a format that Pillow cannot read.") from None
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} cannot be read as an image: {error} If you trust it, raise "
            "PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except Exception as error:  # a broken image can raise anything
        raise InputError(f"{path} cannot be read as an image: {str(error).rstrip('.')}.") from error


def _read_array(array: Any) -> Image.Image | np.ndarray:
    from PIL import Image

    from ivy_models.arrays import to_native
    from ivy_models.ops import ops_named

    array = to_native(ops_named("numpy"), array, "image")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = " The channels go last."
        if array.ndim == 4:
            hint = " Pass several images as a list."
        raise InputError(
            f"image has shape {array.shape}; expected (height, width) or (height, width, "
            f"channels) with 1, 3 or 4 channels.{hint}"
        )
    if array.dtype == np.uint8:
        return Image.fromarray(array[:, :, 0] if array.shape[-1] == 1 else array)
    if array.dtype == np.uint16:
        return array.astype(np.float32) / 65535
    if array.dtype.kind != "f":
        raise InputError(
            f"image is of type {array.dtype}; expected uint8 in [0, 255], uint16 in [0, 65535] "
            "or floats in [0, 1]."
        )
    check_floats("image", array, 0, "Divide by 255, or pass uint8.")
    return array.astype(np.float32)


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """(Y, X, 1, 3 or 4) -> (Y, X, channels): drop transparency, repeat or mix as PIL does."""
    pixels = pixels[:, :, :3]
    if channels == 3:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if pixels.shape[-1] == 3:
        pixels = pixels @ np.float32([[0.299], [0.587], [0.114]])  # ITU-R BT.601 luma
    return pixels
