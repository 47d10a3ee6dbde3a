"""The split into examples to learn from and examples that measure what was learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ivy_models.errors import InputError, package_missing

STRATA = 10
"""Number of equally frequent ranges of a number, by which its split is stratified."""


def split(
    strata: np.ndarray, groups: Sequence[object], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divide examples into two parts.

    Parameters
    ----------
    strata
        Integers (n,). Both parts have nearly the same share of each, except that a stratum of one
        group stays in the first part.
    groups
        One for each example. Examples of one group, such as copies of a file, are never divided.
    fraction
        Share of the second part, between 0 and 1.
    seed
        Seed of the choice.

    Returns
    -------
    tuple of numpy.ndarray
        Sorted indices of the first and of the second part.

    Raises
    ------
    InputError
        If the fraction is not between 0 and 1, or there are too few examples.
    BackendError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise package_missing("Dividing data needs", "scikit-learn") from error
    if not 0 < fraction < 1:
        raise InputError(
            f"The share of the validation examples must be between 0 and 1, got {fraction}."
        )
    places: dict[object, int] = {}
    group_of = np.array([places.setdefault(group, len(places)) for group in groups])
    own = np.zeros(len(places), strata.dtype)
    own[group_of] = strata  # a group has the stratum of one of its members
    kinds, sizes = np.unique(own, return_counts=True)
    divisible = np.flatnonzero(np.isin(own, kinds[sizes > 1]))
    num_kinds = int((sizes > 1).sum())
    if not num_kinds:
        raise InputError(
            f"{len(strata)} examples are too few to hold some out for validation: at least one "
            "class needs two different examples."
        )
    number = min(max(round(fraction * len(own)), num_kinds), len(divisible) - num_kinds)
    _, held_out = train_test_split(
        divisible, test_size=number, random_state=seed, stratify=own[divisible]
    )
    is_held_out = np.isin(group_of, held_out)
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def strata_of(encoded: np.ndarray) -> np.ndarray:
    """Strata (n,) of a target: its classes, or for numbers ranges of equal frequency."""
    if encoded.dtype.kind == "i":
        return encoded
    inner = np.nanquantile(encoded, np.linspace(0, 1, STRATA + 1)[1:-1])
    return np.where(np.isnan(encoded), STRATA, np.digitize(encoded, inner)).astype(np.int64)
