"""The description of a resampler, and its weights."""

from __future__ import annotations

from dataclasses import dataclass

from ivy_models.base.fields import (
    check_fields,
    count,
    flag,
    one_of,
    optional,
    positive_int,
    positive_number,
)
from ivy_models.errors import SpecError
from ivy_models.layers.attention import ACTIVATIONS
from ivy_models.layers.parameters import (
    Parameter,
    Tree,
    layer_norm,
    linear,
    ones,
    table,
)

NORMS = ("layer_norm", "rms_norm")
NORM_POSITIONS = ("before", "after")
QK_NORMS = ("heads", "channels")


@dataclass(frozen=True)
class ResamplerSpec:
    """Describe a resampler: N latents read M inputs of any number, in one layer or several.

    A layer is cross-attention and an MLP, and then any number of layers of self-attention and an
    MLP. The defaults are those of the perceiver resampler of Flamingo (arXiv 2204.14198), except
    for ``keys_from_latents``.

    Parameters
    ----------
    input_dim
        C, channels of an input.
    latent_dim
        D, channels of a latent.
    num_latents
        N, the number of learned latents, and so of outputs. None: each call passes its latents.
    num_layers
        Number of layers, each with its own weights.
    num_self_attention_layers
        Number of self-attention layers that follow each cross-attention.
    num_heads
        H, heads of the queries.
    head_dim
        Channels of a head of the queries, keys and values.
    num_key_value_heads
        Heads of the keys and values, each for equally many heads of the queries
        (arXiv 2305.13245). None: H.
    keys_from_latents
        Whether keys and values come from the latents too, so that a latent attends to the inputs
        and to all latents.
    norm
        "layer_norm", or "rms_norm" (arXiv 1910.07467), everywhere in the resampler.
    norm_position
        "before": latents and inputs are normed before attention, and latents before an MLP.
        "after": the results of attention and MLP are normed before they are added to the latents.
        None: neither.
    rms_norm_eps
        The number that "rms_norm" adds to the mean square. "layer_norm" adds 1e-5.
    qk_norm
        Whether queries and keys are normed: "heads", each head on its own; "channels", all heads
        together; None, no.
    qkv_bias, out_bias
        Whether the projections to queries, keys and values, and that of attention's result, have
        biases.
    query_residual
        Whether the result of cross-attention is added to the latents; if not, it replaces them.
    mlp_dim
        Hidden channels of an MLP. None: 4 D. 0: no MLPs.
    mlp_bias
        Whether the linear layers of the MLPs have biases.
    activation
        "gelu" (exact), "relu" or "silu".
    gated_mlp
        Whether the hidden channels are multiplied by the activation of gates (arXiv 2002.05202).
    rotary_dim
        Channels of each head that are rotated by positions (arXiv 2104.09864), in adjacent pairs.
        Each call then passes positions of its inputs and latents. None: no rotation.
    rotary_theta
        Pair i of ``rotary_dim / 2`` turns by ``position * rotary_theta ** (-2 i / rotary_dim)``
        radians.
    rotate_values
        Whether values are rotated too, and the results of attention are rotated back
        (arXiv 2310.16046).
    input_projection
        Whether a linear layer with bias first maps the inputs to D channels.
    output_dim
        Channels of an output, by a linear layer with bias. None: D, without it.
    output_norm
        Whether the outputs are normed, after ``output_dim``'s layer.
    pooled
        Whether the output is the mean over the N outputs.

    Raises
    ------
    SpecError
        If a field has a wrong type or value, or two of them contradict each other.
    """

    input_dim: int
    latent_dim: int
    num_latents: int | None = None
    num_layers: int = 1
    num_self_attention_layers: int = 0
    num_heads: int = 8
    head_dim: int = 64
    num_key_value_heads: int | None = None
    keys_from_latents: bool = False
    norm: str = "layer_norm"
    norm_position: str | None = "before"
    rms_norm_eps: float = 1e-6
    qk_norm: str | None = None
    qkv_bias: bool = False
    out_bias: bool = False
    query_residual: bool = True
    mlp_dim: int | None = None
    mlp_bias: bool = False
    activation: str = "gelu"
    gated_mlp: bool = False
    rotary_dim: int | None = None
    rotary_theta: float = 10_000.0
    rotate_values: bool = False
    input_projection: bool = False
    output_dim: int | None = None
    output_norm: bool = True
    pooled: bool = False

    def __post_init__(self) -> None:
        check_fields(self, **_VALIDATORS)
        if self.num_heads % self.key_value_heads:
            raise SpecError(
                f"num_heads must be a multiple of num_key_value_heads, got {self.num_heads} and "
                f"{self.num_key_value_heads}."
            )
        if self.keys_from_latents and self.key_dim != self.latent_dim:
            raise SpecError(
                "keys_from_latents needs inputs as wide as the latents, got "
                f"input_dim={self.input_dim} and latent_dim={self.latent_dim}. Set "
                "input_projection=True, or make them equal."
            )
        if self.mlp_dim == 0 and (self.mlp_bias or self.gated_mlp):
            raise SpecError("mlp_bias and gated_mlp need MLPs, got mlp_dim=0.")
        if self.rotary_dim is None and self.rotate_values:
            raise SpecError("rotate_values=True needs rotary_dim, the rotated channels of a head.")
        if self.rotary_dim is not None and (self.rotary_dim % 2 or self.rotary_dim > self.head_dim):
            raise SpecError(
                f"rotary_dim must be even and at most head_dim={self.head_dim}, got "
                f"{self.rotary_dim}."
            )

    @property
    def key_value_heads(self) -> int:
        """Heads of the keys and values."""
        return self.num_key_value_heads or self.num_heads

    @property
    def key_dim(self) -> int:
        """Channels of what the keys and values are made from."""
        return self.latent_dim if self.input_projection else self.input_dim

    def parameters(self) -> Tree:
        """Describe the weights."""
        tree: Tree = {}
        if self.num_latents is not None:
            tree["latents"] = table(self.num_latents, self.latent_dim)
        if self.input_projection:
            tree["input_projection"] = linear(self.input_dim, self.latent_dim)
        for i in range(self.num_layers):
            layer = {"cross_attention": self._block(self.key_dim)}
            for j in range(self.num_self_attention_layers):
                layer[f"self_attention_{j}"] = self._block()
            tree[f"layer_{i}"] = layer
        if self.output_dim is not None:
            tree["output_projection"] = linear(self.latent_dim, self.output_dim)
        if self.output_norm:
            tree["output_norm"] = self._norm(self.output_dim or self.latent_dim)
        return tree

    def _block(self, input_dim: int | None = None) -> Tree:
        """Attention to inputs, or among the latents, and an MLP."""
        latent_dim, tree = self.latent_dim, {}
        if self.norm_position == "before":
            tree["query_norm"] = self._norm(latent_dim)
            if input_dim is not None:
                tree["input_norm"] = self._norm(input_dim)
        tree["attention"] = self._attention(input_dim or latent_dim)
        if self.norm_position == "after":
            tree["attention_norm"] = self._norm(latent_dim)
        if self.mlp_dim == 0:
            return tree
        if self.norm_position is not None:
            tree["mlp_norm"] = self._norm(latent_dim)
        hidden_dim = self.mlp_dim or 4 * latent_dim
        names = ("hidden", "gate") if self.gated_mlp else ("hidden",)
        tree["mlp"] = {name: _linear(latent_dim, hidden_dim, self.mlp_bias) for name in names}
        tree["mlp"]["output"] = _linear(hidden_dim, latent_dim, self.mlp_bias)
        return tree

    def _attention(self, input_dim: int) -> Tree:
        query_dim = self.num_heads * self.head_dim
        key_dim = self.key_value_heads * self.head_dim
        tree = {
            "query": _linear(self.latent_dim, query_dim, self.qkv_bias),
            "key": _linear(input_dim, key_dim, self.qkv_bias),
            "value": _linear(input_dim, key_dim, self.qkv_bias),
        }
        if self.qk_norm is not None:
            by_head = self.qk_norm == "heads"
            tree["query_norm"] = self._norm(self.head_dim if by_head else query_dim)
            tree["key_norm"] = self._norm(self.head_dim if by_head else key_dim)
        tree["output"] = _linear(query_dim, self.latent_dim, self.out_bias)
        return tree

    def _norm(self, dim: int) -> Tree:
        if self.norm == "layer_norm":
            return layer_norm(dim)
        return {"scale": Parameter((dim,), ones)}


def _linear(in_dim: int, out_dim: int, bias: bool) -> Tree:
    tree = linear(in_dim, out_dim)
    return tree if bias else {"weight": tree["weight"]}


_VALIDATORS = {
    "input_dim": positive_int,
    "latent_dim": positive_int,
    "num_latents": optional(positive_int),
    "num_layers": positive_int,
    "num_self_attention_layers": count,
    "num_heads": positive_int,
    "head_dim": positive_int,
    "num_key_value_heads": optional(positive_int),
    "keys_from_latents": flag,
    "norm": one_of(NORMS),
    "norm_position": optional(one_of(NORM_POSITIONS)),
    "rms_norm_eps": positive_number,
    "qk_norm": optional(one_of(QK_NORMS)),
    "qkv_bias": flag,
    "out_bias": flag,
    "query_residual": flag,
    "mlp_dim": optional(count),
    "mlp_bias": flag,
    "activation": one_of(ACTIVATIONS),
    "gated_mlp": flag,
    "rotary_dim": optional(positive_int),
    "rotary_theta": positive_number,
    "rotate_values": flag,
    "input_projection": flag,
    "output_dim": optional(positive_int),
    "output_norm": flag,
    "pooled": flag,
}
