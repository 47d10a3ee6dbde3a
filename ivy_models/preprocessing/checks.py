"""Checks that several kinds of data share."""

from __future__ import annotations

import numpy as np

from ivy_models.errors import InputError


def check_floats(name: str, array: np.ndarray, low: int, hint: str) -> None:
    """Refuse floats that are not finite, or not in [low, 1].

    Raises
    ------
    InputError
        With ``hint``, which says what to do about the range.
    """
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds numbers that are not finite (NaN or infinity).")
    if array.min() < low or array.max() > 1:
        raise InputError(
            f"{name} holds floats from {array.min():.4g} to {array.max():.4g}; expected floats in "
            f"[{low}, 1]. {hint}"
        )
