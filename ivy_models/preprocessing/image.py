"""Preprocessing of images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.base.fields import check_fields, named_fields, number, numbers, positive_int, text
from ivy_models.base.paths import user_path
from ivy_models.errors import InputError, SpecError
from ivy_models.preprocessing.checks import bounded_floats, image_size
from ivy_models.preprocessing.sources import is_file, name_of, named_errors, opened

if TYPE_CHECKING:
    from PIL import Image

ROUNDINGS = ("up", "down")

WITHOUT_PIXELS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG")
"""Formats that Pillow recognises, but cannot decode without running a program, or at all."""


@named_fields
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
        Share that the crop keeps of the image's limiting side.
    mean, std
        Mean to subtract from each channel, and standard deviation to divide it by. One number
        applies to all channels.
    crop_rounding
        If an odd number of pixels is cropped, "up" cuts the extra one off at the top or left, as
        the original implementation does, and "down" at the bottom or right, as transformers does.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    size: tuple[int, int]
    channels: int = 3
    crop_fraction: float = 1.0
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.5
    crop_rounding: str = "up"

    def __post_init__(self):
        check_fields(
            self,
            size=image_size,
            channels=positive_int,
            crop_fraction=number,
            mean=numbers(number),
            std=numbers(number),
            crop_rounding=text,
        )
        for name in ("mean", "std"):
            value = getattr(self, name)
            if isinstance(value, Real):
                object.__setattr__(self, name, (value,) * self.channels)
            elif len(value) != self.channels:
                raise SpecError(
                    f"{name} must have a number for each channel, got {len(value)} for "
                    f"{self.channels} channels."
                )
        if self.channels not in (1, 3):
            raise SpecError(f"channels must be 3 for RGB or 1 for grey, got {self.channels}.")
        if not 0 < self.crop_fraction <= 1:
            raise SpecError(
                f"crop_fraction must be above 0 and at most 1, got {self.crop_fraction}."
            )
        if not all(value > 0 for value in np.atleast_1d(self.std)):
            raise SpecError(f"std must be above 0, got {self.std}.")
        if self.crop_rounding not in ROUNDINGS:
            raise SpecError(
                f"crop_rounding must be one of {', '.join(ROUNDINGS)}, got {self.crop_rounding!r}."
            )

    @np.errstate(all="ignore")
    def __call__(self, images: Any) -> np.ndarray:
        """Prepare one image, or a list of images.

        Parameters
        ----------
        images
            A path, an open file, the bytes of a file, a PIL image, or an array (height, width)
            or (height, width, 1, 3 or 4 channels): uint8 in [0, 255], uint16 in [0, 65535] or
            floats in [0, 1]. Photos are rotated according to their EXIF data; transparency is
            dropped. Or a list of these.

        Returns
        -------
        numpy.ndarray
            Float32 (height, width, channels), or (B, height, width, channels) for a list.

        Raises
        ------
        InputError
            If an image cannot be read, has another shape, type or range, or holds numbers that
            are not finite. The message names the file, if there is one.
        """
        if isinstance(images, (list, tuple)):
            if not images:
                raise InputError("Expected at least one image, got an empty list.")
            return np.stack([self(image) for image in images])
        with named_errors(images, "image"):
            return self.with_pixel_aspect(images, 1.0)

    def can_open(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file is an image: by its suffix, or because Pillow recognises its content.

        Images with broken content count, because reading them reports the fault.
        """
        return is_image_file(path)

    def with_pixel_aspect(self, image: Any, pixel_aspect: float) -> np.ndarray:
        """Prepare one image whose pixels are ``pixel_aspect`` times as wide as high."""
        pixels = self._resize(self._crop(_read(image), pixel_aspect))
        return (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)

    def _crop(
        self, image: Image.Image | np.ndarray, pixel_aspect: float
    ) -> Image.Image | np.ndarray:
        size = image.shape[:2] if isinstance(image, np.ndarray) else image.size[::-1]
        height, width = size
        ratio = self.size[1] / self.size[0] / pixel_aspect
        crop_height = max(1, int(self.crop_fraction * min(height, width / ratio)))
        crop_width = max(1, int(self.crop_fraction * min(width, height * ratio)))
        extra = self.crop_rounding == "up"
        top, left = (height - crop_height + extra) // 2, (width - crop_width + extra) // 2
        if isinstance(image, np.ndarray):
            return image[top : top + crop_height, left : left + crop_width]
        return image.crop((left, top, left + crop_width, top + crop_height))

    def _resize(self, image: Image.Image | np.ndarray) -> np.ndarray:
        """Resize to (height, width, channels), floats in [0, 1]."""
        from PIL import Image

        height, width = self.size
        bicubic = Image.Resampling.BICUBIC
        if not isinstance(image, np.ndarray):
            mode = "RGB" if self.channels == 3 else "L"
            resized = _converted(image, mode).resize((width, height), bicubic)
            return np.asarray(resized, np.float32).reshape(height, width, self.channels) / 255
        channels = [
            np.asarray(Image.fromarray(np.ascontiguousarray(c)).resize((width, height), bicubic))
            for c in np.moveaxis(_with_channels(image, self.channels), -1, 0)
        ]
        return np.clip(np.stack(channels, -1), 0, 1)


