"""The decoder: queries attend to the latents and become outputs, or the latents are averaged."""

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
    cross_attention,
    cross_attention_parameters,
    norm,
    project,
)
from ivy_models.layers.features import Features, Inputs
from ivy_models.layers.parameters import (
    Tree,
    apply,
    is_plain,
    layer_norm,
    lecun_normal,
    linear,
    map_tree,
)
from ivy_models.layers.streaming.queries import attend_from_inputs
from ivy_models.ops import Array, ops_for
from ivy_models.transformers.perceiver_io.inputs.grid import with_finite_squares


@dataclass(frozen=True)
class Decoder(PickledByFields):
    """Cross-attention from queries to latents, then a linear head (Perceiver IO, section 3.2).

    Parameters
    ----------
    query_dim
        E, channels of a query.
    latent_dim
        D, channels of a latent.
    output_dim
        Channels of an output. None: no head, so that outputs have the queries' E channels.
    num_heads
        H, the number of heads.
    qk_dim, v_dim
        Channels of queries and keys, and of values, over all heads. None: D, and qk_dim.
    query_residual
        Whether the queries are added to the result of attention.
    mlp
        Width and activation of the MLP.
    plain
        Whether attention is always computed as in the paper. If not, queries in groups of
        channels are folded into the keys if that takes fewer multiplications.
    huge_queries
        Whether squares of queries may overflow. Then layer norms get them scaled down.
    """

    query_dim: int
    latent_dim: int
    output_dim: int | None = None
    num_heads: int = 1
    qk_dim: int | None = None
    v_dim: int | None = None
    query_residual: bool = True
    mlp: MLP = PUBLISHED_MLP
    plain: bool = False
    huge_queries: bool = False

    @property
    def num_channels(self) -> int:
        """Channels of an output."""
        return self.query_dim if self.output_dim is None else self.output_dim

    @functools.cached_property
    def settings(self) -> AttentionSettings:
        """Heads, widths and activation, with the defaults filled in."""
        return AttentionSettings.of(
            self.latent_dim, self.num_heads, self.qk_dim, self.v_dim, self.mlp
        )

    def parameters(self) -> Tree:
        """Describe the decoder's weights."""
        tree = {
            "cross_attention": cross_attention_parameters(
                self.settings, self.query_dim, self.latent_dim
            )
        }
        if self.output_dim is not None:
            tree["head"] = linear(self.query_dim, self.output_dim, lecun_normal)
        return tree

    def __call__(
        self,
        params: Tree,
        queries: Array | Inputs,
        latents: Array,
        query_mask: Array | None = None,
        dropout: Dropout | None = None,
        record: Record | None = None,
    ) -> Array:
        """Decode the latents at the queries.

        Queries are processed in chunks, so that memory grows only with the outputs; with dropout
        or a record, all at once.

        Parameters
        ----------
        params
            Weights as :meth:`parameters` describes them.
        queries
            (B, O, E), or (1, O, E) for a whole batch; or as groups of channels, such as those of
            pixels.
        latents
            (B, N, D).
        query_mask
            Booleans (B, O). For a masked query, the result of attention is zero.
        dropout
            Dropout in training, if any.
        record
            Function to call with the attention weights, if any.

        Returns
        -------
        Array
            (B, O, output_dim), or (B, O, E) without a head.
        """
        ops, weights = ops_for(latents), params["cross_attention"]
        features: Features | None = None

        def head(attended):
            return attended if self.output_dim is None else project(ops, params["head"], attended)

        def finish(attended):
            attended = ops.match(attended, latents)
            return head(self.mlp.residual(ops, weights, attended))

        if isinstance(queries, Inputs):
            folds = query_mask is dropout is record is None and is_plain(params) and not self.plain
            folds = folds and not queries.is_open
            if folds and self._folding_is_cheaper(queries, latents.shape[1]):
                return attend_from_inputs(
                    ops,
                    map_tree(ops.widen, weights["attention"]),
                    map_tree(ops.widen, weights["query_norm"]),
                    queries,
                    ops.widen(norm(ops, weights["input_norm"], latents)),
                    self.num_heads,
                    finish,
                    ops.dtype(latents),
                )
            features = queries.data
            is_all = queries.positions is None and queries.padding is None
            if is_plain(params) and features is not None and is_all:
                queries = features.base  # channels are made chunk by chunk
            else:
                features, queries = None, ops.match(queries.dense(ops, ops.widen(latents)), latents)

        def embed(base):
            return base if features is None else ops.match(features.channels(ops, base), latents)

        def scaled(queries):
            if not self.huge_queries:
                return queries
            return ops.match(with_finite_squares(ops, ops.widen(queries)), queries)

        def attend(weights, queries):
            return cross_attention(
                ops,
                self.settings,
                weights,
                queries,
                latents,
                query_mask=query_mask,
                query_residual=self.query_residual,
                embed=embed,
                made_dim=0 if features is None else features.row_dim,
                head=head if is_plain(params) else lambda attended: attended,
                dropout=dropout,
                record=record,
                before_norm=scaled,
            )

        attended = apply(weights, queries, attend)
        return attended if is_plain(params) else head(attended)

    def _folding_is_cheaper(self, queries: Inputs, num_latents: int) -> bool:
        """Whether folded attention takes fewer multiplications per query than plain attention."""
        rows = self.num_heads * num_latents
        folded = rows * (queries.num_own_channels + self.query_dim)
        plain = (self.query_dim + num_latents) * (self.settings.qk_dim + self.settings.v_dim)
        return folded < plain and not self.query_residual


@dataclass(frozen=True)
class MeanDecoder(PickledByFields):
    """The mean of the latents, its layer norm and a linear head (arXiv 2103.03206, section 3.1).

    Parameters
    ----------
    latent_dim
        D, channels of a latent.
    output_dim
        Channels of an output. None: no head, so that outputs have D channels.
    """

    latent_dim: int
    output_dim: int | None = None

    @property
    def num_channels(self) -> int:
        """Channels of an output."""
        return self.latent_dim if self.output_dim is None else self.output_dim

    def parameters(self) -> Tree:
        """Describe the decoder's weights."""
        tree: Tree = {"norm": layer_norm(self.latent_dim)}
        if self.output_dim is not None:
            tree["head"] = linear(self.latent_dim, self.output_dim, lecun_normal)
        return tree

    def __call__(self, params: Tree, latents: Array, record: Record | None = None) -> Array:
        """Decode latents (B, N, D). ``record`` is called with their shares (B, 1, 1, N), if any.

        Returns
        -------
        Array
            (B, 1, output_dim), or (B, 1, D) without a head.
        """
        ops = ops_for(latents)
        if record is not None:
            batch, number, _ = ops.shape(latents)
            share = ops.full((1, 1, 1, 1), 1 / number, like=ops.widen(latents))
            record(ops.broadcast_to(share, (batch, 1, 1, number)))
        mean = ops.match(ops.mean(ops.widen(latents), 1, keepdims=True), latents)
        normed = norm(ops, params["norm"], mean)
        return normed if self.output_dim is None else project(ops, params["head"], normed)
