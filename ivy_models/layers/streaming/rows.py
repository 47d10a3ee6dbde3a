"""Inputs that share no channels and are not projected: chunks of rows, after their layer norm.

A row has fewer numbers than scores. So the rows are normed, instead of the scores and the weights,
and data and positions are one row, with one matrix product for the scores and one for the sums.
"""

from __future__ import annotations

from typing import Any

from ivy_models.layers.features import Features, Inputs
from ivy_models.ops import Array, Ops


def features_of_rows(inputs: Inputs) -> list[Features] | None:
    """The features that make up a row, or None if inputs share channels or are projected."""
    features = [part for part in (inputs.data, inputs.positions) if part is not None]
    rows = [part for part in features if isinstance(part, Features) and part.weight is None]
    return rows if rows and len(rows) == len(features) and inputs.padding is None else None


def normed_rows(ops: Ops, features: list[Features], batch: Any, start: Any, size: int) -> Array:
    """The layer norm, without scale and offset, of ``size`` inputs from ``start``, (B, size, C)."""
    parts = []
    for feature in features:
        base = ops.slice(feature.base, start, size, len(feature.base.shape) - 2)
        parts += feature.row_parts(ops, base)
    parts = [ops.broadcast_to(part, (batch, size, part.shape[-1])) for part in parts]
    rows = ops.concat(parts, -1) if len(parts) > 1 else parts[0]
    scale, offset = (ops.full((rows.shape[-1],), value, rows) for value in (1, 0))
    return ops.layer_norm(rows, scale, offset)
