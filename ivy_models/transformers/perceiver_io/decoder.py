"""The decoder: queries attend to the latents and become outputs."""

from __future__ import annotations

from dataclasses import dataclass

from ivy_models.ops import Array, ops_for
from ivy_models.transformers.perceiver_io.attention import (
    cross_attention,
    cross_attention_parameters,
    project,
)
from ivy_models.transformers.perceiver_io.parameters import Tree, lecun_normal, linear


@dataclass(frozen=True)
class Decoder:
    """Cross-attention from queries to latents, then a linear head (Perceiver IO, section 3.2).

    Parameters
    ----------
    query_dim
        E, channels of a query.
    latent_dim
        D, channels of a latent.
    output_dim
        Channels of an output; None: no head, outputs keep the queries' E channels.
    num_heads
        H.
    qk_dim, v_dim
        Channels of queries and keys, and of values, over all heads. None: D, and qk_dim.
    query_residual
        Whether the queries are added to what they attended to.
    """

    query_dim: int
    latent_dim: int
    output_dim: int | None = None
    num_heads: int = 1
    qk_dim: int | None = None
    v_dim: int | None = None
    query_residual: bool = True

    def parameters(self) -> Tree:
        """Describe the decoder's weights."""
        qk_dim = self.qk_dim or self.latent_dim
        v_dim = self.v_dim or qk_dim
        tree = {
            "cross_attention": cross_attention_parameters(
                self.query_dim, self.latent_dim, qk_dim, v_dim
            )
        }
        if self.output_dim is not None:
            tree["head"] = linear(self.query_dim, self.output_dim, lecun_normal)
        return tree

    def __call__(
        self, params: Tree, queries: Array, latents: Array, query_mask: Array | None = None
    ) -> Array:
        """Decode latents (B, N, D) at queries (B, O, E) or (1, O, E); -> (B, O, outputs).

        Goes over the queries in chunks, so that memory grows with the outputs alone. What
        a query attends to where ``query_mask``, booleans (B, O), is False counts as zero.
        """
        ops = ops_for(latents)

        def head(attended):
            return attended if self.output_dim is None else project(ops, params["head"], attended)

        return cross_attention(
            ops,
            params["cross_attention"],
            queries,
            latents,
            self.num_heads,
            query_mask=query_mask,
            query_residual=self.query_residual,
            head=head,
        )
