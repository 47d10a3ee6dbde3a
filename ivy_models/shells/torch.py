"""Models as ``torch.nn.Module``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import torch

from ivy_models.errors import InputError
from ivy_models.layers.parameters import (
    Tree,
    initialise,
    is_plain,
    map_tree,
)
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.layers.streaming import layer
from ivy_models.ops import ops_named
from ivy_models.shells.attention_call import converted_attention
from ivy_models.shells.call import checked_call
from ivy_models.shells.resampler_call import converted_call
from ivy_models.shells.shorter import shorter
from ivy_models.shells.torch_layers import Branch
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

_GLOBAL_GENERATOR = "torch"
"""The only key of dropout: torch's own generator."""


@functools.lru_cache(maxsize=32)
def _core(spec_json: str, rematerialise: bool) -> PerceiverIOCore:
    return PerceiverIOCore(PerceiverIOSpec.from_json(spec_json), rematerialise=rematerialise)


# torch.compile traces the tensors through this function but does not read its code, so NumPy tables
# stay constants of the program. Its arguments must be tensors and constants, so the spec is JSON.
@torch.compiler.allow_in_graph
def _call(*arguments: Any) -> Any:
    return _run(*arguments)


@torch.compiler.disable(reason="hooks and replaced layers run uncompiled")
def _call_layers(*arguments: Any) -> Any:
    return _run(*arguments)


def _run(
    spec_json: str,
    rematerialise: bool,
    trains: bool,
    sizes: tuple[int | None, ...],
    params: Tree,
    data: Any,
    mask: Any,
    queries: Any,
    positions: Any,
    query_mask: Any,
) -> Any:
    depth, num_layers, num_latents = sizes
    core, params = shorter(
        _core(spec_json, rematerialise),
        params,
        depth=depth,
        num_layers=num_layers,
        num_latents=num_latents,
    )
    key = _GLOBAL_GENERATOR if trains else None
    arguments = data, mask, queries, key, positions, query_mask
    output = checked_call(ops_named("torch"), core.spec, core, params, *arguments)
    return tuple(output.values()) if isinstance(output, dict) else output  # no dict in a graph


class PerceiverIO(Branch):
    """Perceiver IO as a ``torch.nn.Module``; made by ``PerceiverIO.to_torch_module()``.

    It starts in evaluation mode. In training, the spec's dropout uses torch's own generator.
    Parameters have the names of the parameter tree, with dots, such as
    ``processor.layer_0.self_attention_0.mlp.hidden.weight``; only the embedding is named
    ``input.embedding.weight``. Linear layers are ``torch.nn.Linear``, norms are
    ``torch.nn.LayerNorm`` (with parameters called scale and offset), an image stem's convolution is
    ``torch.nn.Conv2d``, and a text's embedding is ``torch.nn.Embedding``. A layer or block that has
    hooks or was replaced is called like any torch module. If there is none, fused kernels compute
    from the weights.

    Parameters
    ----------
    spec
        The model's description. Its device and data type are those of the weights.
    weights
        A tree of tensors, which are used without copying.
    rematerialise
        As in :meth:`.PerceiverIO.to_torch_module`; also an attribute that can be changed.
    """

    def __init__(self, spec: PerceiverIOSpec, weights: Tree, rematerialise: bool = False):
        super().__init__(PerceiverIOCore(spec).parameters(), weights)
        self.spec, self._spec_json = spec, spec.to_json()
        self._output_names = spec.output_modalities and [m.name for m in spec.output_modalities]
        self.rematerialise = rematerialise
        self.eval()

    def forward(
        self,
        data: Any,
        mask: Any = None,
        queries: Any = None,
        positions: Any = None,
        # Not keyword-only: torch.onnx.export(dynamo=False) passes every argument by position.
        depth: int | None = None,
        num_layers: int | None = None,
        num_latents: int | None = None,
        query_mask: Any = None,
    ) -> Any:
        """Run the model; arguments and errors as in a call of ``ivy_models``' ``PerceiverIO``.

        Returns
        -------
        torch.Tensor or dict
            The outputs of that call, as tensors.
        """
        params = self.tree()
        call = _call if is_plain(params) else _call_layers
        sizes = depth, num_layers, num_latents
        settings = self._spec_json, self.rematerialise, self.training, sizes
        output = call(*settings, params, data, mask, queries, positions, query_mask)
        if self._output_names is None:
            return output
        names = [name for name in self._output_names if queries is None or name in queries]
        return dict(zip(names, output, strict=True))


