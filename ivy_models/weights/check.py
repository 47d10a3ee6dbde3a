"""Whether a set of weights fits a model, before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ivy_models.errors import WeightsError
from ivy_models.transformers.perceiver_io.parameters import Tree, flatten
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

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


NOT_COMPARED = ("device", "dtype", "attn_dropout", "fc_dropout")
"""Fields that may differ between a model and the weights that it takes."""


def differing_fields(published: PerceiverIOSpec, spec: PerceiverIOSpec) -> list[str]:
    """Names of the fields in which two models differ."""
    return [
        field.name
        for field in fields(spec)
        if field.name not in NOT_COMPARED
        and getattr(spec, field.name) != getattr(published, field.name)
    ]


def check_spec(published: PerceiverIOSpec, spec: PerceiverIOSpec, source: str) -> None:
    """Check that a spec describes the model that some weights were trained in.

    Raises
    ------
    WeightsError
        With a table of the fields that differ.
    """
    rows = [
        (name, repr(getattr(spec, name)), repr(getattr(published, name)))
        for name in differing_fields(published, spec)
    ]
    if not rows:
        return
    rows.insert(0, ("field", "this spec", "the weights"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    table = "\n".join(f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)
    raise WeightsError(
        f"The spec does not describe the model of {source}:\n{table}\n"
        "Change these fields, or build the model with pretrained=False."
    )
