"""Models as ``paddle.nn.Layer``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
from paddle.nn.initializer import Assign

from ivy_models.errors import InputError
from ivy_models.layers.parameters import Tree, initialise, map_tree
from ivy_models.layers.position_encoding import FourierPositionEncoding
from ivy_models.layers.streaming import layer
from ivy_models.ops import ops_named
from ivy_models.shells.attention_call import converted_attention
from ivy_models.shells.call import checked_call
from ivy_models.shells.part_names import attribute_name
from ivy_models.shells.resampler_call import converted_call
from ivy_models.shells.shorter import shorter
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

_GLOBAL_GENERATOR = "paddle"
"""The only key of dropout: Paddle's own generator."""


class Branch(paddle.nn.Layer):
    """A branch of the parameter tree. Trainable weights are parameters, the others are buffers.

    Parameters
    ----------
    description, weights
        The branch's parameters and their values.
    """

    def __init__(self, description: Tree, weights: Tree):
        super().__init__()
        self._attributes = {name: name for name in description}
        """Names of the parts as attributes, by their names in the tree."""
        for name, part in description.items():
            weight = weights[name]
            if isinstance(part, Mapping):
                attribute = self._attributes[name] = attribute_name(name, self)
                self.add_sublayer(attribute, Branch(dict(part), weight))
            elif part.trainable:
                self.add_parameter(name, _parameter(weight))
            else:
                self.register_buffer(name, weight)

    def weights(self) -> Tree:
        """The weights as a tree of tensors that share this layer's memory and gradients.

        Raises
        ------
        InputError
            If a part of the model has a hook or was replaced by another layer.
        """
        tree: Tree = {}
        for name, attribute in self._attributes.items():
            part = getattr(self, attribute)
            if isinstance(part, paddle.nn.Layer):
                _check_plain(name, part)
                part = part.weights()
            tree[name] = part
        return tree

    def forward(self, *_arguments: Any) -> None:
        """Refuse.

        Raises
        ------
        InputError
            Always: a part of a model groups weights.
        """
        raise InputError("This part of the model groups weights. Call the whole model.")


class PerceiverIO(Branch):
    """Perceiver IO as a ``paddle.nn.Layer``; made by ``PerceiverIO.to_paddle_module()``.

    It starts in evaluation mode. In training, the spec's dropout uses Paddle's own generator
    (``paddle.seed``). Parameters have the names of the parameter tree, with dots, such as
    ``processor.layer_0.self_attention_0.mlp.hidden.weight``, and its shapes. The parts of the model
    hold weights and are never called, so a hook on a part and a replaced part are refused.

    Parameters
    ----------
    spec
        The model's description. Its device and data type are those of the weights.
    weights
        A tree of tensors, which are copied.
    rematerialise
        As in :meth:`.PerceiverIO.to_paddle_module`.
    """

    def __init__(self, spec: PerceiverIOSpec, weights: Tree, rematerialise: bool = False):
        core = PerceiverIOCore(spec, rematerialise=rematerialise)
        super().__init__(core.parameters(), weights)
        self.spec, self.core = spec, core
        self.eval()

    @paddle.jit.not_to_static
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        data: Any,
        mask: Any = None,
        queries: Any = None,
        positions: Any = None,
        query_mask: Any = None,
        *,
        depth: int | None = None,
        num_layers: int | None = None,
        num_latents: int | None = None,
    ) -> Any:
        """Run the model; arguments and errors as in a call of ``ivy_models``' ``PerceiverIO``.

        Returns
        -------
        paddle.Tensor or dict
            The outputs of that call, as tensors.
        """
        key = _GLOBAL_GENERATOR if self.training else None
        core, weights = shorter(
            self.core, self.weights(), depth=depth, num_layers=num_layers, num_latents=num_latents
        )
        arguments = data, mask, queries, key, positions, query_mask
        return checked_call(ops_named("paddle"), core.spec, core, weights, *arguments)


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
        positions = FourierPositionEncoding(num_bands, max_resolution)
        core = layer.GridCrossAttention(
            query_dim, data_dim, positions, num_axes, num_heads, qk_dim, v_dim
        )
        description = core.parameters()
        weights = map_tree(ops_named("paddle").asarray, initialise(description, seed))
        super().__init__(description, weights)
        self.core = core

    @paddle.jit.not_to_static
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, queries: paddle.Tensor, data: paddle.Tensor, mask: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """Attend: queries (B, N, D), data (B, *axes, data_dim) and mask (B, *axes) -> (B, N, D)."""
        arguments = queries, data, mask
        return converted_attention(ops_named("paddle"), self.core, self.weights(), *arguments)


class Resampler(Branch):
    """Read any number of inputs into a fixed number of outputs, as a part of other models.

    Its parts hold weights and are never called, so a hook on a part and a replaced part are
    refused.

    Parameters
    ----------
    spec
        The description.
    seed
        Seed of the random weights.
    """

    def __init__(self, spec: ResamplerSpec, seed: int = 0):
        description = spec.parameters()
        weights = map_tree(ops_named("paddle").asarray, initialise(description, seed))
        super().__init__(description, weights)
        self.spec = spec

    @paddle.jit.not_to_static
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs: Any,
        latents: Any = None,
        mask: Any = None,
        positions: Any = None,
        latent_positions: Any = None,
    ) -> Any:
        """Resample; arguments, result and errors as of :func:`.resample`."""
        arguments = inputs, latents, mask, positions, latent_positions
        return converted_call(ops_named("paddle"), self.spec, self.weights(), *arguments)


def _parameter(weight: paddle.Tensor) -> paddle.Tensor:
    parameter = paddle.create_parameter(
        weight.shape, weight.dtype, default_initializer=Assign(weight)
    )
    return parameter.to(weight.place)


def _check_plain(name: str, part: paddle.nn.Layer) -> None:
    hooked = bool(part._forward_pre_hooks or part._forward_post_hooks)
    if hooked or not isinstance(part, Branch):
        raise InputError(
            f"The part {name} of the model {'has a hook' if hooked else 'was replaced'}, but parts "
            "hold weights and are never called. Register hooks on the whole model, and leave its "
            "parts as they are."
        )