class GridCrossAttention(Branch):
    """Queries attend to data on a grid and its Fourier features, exactly and without building them.

    The layer norm and cross-attention of :class:`.layer.GridCrossAttention`, as a layer of
    other models.

    Parameters
    ----------
    query_dim, data_dim, num_axes, num_heads, qk_dim, v_dim
        As in that class.
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
        super().__init__(description, map_tree(torch.as_tensor, initialise(description, seed)))
        self._fields = fields

    def forward(
        self, queries: torch.Tensor, data: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attend: queries (B, N, D), data (B, *axes, data_dim) and mask (B, *axes) -> (B, N, D)."""
        params = self.tree()
        if not is_plain(params):
            raise InputError(
                "This layer computes with the weights of its inner layers and never calls them, so "
                "their hooks, pruning and replacements would have no effect. Remove them, or "
                "register the hook on the GridCrossAttention itself."
            )
        return _attend(self._fields, params, queries, data, mask)


@functools.lru_cache(maxsize=32)
def _attention(query_dim, data_dim, num_bands, max_resolution, *others):
    positions = FourierPositionEncoding(num_bands, max_resolution)
    return layer.GridCrossAttention(query_dim, data_dim, positions, *others)


@torch.compiler.allow_in_graph  # like _call
def _attend(fields: tuple, params: Tree, queries: Any, data: Any, mask: Any) -> torch.Tensor:
    return converted_attention(ops_named("torch"), _attention(*fields), params, queries, data, mask)


class Resampler(Branch):
    """Read any number of inputs into a fixed number of outputs, as a part of other models.

    Linear layers are ``torch.nn.Linear``, norms are ``torch.nn.LayerNorm`` or ``torch.nn.RMSNorm``
    (with parameters called scale and offset). A layer that has hooks or was replaced is called. If
    there is none, fused kernels compute from the weights.

    Parameters
    ----------
    spec
        The description.
    seed
        Seed of the random weights.
    """

    def __init__(self, spec: ResamplerSpec, seed: int = 0):
        description = spec.parameters()
        weights = map_tree(torch.as_tensor, initialise(description, seed))
        super().__init__(description, weights, rms_norm_eps=spec.rms_norm_eps)
        self.spec = spec
        self._fields = astuple(spec)  # which Dynamo can compute since torch 2.13 only

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: torch.Tensor | Sequence[torch.Tensor],
        latents: torch.Tensor | None = None,
        mask: torch.Tensor | Sequence[torch.Tensor] | None = None,
        positions: torch.Tensor | Sequence[torch.Tensor] | None = None,
        latent_positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Resample; arguments, result and errors as of :func:`.resample`."""
        params = self.tree()
        call = _resample if is_plain(params) else _resample_by_layers
        arguments = inputs, latents, mask, positions, latent_positions
        return call(self._fields, params, *arguments)


@torch.compiler.allow_in_graph  # like _call
def _resample(fields: tuple, *arguments: Any) -> torch.Tensor:
    return converted_call(ops_named("torch"), _resampler_spec(*fields), *arguments)


@torch.compiler.disable(reason="hooks and replaced layers run uncompiled")
def _resample_by_layers(fields: tuple, *arguments: Any) -> torch.Tensor:
    return converted_call(ops_named("torch"), _resampler_spec(*fields), *arguments)


@functools.lru_cache(maxsize=32)
def _resampler_spec(*fields: Any) -> ResamplerSpec:
    return ResamplerSpec(*fields)
