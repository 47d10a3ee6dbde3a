"""Whether a set of weights fits a model, before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ivy_models.errors import WeightsError
from ivy_models.transformers.perceiver_io.parameters import Tree, flatten

LISTED = 10
"""Names that an error lists of each kind of misfit."""


def check_weights(description: Tree, weights: Mapping[str, Any], source: str) -> None:
    """Check names and shapes of flat weights against a model's description.

    Raises
    ------
    WeightsError
        Listing what is missing, unexpected, misshapen or no number.
    """
    expected = dict(flatten(description))
    shared = [name for name in expected if name in weights]
    misfits = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name}: {weights[name].shape}, expected {expected[name].shape}"
            for name in shared
            if tuple(weights[name].shape) != expected[name].shape
        ],
        "not numbers": [
            f"{name}: {weights[name].dtype}"
            for name in shared
            if not np.issubdtype(weights[name].dtype, np.floating)
        ],
    }
    lines = [line for kind, names in misfits.items() for line in _listing(kind, names)]
    if lines:
        raise WeightsError(
            f"The weights in {source} do not fit the model, which was left as it was:\n"
            + "\n".join(lines)
        )


def _listing(kind: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = [f"    and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return [f"  {len(names)} {kind}:", *(f"    {name}" for name in names[:LISTED]), *more]
