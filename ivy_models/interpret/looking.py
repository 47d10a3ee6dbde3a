"""Where an image model looked, as pictures for a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.interpret.attention_maps import attention_maps
from ivy_models.interpret.rollout import attention_rollout
from ivy_models.preprocessing import ImagePreprocessing

if TYPE_CHECKING:
    from ivy_models.shells.ivy import PerceiverIO

LOOKED = (255, 96, 0)
"""RGB colour that marks where the model looked."""


def where_it_looked(model: PerceiverIO, data: np.ndarray) -> np.ndarray:
    """Share of each part of an image in the first output, by attention rollout.

    Parameters
    ----------
    model
        A model of images.
    data
        One preprocessed image (height, width, channels).

    Returns
    -------
    numpy.ndarray
        (rows, columns); coarser than the image if the model reads patches.
    """
    share = to_numpy(attention_rollout(attention_maps(model, data[None])), "rollout")[0]
    return share.reshape(-1, *share.shape[-2:])[0]


def pixels_of(data: np.ndarray, preprocessing: ImagePreprocessing) -> np.ndarray:
    """Undo the normalisation: the model's data (height, width, channels) -> uint8."""
    std, mean = (np.asarray(x, np.float32) for x in (preprocessing.std, preprocessing.mean))
    return np.round(255 * (data * std + mean).clip(0, 1)).astype(np.uint8)


def heat_map(looked: np.ndarray) -> np.ndarray:
    """Shares (rows, columns) -> RGBA uint8 (rows, columns, 4); larger shares are more opaque."""
    opacity = np.round(255 * looked / max(float(looked.max()), 1e-30)).astype(np.uint8)
    colour = np.broadcast_to(np.asarray(LOOKED, np.uint8), (*looked.shape, 3))
    return np.concatenate([colour, opacity[..., None]], -1)


def png_url(pixels: np.ndarray) -> str:
    """Encode pixels uint8 (height, width) or (height, width, 1, 3 or 4) as the URL of a PNG."""
    from PIL import Image

    pixels = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
