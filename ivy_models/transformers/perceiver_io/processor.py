"""The processor: latents attend to each other."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ivy_models.base.pickling import PickledByFields
from ivy_models.layers.attention import (
    MLP,
    PUBLISHED_MLP,
    AttentionSettings,
    Dropout,
    Record,
    self_attention,
    self_attention_parameters,
)
from ivy_models.layers.parameters import Tree, apply
from ivy_models.ops import Array, ops_for


@dataclass(frozen=True)
class Processor(PickledByFields):
    """A block of self-attention layers over the latents (Perceiver IO, section 3.1).

    Parameters
    ----------
    latent_dim
        D, channels of a latent.
    num_layers
        Self-attention layers of the block.
    num_heads
        H, the number of heads, which share the channels of queries and of values.
    qk_dim, v_dim
        Channels of queries and keys, and of values, over all heads. None: D, and qk_dim.
    mlp
        Width and activation of the MLP.
    rematerialise
        Whether the backward pass stores only the input of each layer (arXiv 1604.06174).
    """

    latent_dim: int
    num_layers: int = 6
    num_heads: int = 8
    qk_dim: int | None = None
    v_dim: int | None = None
    mlp: MLP = PUBLISHED_MLP
    rematerialise: bool = False

    @functools.cached_property
    def settings(self) -> AttentionSettings:
        """Heads, widths and activation, with the defaults filled in."""
        return AttentionSettings.of(
            self.latent_dim, self.num_heads, self.qk_dim, self.v_dim, self.mlp
        )

    def parameters(self) -> Tree:
        """Describe the block's weights."""
        layer = self_attention_parameters(self.settings, self.latent_dim)
        return {f"self_attention_{i}": layer for i in range(self.num_layers)}

    def __call__(
        self,
        params: Tree,
        latents: Array,
        dropout: Dropout | None = None,
        record: Record | None = None,
    ) -> Array:
        """Refine latents (B, N, D) once; apply the block again for a deeper network.

        Parameters
        ----------
        params
            Weights as :meth:`parameters` describes them.
        latents
            (B, N, D).
        dropout
            Dropout in training, if any.
        record
            Function to call with the attention weights of each layer, if any.

        Returns
        -------
        Array
            (B, N, D).
        """
        ops = ops_for(latents)
        for i in range(self.num_layers):
            drops = dropout and dropout.at(ops, i)

            def layer(weights, latents, drops=drops):
                def attend(params, z):
                    return self_attention(ops, self.settings, params, z, drops, record)

                return apply(weights, latents, attend)

            layer = ops.rematerialise(layer) if self.rematerialise else ops.keep_products(layer)
            latents = layer(params[f"self_attention_{i}"], latents)
        return latents
