"""Sequences of tokens, such as the bytes of a text: (B, M) whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ivy_models.ops import Array, ops_for
from ivy_models.transformers.perceiver_io.inputs.features import Features, Inputs
from ivy_models.transformers.perceiver_io.parameters import Tree, table


@dataclass(frozen=True)
class TokenAdapter:
    """Turn tokens into their embeddings, plus a learned vector for each position.

    Parameters
    ----------
    vocabulary_size
        V, number of different tokens.
    dim
        C, channels of an embedding.
    max_length
        Positions there are; a sequence may be shorter.
    """

    vocabulary_size: int
    dim: int
    max_length: int

    @property
    def num_channels(self) -> int:
        """C, channels of an input."""
        return self.dim

    @property
    def num_grid_axes(self) -> int:
        """Axes of the inputs."""
        return 1

    def parameters(self) -> Tree:
        """Describe the adapter's weights."""
        return {
            "embedding": table(self.vocabulary_size, self.dim),
            "positions": table(self.max_length, self.dim),
        }

    def __call__(self, params: Tree, tokens: Array) -> Inputs:
        """Adapt tokens (B, M), whole numbers from 0 to V - 1."""
        ops, embedding = ops_for(params["positions"]), params["embedding"]
        positions = ops.slice(params["positions"], 0, tokens.shape[1], 0)
        rows = embedding(tokens) if callable(embedding) else ops.look_up(embedding, tokens)
        embedded = rows + positions
        return Inputs((tokens.shape[1],), Features(embedded))