@np.errstate(all="ignore")
def read_rgb(image: Any) -> np.ndarray:
    """Read an image that :class:`ImagePreprocessing` accepts: float32 (height, width, 3) in [0, 1].

    Raises
    ------
    InputError
        For the same reasons as :class:`ImagePreprocessing`.
    """
    with named_errors(image, "image"):
        pixels = _read(image)
        if isinstance(pixels, np.ndarray):
            return np.ascontiguousarray(_with_channels(pixels, 3))
        return np.asarray(_converted(pixels, "RGB"), np.float32) / 255


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an image by its suffix, or has a format that Pillow recognises."""
    from PIL import Image, UnidentifiedImageError

    path = user_path(path)
    named = Image.registered_extensions().get(path.suffix.lower())
    if named in Image.OPEN:
        return named not in WITHOUT_PIXELS
    try:
        with Image.open(path) as file:
            return file.format not in WITHOUT_PIXELS
    except UnidentifiedImageError:
        return False
    except Exception:  # too large or not permitted, which reading it reports
        return True


def _read(image: Any) -> Image.Image | np.ndarray:
    """Read an image as an 8-bit PIL image, or as floats (Y, X, 1, 3 or 4) in [0, 1]."""
    from PIL import Image

    if is_file(image):
        return _read_file(image)
    if not isinstance(image, Image.Image):
        return _read_array(image)
    if 0 in image.size:
        raise InputError(f"The image has no pixels: its size is {image.size}.")
    image.load()
    image = _upright(image)
    if image.mode == "I":
        return _read_array(_sixteen_bits(np.asarray(image)))
    if image.mode.startswith(("I;", "F")):  # more than 8 bits, which convert("RGB") would cut off
        return _read_array(np.asarray(image))
    return image


def _sixteen_bits(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels of Pillow's mode "I", used for 16-bit files, from int32 to uint16."""
    if pixels.min() < 0 or pixels.max() > 65535:
        raise InputError(
            f"The image holds whole numbers from {pixels.min()} to {pixels.max()} (Pillow's mode "
            "I), so black and white are unknown. Scale them to uint8, uint16 in [0, 65535] or "
            "floats in [0, 1]."
        )
    return pixels.astype(np.uint16)


def _upright(image: Image.Image) -> Image.Image:
    """Rotate a photo according to its EXIF data, even if other tags are broken."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(0x0112, 1))
    except Exception:  # without readable EXIF data the pixels are upright
        return image
    return image if turn is None else image.transpose(turn)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Convert an 8-bit image to "RGB" or "L"."""
    if image.mode in ("La", "RGBa"):  # premultiplied alpha
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    try:
        if image.mode == "LAB":
            image = image.convert("RGB")
        return image.convert(mode)
    except ValueError as error:
        raise InputError(
            f"The image has Pillow's mode {image.mode}, which cannot be converted to {mode}. "
            "Convert it to RGB first."
        ) from error


def _read_file(source: Any) -> Image.Image | np.ndarray:
    from PIL import Image, UnidentifiedImageError

    name = name_of(source, "image")
    try:
        with Image.open(opened(source)) as file:
            if file.format == "EPS":
                raise InputError(
                    "EPS is refused, because Pillow runs another program, Ghostscript, for it."
                )
            return _read(file)
    except UnidentifiedImageError:
        raise InputError(
            f"{name} is not an image, or has a format that Pillow cannot read."
        ) from None
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name} cannot be read as an image: {error} If you trust it, raise "
            "PIL.Image.MAX_IMAGE_PIXELS."
        ) from error


def _read_array(array: Any) -> Image.Image | np.ndarray:
    from PIL import Image

    from ivy_models.arrays import to_numpy

    array = to_numpy(array, "image")
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
    return bounded_floats("image", array, 0, "Divide by 255, or pass uint8.")


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Convert (Y, X, 1, 3 or 4) to (Y, X, channels): drop transparency, repeat or mix like PIL."""
    pixels = pixels[:, :, :3]
    if channels == 3:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if pixels.shape[-1] == 3:
        pixels = pixels @ np.array([[0.299], [0.587], [0.114]], np.float32)  # ITU-R BT.601 luma
    return pixels
