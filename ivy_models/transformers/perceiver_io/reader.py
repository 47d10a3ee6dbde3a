"""The reader: latents attend to the inputs, whatever their number."""

from __future__ import annotations

from dataclasses import dataclass

from ivy_models.ops import Array, ops_for
from ivy_models.transformers.perceiver_io.attention import (
    cross_attention,
    cross_attention_parameters,
    mlp_residual,
    norm,
)
from ivy_models.transformers.perceiver_io.inputs import Inputs
from ivy_models.transformers.perceiver_io.parameters import Tree, map_tree
from ivy_models.transformers.perceiver_io.streaming_attention import streaming_attend


@dataclass(frozen=True)
class Reader:
    """Cross-attention from latents to inputs (Perceiver IO, section 3.1).

    Parameters
    ----------
    latent_dim
        D, channels of a latent.
    input_dim
        C, channels of an input, its position included.
    num_heads
        H.
    qk_dim, v_dim
        Channels of queries and keys, and of values, over all heads. None: C, and qk_dim.
    """

    latent_dim: int
    input_dim: int
    num_heads: int = 1
    qk_dim: int | None = None
    v_dim: int | None = None

    def parameters(self) -> Tree:
        """Describe the reader's weights."""
        qk_dim = self.qk_dim or self.input_dim
        return cross_attention_parameters(
            self.latent_dim, self.input_dim, qk_dim, self.v_dim or qk_dim
        )

    def __call__(
        self,
        params: Tree,
        latents: Array,
        inputs: Inputs | Array,
        input_mask: Array | None = None,
        plain: bool = False,
    ) -> Array:
        """Read the inputs into the latents.

        Parameters
        ----------
        params
            Weights as :meth:`parameters` describes them.
        latents
            (B, N, D), or (1, N, D) for a whole batch.
        inputs
            (B, M, C), as one array or in parts.
        input_mask
            Booleans (B, M), True where an input takes part.
        plain
            Compute attention as it is written in the paper, all scores at once, instead
            of streaming over the inputs. Same result, up to rounding.

        Returns
        -------
        Array
            (B, N, D).
        """
        ops = ops_for(latents)
        if not isinstance(inputs, Inputs):
            inputs = Inputs.from_array(inputs)
        dtype = ops.dtype(latents)
        if plain:
            latents = ops.broadcast_to(latents, (inputs.batch, *latents.shape[1:]))
            dense = ops.cast(inputs.dense(ops), dtype)
            return cross_attention(ops, params, latents, dense, self.num_heads, input_mask)
        attended = streaming_attend(
            ops,
            map_tree(ops.widen, params["attention"]),
            map_tree(ops.widen, params["input_norm"]),
            ops.widen(norm(ops, params["query_norm"], latents)),
            inputs,
            self.num_heads,
            input_mask,
        )
        return mlp_residual(ops, params, latents + ops.cast(attended, dtype))
