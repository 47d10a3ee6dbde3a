"""Turn drawn lines into an image like those that the models in the package were trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ivy_models.errors import InputError

SIZE = 256
"""Height and width of the image in pixels, 32 times that of the digits model."""

INK = 0.305
"""Mean ink share of scikit-learn's digits, which is nearly the same for each digit."""

OUTLINE, CLOTH, LINE = SIZE // 20, 160, 220
"""Thickness of the lines of a silhouette in pixels, and brightness inside and on the lines."""

THICKEST = SIZE // 3

MAX_POINTS = 10_000
"""Maximum number of points of a drawing: a few minutes of drawing."""


def draw_strokes(strokes: Any) -> Image.Image:
    """Draw lines in white on black, centred and scaled to the height or width of the image.

    The pen's thickness is chosen so that the image has as much ink as scikit-learn's digits,
    whatever the size of the drawing.

    Parameters
    ----------
    strokes
        Lists of points (x, y) in [0, 1]; x points to the right and y down.

    Returns
    -------
    PIL.Image.Image
        Greyscale, 256 x 256.

    Raises
    ------
    InputError
        If there is nothing to draw, or the strokes are not lists of such points.
    """
    lines = _lines(strokes)
    thin, thick = 1, THICKEST
    while thick - thin > 1:
        pen = (thin + thick) // 2
        if np.asarray(_draw(lines, pen)).mean() < 255 * INK:
            thin = pen
        else:
            thick = pen
    return _draw(lines, thick)


def draw_silhouette(strokes: Any) -> Image.Image:
    """Draw lines and fill what they enclose, centred and scaled as :func:`draw_strokes` does.

    Parameters
    ----------
    strokes
        As in :func:`draw_strokes`.

    Returns
    -------
    PIL.Image.Image
        Greyscale, 256 x 256: light on black, as in Fashion-MNIST.

    Raises
    ------
    InputError
        As in :func:`draw_strokes`.
    """
    drawn = ImageOps.expand(_draw(_lines(strokes), OUTLINE), 1)  # a way around the drawing
    regions = drawn.point([0, *[255] * 255])
    ImageDraw.floodfill(regions, (0, 0), 128)
    shown = np.zeros(256, np.uint8)
    shown[[128, 0, 255]] = 0, CLOTH, LINE  # outside, inside, lines
    return ImageOps.crop(Image.fromarray(shown[np.asarray(regions)]), 1)


def _lines(strokes: Any) -> list[np.ndarray]:
    lines = [_points(stroke) for stroke in strokes] if isinstance(strokes, list) else []
    if not lines:
        raise InputError("Nothing is drawn.")
    if sum(map(len, lines)) > MAX_POINTS:
        raise InputError(f"The drawing has more than {MAX_POINTS:,} points; draw less.")
    return lines


def _points(stroke: Any) -> np.ndarray:
    """Check a stroke; return its points as floats (n, 2)."""
    try:
        points = np.asarray(stroke, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros((0, 0))
    if points.ndim != 2 or points.shape[1] != 2 or not ((points >= 0) & (points <= 1)).all():
        raise InputError("A stroke must be a list of points (x, y) in [0, 1].")
    return points


def _draw(lines: list[np.ndarray], pen: int) -> Image.Image:
    points = np.concatenate(lines)
    low, high = points.min(0), points.max(0)
    scale = (SIZE - pen) / max(*(high - low), 0.01)  # avoid dividing by 0 for a dot
    image = Image.new("L", (SIZE, SIZE))
    brush, radius = ImageDraw.Draw(image), pen / 2
    for line in lines:
        line = (line - (low + high) / 2) * scale + SIZE / 2
        brush.line([tuple(point) for point in line], fill=255, width=pen, joint="curve")
        for x, y in line[[0, -1]]:
            brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return image
