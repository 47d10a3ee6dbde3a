"""The attention of every part of the model: projections, heads, residual connection, MLP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ivy_models.layers.parameters import (
    Tree,
    apply,
    is_plain,
    layer_norm,
    linear,
    map_tree,
)
from ivy_models.ops import Array, Ops, is_known


@dataclass(frozen=True)
class Dropout:
    """Dropout in training.

    Parameters
    ----------
    attention
        Dropout rate of the attention weights.
    mlp
        Dropout rate of the MLPs' outputs.
    inputs
        Share of the inputs that are not read.
    key
        Key of the draws, for :meth:`.Ops.dropout`.
    """

    attention: float
    mlp: float
    inputs: float
    key: Any

    @property
    def is_in_layers(self) -> bool:
        """Whether attention or MLPs have dropout."""
        return bool(self.attention or self.mlp)

    def at(self, ops: Ops, number: Any) -> Dropout:
        """The dropout of one of several places, with its own key."""
        return replace(self, key=ops.fold_in(self.key, number))

    def of_attention(self, ops: Ops) -> Callable[[Array], Array] | None:
        if not self.attention:
            return None
        return lambda weights: ops.dropout(weights, self.attention, ops.fold_in(self.key, 0))

    def of_inputs(
        self, ops: Ops, like: Array, size: tuple[Any, Any], mask: Array | None
    ) -> Array | None:
        """Drop some inputs from their mask (B, M), whose size is given. None: no mask."""
        if not self.inputs:
            return mask
        ones = ops.broadcast_to(ops.full((1, 1), 1, like), size)
        kept = ops.dropout(ones, self.inputs, self.key) > 0
        return kept if mask is None else mask & kept

    def of_mlp(self, ops: Ops, x: Array) -> Array:
        return ops.dropout(x, self.mlp, ops.fold_in(self.key, 1)) if self.mlp else x


Record = Callable[[Array], None]
"""Called with the weights (B, H, N, M) of an attention. A row sums to 1, or to 0 if masked."""


@dataclass(frozen=True)
class AttentionRecord:
    """The attention weights of a run, (B, H, N, M) each.

    A recorded run computes attention as in the paper, with all scores at once.

    Parameters
    ----------
    reader
        One for each time that the latents read the inputs.
    processor
        One for each self-attention layer.
    decoder
        One; with ``output_modalities``, one for each decoded modality, in the spec's order.
    """

    reader: list[Array] = field(default_factory=list)
    processor: list[Array] = field(default_factory=list)
    decoder: list[Array] = field(default_factory=list)


ACTIVATIONS = ("gelu", "relu", "silu")
"""Activations of an MLP: methods of :class:`.Ops`."""


@dataclass(frozen=True)
class MLP:
    """The layer norm, two linear layers and residual connection that follow attention.

    Parameters
    ----------
    widening_factor
        Hidden channels, as a multiple of the channels of input and output. 0: no MLP.
    activation
        "gelu", "relu" or "silu".
    exact_gelu
        Whether "gelu" is the exact GELU, not its approximation by tanh.
    gated
        Whether a third linear layer makes gates: the hidden channels are multiplied by the
        activation of their gates (arXiv 2002.05202). With "gelu" this is GEGLU, and with "silu"
        SwiGLU.
    """

    widening_factor: int = 1
    activation: str = "gelu"
    exact_gelu: bool = False
    gated: bool = False

    def parameters(self, dim: int) -> Tree:
        """Describe the weights for inputs of ``dim`` channels."""
        if not self.widening_factor:
            return {}
        hidden_dim = self.widening_factor * dim
        gate = {"gate": linear(dim, hidden_dim)} if self.gated else {}
        hidden, output = linear(dim, hidden_dim), linear(hidden_dim, dim)
        return {"mlp_norm": layer_norm(dim), "mlp": {"hidden": hidden, **gate, "output": output}}

    def residual(
        self,
        ops: Ops,
        params: Tree,
        x: Array,
        dropout: Dropout | None = None,
        before_norm: Callable[[Array], Array] = lambda x: x,
    ) -> Array:
        """Add the MLP of the layer norm of ``before_norm(x)`` (B, N, D) to ``x``."""
        if not self.widening_factor:
            return x

        def mlp(params, normed):
            hidden = project(ops, params["hidden"], normed)
            if self.gated:
                hidden = hidden * self.activate(ops, project(ops, params["gate"], normed))
            else:
                hidden = self.activate(ops, hidden)
            return project(ops, params["output"], hidden)

        output = apply(params["mlp"], norm(ops, params["mlp_norm"], before_norm(x)), mlp)
        return x + (output if dropout is None else dropout.of_mlp(ops, output))

    def activate(self, ops: Ops, x: Array) -> Array:
        """The activation of each element of ``x``."""
        if self.activation == "gelu":
            return ops.gelu(x, self.exact_gelu)
        return ops.relu(x) if self.activation == "relu" else ops.silu(x)


PUBLISHED_MLP = MLP()
"""The MLP of the published models."""


@dataclass(frozen=True)
class AttentionSettings:
    """How a block of attention and an MLP computes.

    Parameters
    ----------
    num_heads
        H, the number of heads.
    qk_dim, v_dim
        Channels of queries and keys, and of values, over all heads.
    mlp
        Width and activation of the MLP.
    """

    num_heads: int
    qk_dim: int
    v_dim: int
    mlp: MLP = PUBLISHED_MLP

    @classmethod
    def of(
        cls,
        width: int,
        num_heads: int,
        qk_dim: int | None,
        v_dim: int | None,
        mlp: MLP = PUBLISHED_MLP,
    ) -> AttentionSettings:
        """Make the settings: ``qk_dim`` defaults to ``width``, and ``v_dim`` to ``qk_dim``."""
        qk_dim = qk_dim or width
        return cls(num_heads, qk_dim, v_dim or qk_dim, mlp)


def attention_parameters(settings: AttentionSettings, query_dim: int, input_dim: int) -> Tree:
    """Describe the four projections of attention; the output is as wide as the queries."""
    return {
        "query": linear(query_dim, settings.qk_dim),
        "key": linear(input_dim, settings.qk_dim),
        "value": linear(input_dim, settings.v_dim),
        "output": linear(settings.v_dim, query_dim),
    }


def cross_attention_parameters(settings: AttentionSettings, query_dim: int, input_dim: int) -> Tree:
    """Describe the weights of :func:`cross_attention`."""
    return {
        "query_norm": layer_norm(query_dim),
        "input_norm": layer_norm(input_dim),
        "attention": attention_parameters(settings, query_dim, input_dim),
        **settings.mlp.parameters(query_dim),
    }


def self_attention_parameters(settings: AttentionSettings, dim: int) -> Tree:
    """Describe the weights of :func:`self_attention`."""
    return {
        "norm": layer_norm(dim),
        "attention": attention_parameters(settings, dim, dim),
        **settings.mlp.parameters(dim),
    }


def cross_attention(
    ops: Ops,
    settings: AttentionSettings,
    params: Tree,
    queries: Array,
    inputs: Array,
    input_mask: Array | None = None,
    query_mask: Array | None = None,
    query_residual: bool = True,
    embed: Callable[[Array], Array] = lambda queries: queries,
    made_dim: int = 0,
    head: Callable[[Array], Array] = lambda attended: attended,
    chunked: bool = True,
    dropout: Dropout | None = None,
    record: Record | None = None,
    before_norm: Callable[[Array], Array] = lambda queries: queries,
) -> Array:
    """Queries attend to inputs, then an MLP.

    Parameters
    ----------
    ops
        The arrays' framework.
    settings
        Heads, widths and activation.
    params
        Weights as :func:`cross_attention_parameters` describes them.
    queries
        (B, N, D), or (1, N, D) for a whole batch; or what ``embed`` makes them from.
    inputs
        (B, M, C). Their layer norm is computed in their own data type.
    input_mask
        Booleans (B, M), True for inputs to attend to.
    query_mask
        Booleans (B, N). For a masked query, the result of attention is zero.
    query_residual
        Whether the queries are added to the result of attention.
    embed
        Function to apply to each chunk of queries first, (B, S, ...) -> (B, S, D).
    made_dim
        Channels that ``embed`` makes for each query on the way, if any.
    head
        Function to apply to each chunk at the end, (B, S, D) -> (B, S, D').
    chunked
        Whether to process the queries in chunks, so that memory grows with the inputs and the
        outputs, not with their product. Dropout and records need all queries at once, and so do
        sizes that a traced program leaves open.
    dropout
        Dropout in training, if any.
    record
        Function to call with the attention weights, if any.
    before_norm
        Function to apply to queries before their layer norms, but not to the residual.

    Returns
    -------
    Array
        (B, N, D').
    """
    batch, num_inputs, _ = ops.shape(inputs)
    input_norm = map_tree(lambda weight: ops.match(weight, inputs), params["input_norm"])
    normed_inputs = norm(ops, input_norm, inputs)
    num_heads = settings.num_heads
    attention, known = params["attention"], None
    if not callable(attention):
        known = keys_and_values(ops, attention, normed_inputs, num_heads)

    def attend(queries, query_mask=None):
        queries = embed(queries)
        queries = ops.broadcast_to(queries, (batch, *ops.shape(queries)[1:]))

        def compute(params, normed):
            seen = known or keys_and_values(ops, params, normed_inputs, num_heads)
            on_weights = _on_weights(ops, dropout, record, query_mask)
            return attend_to(
                ops, params, normed, seen, num_heads, input_mask, query_mask, on_weights
            )

        normed = norm(ops, params["query_norm"], before_norm(queries))
        attended = apply(attention, normed, compute)
        attended = queries + attended if query_residual else attended
        return head(settings.mlp.residual(ops, params, attended, dropout, before_norm))

    arrays = (queries,) if query_mask is None else (queries, query_mask)
    # A layer that is called sees all queries at once, as its hooks expect. Chunks need sizes.
    is_open = not is_known(num_inputs, ops.shape(queries)[1])
    at_once = not chunked or is_open or dropout is not None or record is not None
    if at_once or not is_plain(params):
        return attend(*arrays)
    # Channels of a chunk are in memory too, beside its scores.
    numbers = max(num_heads * num_inputs, params["query_norm"]["scale"].shape[0], made_dim)
    chunk = rows_per_chunk(ops.scores_per_chunk(inputs), batch, numbers)
    if queries.shape[1] > chunk:  # so that training also needs the memory of one chunk only
        attend = ops.rematerialise_chunks(attend)
    return ops.map_chunks(attend, arrays, chunk, ops.dtype(params["query_norm"]["scale"]))


def rows_per_chunk(num_scores: int, batch: Any, scores_per_row: int) -> int:
    """Number of rows with that many scores in total. A batch of unknown size counts as one."""
    batch = batch if isinstance(batch, int) else 1
    return max(1, num_scores // (batch * scores_per_row))


def _on_weights(
    ops: Ops, dropout: Dropout | None, record: Record | None, query_mask: Array | None = None
) -> Callable[[Array], Array] | None:
    """What :meth:`.Ops.attention` does to its weights, which do not sum to 1 yet."""
    drop = None if dropout is None else dropout.of_attention(ops)
    if record is None:
        return drop

    def record_and_drop(weights):
        total = ops.sum(weights, -1, keepdims=True)
        shares = weights / ops.where(total > 0, total, 1.0)
        if query_mask is not None:
            shares = ops.where(query_mask[:, None, :, None], shares, 0.0)
        record(shares)
        return weights if drop is None else drop(weights)

    return record_and_drop


def keys_and_values(ops: Ops, params: Tree, normed: Array, num_heads: int) -> tuple[Array, Array]:
    """Normed inputs (B, M, C) -> what queries attend to, (B, H, M, K) and (B, H, M, K')."""

    def heads(layer):
        x = normed if callable(layer) else ops.match(normed, layer["weight"])
        return split_heads(ops, project(ops, layer, x), num_heads)

    return heads(params["key"]), heads(params["value"])


def attend_to(
    ops: Ops,
    params: Tree,
    normed: Array,
    seen: tuple[Array, Array],
    num_heads: int,
    input_mask: Array | None = None,
    query_mask: Array | None = None,
    on_weights: Callable[[Array], Array] | None = None,
) -> Array:
    """Normed queries (B, N, D) attend to what :func:`keys_and_values` returned; -> (B, N, D)."""
    q = split_heads(ops, project(ops, params["query"], normed), num_heads)
    attended = merge_heads(ops, ops.attention(q, *seen, input_mask, on_weights))
    if query_mask is not None:
        attended = ops.where(query_mask[..., None], attended, 0.0)
    return project(ops, params["output"], attended)


def self_attention(
    ops: Ops,
    settings: AttentionSettings,
    params: Tree,
    latents: Array,
    dropout: Dropout | None = None,
    record: Record | None = None,
) -> Array:
    """Latents (B, N, D) attend to each other, then an MLP; -> (B, N, D)."""

    def attend(params, normed):
        q, k, v = (
            split_heads(ops, project(ops, params[name], normed), settings.num_heads)
            for name in ("query", "key", "value")
        )
        attended = merge_heads(ops, ops.attention(q, k, v, None, _on_weights(ops, dropout, record)))
        return project(ops, params["output"], attended)

    latents = latents + apply(params["attention"], norm(ops, params["norm"], latents), attend)
    return settings.mlp.residual(ops, params, latents, dropout)


def project(ops: Ops, params: Any, x: Array) -> Array:
    return params(x) if callable(params) else ops.linear(x, params["weight"], params.get("bias"))


def norm(ops: Ops, params: Any, x: Array) -> Array:
    return params(x) if callable(params) else ops.layer_norm(x, params["scale"], params["offset"])


def split_heads(ops: Ops, x: Array, num_heads: int) -> Array:
    """(B, N, H K) -> (B, H, N, K)."""
    batch, length, dim = ops.shape(x)
    return ops.transpose(ops.reshape(x, (batch, length, num_heads, dim // num_heads)), (0, 2, 1, 3))


def merge_heads(ops: Ops, x: Array) -> Array:
    """(B, H, N, K) -> (B, N, H K)."""
    batch, num_heads, length, dim = ops.shape(x)
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, length, num_heads * dim))
