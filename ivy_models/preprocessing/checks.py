"""Checks that several kinds of data share."""

from __future__ import annotations

from typing import Any

import numpy as np

from ivy_models.base.fields import sizes
from ivy_models.errors import InputError, SpecError

ROUNDING = 1e-5
"""How far rounding in a resize or a type conversion may exceed the range of floats."""


def bounded_floats(name: str, array: np.ndarray, low: int, hint: str) -> np.ndarray:
    """Check that floats are in [low, 1], and clip rounding errors; returns float32.

    Parameters
    ----------
    name
        Name of the array, for the error.
    array
        Floats.
    low
        0 or -1.
    hint
        Advice for a wrong range.

    Raises
    ------
    InputError
        If a number is not finite, or is outside the range by more than :data:`ROUNDING`.
    """
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinity; expected finite numbers.")
    lowest, highest = float(array.min()), float(array.max())
    if lowest < low - ROUNDING or highest > 1 + ROUNDING:
        raise InputError(
            f"{name} holds floats from {lowest:.7g} to {highest:.7g}; expected floats in "
            f"[{low}, 1]. {hint}"
        )
    return np.clip(array, low, 1).astype(np.float32)


def image_size(name: str, value: Any) -> tuple[int, int]:
    """Accept a height and a width."""
    size = sizes(name, value)
    if len(size) != 2:
        raise SpecError(f"{name} must be a height and a width, got {value!r}.")
    return size
