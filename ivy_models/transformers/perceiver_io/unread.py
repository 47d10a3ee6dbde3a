"""Whole numbers of a call that nobody has read, because that would wait for their device."""

from __future__ import annotations

from collections.abc import Callable

from ivy_models.ops import Array, Ops


def rows_at(ops: Ops, rows: Callable[[Array], Array], numbers: Array, size: int) -> Array:
    """Return ``rows(numbers)``, (..., K).

    Numbers (...) that are not from 0 to ``size`` - 1 give NaN if nobody has read them. A device
    would otherwise stop the whole process, or return rows of something else.
    """
    if not ops.waits_for(numbers):
        return rows(numbers)
    known = (numbers >= 0) & (numbers < size)
    return ops.where(known[..., None], rows(ops.where(known, numbers, 0)), float("nan"))
