"""The call of a grid attention in every shell: convert the arguments, then run the core."""

from __future__ import annotations

from typing import Any

from ivy_models.arrays import to_native
from ivy_models.layers.parameters import Tree
from ivy_models.layers.streaming.layer import GridCrossAttention
from ivy_models.ops import Array, Ops


def converted_attention(
    ops: Ops, core: GridCrossAttention, params: Tree, queries: Any, data: Any, mask: Any
) -> Array:
    """Call a :class:`.GridCrossAttention` on arrays of any framework.

    Raises
    ------
    InputError
        If an argument does not fit the layer.
    """
    native = None if mask is None else to_native(ops, mask, "mask")
    arguments = to_native(ops, queries, "queries"), to_native(ops, data, "data")
    return core(params, *arguments, native)
