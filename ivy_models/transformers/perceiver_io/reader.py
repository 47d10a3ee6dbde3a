"""The reader: latents attend to any number of inputs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
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
)
from ivy_models.layers.features import Inputs, dense, segments_of
from ivy_models.layers.parameters import Tree, is_plain, map_tree
from ivy_models.layers.streaming.keys import streaming_attend
from ivy_models.ops import Array, ops_for

MAX_MADE = 2**22
"""Numbers that plain attention may make from coordinates at most: 16 MB in float32. Streaming
makes those of a chunk at a time."""

STREAMING_OVERHEAD = 2**23
"""About as many multiplications as fit into the overhead of streaming's small operations."""


@dataclass(frozen=True)
class Reader(PickledByFields):
    """Cross-attention from latents to inputs (Perceiver IO, section 3.1).

    Parameters
    ----------
    latent_dim
        D, channels of a latent.
    input_dim
        C, channels of an input, its position included.
    num_heads
        H, the number of heads.
    qk_dim, v_dim
        Channels of queries and keys, and of values, over all heads. None: C, and qk_dim.
    mlp
        Width and activation of the MLP.
    """

    latent_dim: int
    input_dim: int
    num_heads: int = 1
    qk_dim: int | None = None
    v_dim: int | None = None
    mlp: MLP = PUBLISHED_MLP

    @functools.cached_property
    def settings(self) -> AttentionSettings:
        """Heads, widths and activation, with the defaults filled in."""
        return AttentionSettings.of(
            self.input_dim, self.num_heads, self.qk_dim, self.v_dim, self.mlp
        )

    def parameters(self) -> Tree:
        """Describe the reader's weights."""
        return cross_attention_parameters(self.settings, self.latent_dim, self.input_dim)

    def __call__(
        self,
        params: Tree,
        latents: Array,
        inputs: Array | Inputs | Sequence[Inputs],
        input_mask: Array | None = None,
        plain: bool | None = None,
        dropout: Dropout | None = None,
        record: Record | None = None,
    ) -> Array:
        """Read the inputs into the latents.

        Parameters
        ----------
        params
            Weights as :meth:`parameters` describes them.
        latents
            (B, N, D), or (1, N, D) for a whole batch.
        inputs
            (B, M, C), as one array, as groups of channels, or as a sequence of segments.
        input_mask
            Booleans (B, M), True for inputs to read.
        plain
            True: attention as in the paper, all scores at once. False: streaming over the
            inputs, exact up to rounding. None: the cheaper of the two, in bounded memory.
            Where a traced program leaves the number of inputs open: True.
        dropout
            Dropout in training, if any. Dropout of attention weights needs plain attention.
        record
            Function to call with the attention weights, if any. It needs plain attention.

        Returns
        -------
        Array
            (B, N, D).
        """
        ops = ops_for(latents)
        segments = segments_of(inputs)
        needs_weights = record is not None or (dropout is not None and dropout.attention)
        if needs_weights or not is_plain(params):
            plain = True  # streaming folds layers into each other, so it calls none
        if any(segment.is_open for segment in segments):
            plain = True  # chunks of inputs need their number
        if plain or (plain is None and self.plain_is_cheaper(latents.shape[1], segments)):
            return cross_attention(
                ops,
                self.settings,
                params,
                latents,
                dense(ops, inputs, latents),
                input_mask,
                chunked=not plain,
                dropout=dropout,
                record=record,
            )
        attended = streaming_attend(
            ops,
            map_tree(ops.widen, params["attention"]),
            map_tree(ops.widen, params["input_norm"]),
            ops.widen(norm(ops, params["query_norm"], latents)),
            segments,
            self.num_heads,
            input_mask,
        )
        latents = latents + ops.match(attended, latents)
        return self.mlp.residual(ops, params, latents, dropout)

    def plain_is_cheaper(self, num_latents: int, segments: Sequence[Inputs]) -> bool:
        """Whether plain attention takes fewer multiplications than streaming.

        Streaming avoids keys and values. But each of its scores and sums takes a multiplication
        for each of an input's own channels instead of each channel of a head, which is more if
        there are many channels and heads.
        """
        num_inputs = sum(segment.num_inputs for segment in segments)
        if sum(segment.num_made for segment in segments) > MAX_MADE:
            return False
        plain = num_inputs * (self.input_dim + num_latents)
        plain *= self.settings.qk_dim + self.settings.v_dim
        rows = self.num_heads * num_latents
        streaming = sum(s.num_inputs * rows * 2 * s.num_own_channels for s in segments)
        return plain < streaming + STREAMING_OVERHEAD
