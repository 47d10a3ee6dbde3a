"""Models as ``torch.nn.Module``."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch

from ivy_models.ops import ops_named
from ivy_models.shells.call import checked_call
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.parameters import Tree, initialise, map_tree
from ivy_models.transformers.perceiver_io.position_encoding import FourierPositionEncoding
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
from ivy_models.transformers.perceiver_io.streaming import layer


class _Branch(torch.nn.Module):
    """A branch of the parameter tree: weights that are trained are parameters, others buffers."""

    def __init__(self, description: Tree, weights: Tree):
        super().__init__()
        # Wrappers of torch's (replicas, parametrisations) keep neither lists of parameters nor
        # of children as they are made here, but what has a name keeps it.
        self._branches = [name for name, part in description.items() if isinstance(part, Mapping)]
        self._leaves = [name for name in description if name not in self._branches]
        for name, part in description.items():
            if name in self._branches:
                self.add_module(name, _Branch(part, weights[name]))
                continue
            weight = _transposed(name, weights[name]).contiguous()
            if part.trainable:
                self.register_parameter(name, torch.nn.Parameter(weight))
            else:
                self.register_buffer(name, weight)

    def weights(self) -> Tree:
        """The weights as a tree of tensors that share this module's memory and gradients."""
        tree = {name: getattr(self, name).weights() for name in self._branches}
        leaves = {name: _transposed(name, getattr(self, name)) for name in self._leaves}
        return tree | leaves


def _transposed(name: str, weight: torch.Tensor) -> torch.Tensor:
    """A layer's matrix between the tree's (C_in, C_out) and torch's own (C_out, C_in)."""
    return weight.t() if name == "weight" and weight.ndim == 2 else weight


_GLOBAL_GENERATOR = "torch"
"""The key of dropout: there is just one."""


@functools.lru_cache(maxsize=32)
def _core(spec_json: str, rematerialise: bool) -> PerceiverIOCore:
    return PerceiverIOCore(PerceiverIOSpec.from_json(spec_json), rematerialise=rematerialise)


# torch.compile does not read this: it traces the tensors that go through it. So no NumPy table is
# made part of the program's arithmetic. Such a function takes tensors and constants, not a spec.
@torch.compiler.allow_in_graph
def _call(
    spec_json: str,
    rematerialise: bool,
    trains: bool,
    params: Tree,
    data: Any,
    mask: Any,
    queries: Any,
) -> Any:
    core, key = _core(spec_json, rematerialise), _GLOBAL_GENERATOR if trains else None
    return checked_call(ops_named("torch"), core.spec, core, params, data, mask, queries, key)


class PerceiverIO(_Branch):
    """Perceiver IO as a ``torch.nn.Module``; made by ``PerceiverIO.to_torch_module()``.

    It starts in evaluation mode; in training the spec's dropout draws from torch's own generator.
    Parameters are named as in the parameter tree, with dots, such as
    ``processor.layer_0.self_attention_0.mlp.hidden.weight``. Matrices are (C_out, C_in), as those
    of ``torch.nn.Linear``.

    Parameters
    ----------
    spec
        The model's description. Its device and data type are those of the weights.
    weights
        A tree of tensors, which are used as they are.
    rematerialise
        As :meth:`.PerceiverIO.to_torch_module` takes it; an attribute that can be changed.
    """

    def __init__(self, spec: PerceiverIOSpec, weights: Tree, rematerialise: bool = False):
        super().__init__(PerceiverIOCore(spec).parameters(), weights)
        self.spec, self._spec_json = spec, spec.to_json()
        self.rematerialise = rematerialise
        self.eval()

    def forward(self, data: Any, mask: Any = None, queries: Any = None) -> Any:
        """Run the model; arguments and errors as in a call of ``ivy_models``' ``PerceiverIO``.

        Returns
        -------
        torch.Tensor or dict
            What that gives, as tensors.
        """
        settings = self._spec_json, self.rematerialise, self.training
        return _call(*settings, self.weights(), data, mask, queries)


class GridCrossAttention(_Branch):
    """Queries attend to data on a grid and its Fourier features, exactly and without building them.

    The layer norm and cross-attention of :class:`.layer.GridCrossAttention`, as a layer of
    other models.

    Parameters
    ----------
    query_dim, data_dim, num_axes, num_heads, qk_dim, v_dim
        As there.
    num_bands, max_resolution
        As in :class:`.FourierPositionEncoding`.
    seed
        Seed of the random weights.
    """

    def __init__(
        self,
        query_dim: int,
        data_dim: int,
        num_bands: int,
        max_resolution: float | tuple[float, ...] | None = None,
        num_axes: int = 2,
        num_heads: int = 1,
        qk_dim: int | None = None,
        v_dim: int | None = None,
        seed: int = 0,
    ):
        if isinstance(max_resolution, list):
            max_resolution = tuple(max_resolution)
        fields = (
            query_dim,
            data_dim,
            num_bands,
            max_resolution,
            num_axes,
            num_heads,
            qk_dim,
            v_dim,
        )
        description = _attention(*fields).parameters()
        super().__init__(description, map_tree(torch.from_numpy, initialise(description, seed)))
        self._fields = fields

    def forward(
        self, queries: torch.Tensor, data: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attend: queries (B, N, D), data (B, *axes, data_dim) and mask (B, *axes) -> (B, N, D)."""
        return _attend(self._fields, self.weights(), queries, data, mask)


@functools.lru_cache(maxsize=32)
def _attention(query_dim, data_dim, num_bands, max_resolution, *others):
    positions = FourierPositionEncoding(num_bands, max_resolution)
    return layer.GridCrossAttention(query_dim, data_dim, positions, *others)


@torch.compiler.allow_in_graph  # as above
def _attend(fields: tuple, params: Tree, queries: Any, data: Any, mask: Any) -> torch.Tensor:
    return _attention(*fields)(params, queries, data, mask)
