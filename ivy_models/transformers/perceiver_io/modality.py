"""Checks that modalities of inputs and of outputs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ivy_models.base.fields import count, numbers, optional, positive_number, sizes, text
from ivy_models.errors import InputError, SpecError

VALIDATORS = {
    "name": text,
    "num_fourier_freq_bands": optional(count),
    "max_fourier_freq": optional(numbers(positive_number)),
    "patch_shape": optional(sizes),
}
"""Of the fields that input and output modalities share."""


def check_modality(modality: Any, num_axes: int) -> None:
    """Check the fields that input and output modalities share.

    Raises
    ------
    SpecError
        If the name is not readable, or a field does not fit the modality's axes.
    """
    name = modality.name
    if not name.isprintable() or not name.strip() or set(name) & set("./"):
        raise SpecError(
            'A modality\'s name must be readable text without "." and "/", such as "image"; got '
            f"{name!r}."
        )
    if modality.num_fourier_freq_bands is None and modality.max_fourier_freq is not None:
        raise SpecError(f"{name}: max_fourier_freq needs num_fourier_freq_bands.")
    for field in ("max_fourier_freq", "patch_shape"):
        value = getattr(modality, field)
        if isinstance(value, tuple) and len(value) != num_axes:
            raise SpecError(
                f"{name}: {field} needs one number for each of the {num_axes} axes, got {value}."
            )


def check_names(what: str, given: Any, modalities: Mapping[str, Any]) -> None:
    """Check that an argument is a mapping from names of modalities.

    Raises
    ------
    InputError
        If it is something else, or names another modality.
    """
    expected = ", ".join(modalities)
    if not isinstance(given, Mapping):
        raise InputError(
            f"{what} is a mapping from modalities ({expected}), got a {type(given).__name__}."
        )
    if unknown := [str(name) for name in given if name not in modalities]:
        raise InputError(f"{what} has {', '.join(unknown)}; the model's modalities are {expected}.")
