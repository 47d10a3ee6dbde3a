"""The exact streaming attention on its own, for other models than this library's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ivy_models.errors import InputError
from ivy_models.layers.attention import (
    AttentionSettings,
    attend_to,
    attention_parameters,
    keys_and_values,
    norm,
)
from ivy_models.layers.features import Features, Inputs
from ivy_models.layers.parameters import Tree, layer_norm, map_tree
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.layers.streaming.keys import streaming_attend
from ivy_models.ops import Array, Ops, is_shape, ops_for


@dataclass(frozen=True)
class GridCrossAttention:
    """Queries attend to data on a grid and the Fourier features of its positions.

    Computes the same as pre-norm multi-head cross-attention to the concatenation (B, M, C) of data
    and features, exact up to rounding. The concatenation is never built, so memory does not grow
    with M. A pure function of weights and arrays of any one framework.

    Parameters
    ----------
    query_dim
        D, channels of a query and of an output.
    data_dim
        Channels of the data; C is the sum of these and of the Fourier features.
    positions
        How positions are encoded. The channels of an input are the data's, then the encoding's.
    num_axes
        Axes of the grid.
    num_heads
        H, the number of heads.
    qk_dim, v_dim
        Channels of queries and keys, and of values, over all heads. None: D, and qk_dim.
    """

    query_dim: int
    data_dim: int
    positions: FourierPositionEncoding
    num_axes: int = 2
    num_heads: int = 1
    qk_dim: int | None = None
    v_dim: int | None = None

    @property
    def input_dim(self) -> int:
        """C, channels of an input with its position."""
        return self.data_dim + self.positions.num_channels(self.num_axes)

    def parameters(self) -> Tree:
        """Describe the weights: two layer norms and the four projections of attention."""
        settings = AttentionSettings.of(self.query_dim, self.num_heads, self.qk_dim, self.v_dim)
        return {
            "query_norm": layer_norm(self.query_dim),
            "input_norm": layer_norm(self.input_dim),
            "attention": attention_parameters(settings, self.query_dim, self.input_dim),
        }

    def __call__(self, params: Tree, queries: Array, data: Array, mask: Any = None) -> Array:
        """Attend. There is no residual connection and no MLP.

        Parameters
        ----------
        params
            Weights as :meth:`parameters` describes them.
        queries
            Floats (B, N, D), or (1, N, D) for a whole batch.
        data
            Floats (B, *axes, data_dim).
        mask
            Booleans (B, *axes), True where an input takes part. If no input of a batch
            element takes part, its output is the output projection's bias.

        Returns
        -------
        Array
            (B, N, D).

        Raises
        ------
        InputError
            If an argument has another shape or type.
        """
        ops = ops_for(params["attention"]["query"]["weight"])
        self._check(ops, queries, data, mask)
        batch, *shape, _ = ops.shape(data)
        if mask is not None:
            # NaN of masked inputs must not reach the sums.
            data = ops.where(mask[..., None], data, 0.0)
            mask = ops.reshape(mask, (batch, math.prod(shape)))
        flat = ops.widen(ops.reshape(data, (batch, math.prod(shape), self.data_dim)))
        wide = map_tree(ops.widen, params)
        inputs = Inputs(tuple(shape), Features(flat), self.positions)
        normed = norm(ops, wide["query_norm"], ops.widen(queries))
        if inputs.is_open:  # chunks need the number of inputs
            dense = norm(ops, wide["input_norm"], inputs.dense(ops, normed))
            seen = keys_and_values(ops, wide["attention"], dense, self.num_heads)
            normed = ops.broadcast_to(normed, (batch, *ops.shape(normed)[1:]))
            attended = attend_to(ops, wide["attention"], normed, seen, self.num_heads, mask)
        else:
            attended = streaming_attend(
                ops,
                wide["attention"],
                wide["input_norm"],
                normed,
                [inputs],
                self.num_heads,
                mask,
            )
        return ops.match(attended, queries)

    def _check(self, ops: Ops, queries: Array, data: Array, mask: Any) -> None:
        for name, x in (("queries", queries), ("data", data), ("mask", mask)):
            if x is not None and (more := ops_for(x).more_than_numbers(x)):
                raise InputError(f"{name} {more}")
        sizes = ops.known_shape(data, self.data_dim)
        if len(sizes) != self.num_axes + 2 or sizes[-1] != self.data_dim or 0 in sizes:
            axes = ", ".join(f"axis_{i}" for i in range(self.num_axes))
            raise InputError(f"data has shape {sizes}; expected (B, {axes}, {self.data_dim}).")
        given = ops.known_shape(queries, self.query_dim)
        shared, own = (1, *given[1:2], self.query_dim), (sizes[0], *given[1:2], self.query_dim)
        if len(given) != 3 or not (is_shape(given, own) or is_shape(given, shared)):
            raise InputError(
                f"queries have shape {given}; expected ({sizes[0]}, N, "
                f"{self.query_dim}), or (1, N, {self.query_dim}) for the whole batch."
            )
        shape = None if mask is None else ops.known_shape(mask)
        if shape is not None and (not is_shape(shape, sizes[:-1]) or "bool" not in ops.dtype(mask)):
            raise InputError(
                f"mask has shape {shape} and type {ops.dtype(mask)}; expected booleans "
                f"{sizes[:-1]}, True where an input takes part."
            )
        for name, array in (("queries", queries), ("data", data)):
            if not ops.is_float(array):
                raise InputError(f"{name} is of type {ops.dtype(array)}; expected floats.")
