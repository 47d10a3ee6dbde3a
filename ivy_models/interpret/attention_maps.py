"""Records the attention weights of a model's call."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ivy_models.arrays import current_ops, to_ivy
from ivy_models.base.floating_point import whatever_seterr_says
from ivy_models.ops import Array, Ops
from ivy_models.shells.call import check_inputs, check_queries
from ivy_models.transformers.perceiver_io.attention import Dropout
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.inputs import CheckedInputs
from ivy_models.transformers.perceiver_io.parameters import Tree
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
import ivy

if TYPE_CHECKING:
    from ivy_models.shells.ivy import PerceiverIO

Place = tuple[int, ...]
"""Where attention is in the core: the numbers that the core passes to dropout, outermost first."""


class AttentionMaps(NamedTuple):
    """Attention weights of a call. Each row sums to 1, or to 0 if everything is masked.

    Parameters
    ----------
    reader
        (*batch, H, N, *axes), one for each time that the latents read the inputs. The axes are
        those of the data, of the grid of patches, or of the output of a convolution. With
        ``input_modalities``, a dict by modality; all its maps together sum to 1.
    processor
        (*batch, H, N, N), one for each self-attention layer of all blocks, in order. A row is a
        latent; the columns are the latents that it attends to.
    decoder
        (*batch, H, *query_axes, N), or None without a decoder. With ``output_modalities``, a dict
        by decoded modality; if a modality has n chosen queries, (*batch, H, n, N).
    """

    reader: tuple[ivy.Array | dict[str, ivy.Array], ...]
    processor: tuple[ivy.Array, ...]
    decoder: ivy.Array | dict[str, ivy.Array] | None


@whatever_seterr_says
def attention_maps(
    model: PerceiverIO, data: Any, mask: Any = None, queries: Any = None
) -> AttentionMaps:
    """Run a model with attention as in the paper, and return all attention weights.

    All weights are in memory at once; the reader's alone are B H N M numbers.

    Parameters
    ----------
    model
        A ``PerceiverIO``.
    data, mask, queries
        As in a call of the model.

    Returns
    -------
    AttentionMaps
        Arrays of the current backend, in float32 if the model has half precision.

    Raises
    ------
    InputError, BackendError
        For the same reasons as a call of the model.
    """
    ops, spec, params, inputs = layer_by_layer(model, data, mask)
    like = params["latents"]
    batch_shape, grid_shape = inputs.batch_shape, inputs.grid_shape
    queries, axes = check_queries(ops, spec, like, queries, batch_shape, grid_shape)
    recorder = Recorder()
    core = PerceiverIOCore(spec, plain_reader=True)
    core.run(params, inputs.data, inputs.mask, queries, recorder)
    reads, layers, decodings = recorder.parts()

    def shaped(weights, rows, columns):
        sizes = (*batch_shape, weights.shape[1], *rows, *columns)
        return to_ivy(ops, ops.reshape(weights, sizes))

    latents = (spec.num_latents,)
    if isinstance(grid_shape, dict):
        reader = [
            {
                name: shaped(part, latents, grid_shape[name])
                for name, part in _cut(ops, read, grid_shape)
            }
            for read in reads
        ]
    else:
        reader = [shaped(read, latents, grid_shape) for read in reads]
    decoder = None
    if spec.output_modalities is not None:
        named = {spec.output_modalities[place[-1]]: x for place, x in decodings.items()}
        decoder = {
            m.name: shaped(x, m.query_shape if queries[m.name] is None else x.shape[2:3], latents)
            for m, x in named.items()
        }
    elif spec.with_decoder:
        (weights,) = decodings.values()
        if spec.query_per_input and inputs.mask is not None:  # a masked query attends to nothing
            weights = ops.where(inputs.mask[:, None, :, None], weights, 0.0)
        decoder = shaped(weights, axes, latents)
    processor = tuple(shaped(layer, latents, latents) for layer in layers)
    return AttentionMaps(tuple(reader), processor, decoder)


@dataclass(frozen=True)
class Recorder(Dropout):
    """Dropout that drops nothing, but keeps the attention weights (B, H, N, M) of each place."""

    attention: float = 0.0
    mlp: float = 0.0
    key: Place = ()
    weights: dict[Place, Array] = field(default_factory=dict)

    def at(self, ops: Ops, number: int) -> Recorder:
        return replace(self, key=(*self.key, number))

    def of_attention(self, ops: Ops) -> Callable[[Array], Array]:
        def keep(weights):  # not yet divided by their sum
            total = ops.sum(weights, -1, keepdims=True)
            self.weights[self.key] = weights / ops.where(total > 0, total, 1.0)
            return weights

        return keep

    def parts(self) -> tuple[list[Array], list[Array], dict[Place, Array]]:
        """Weights of the reader, the processor and the decoder. The core numbers the places."""
        encoding = [(len(place), x) for place, x in self.weights.items() if place[0] == 0]
        return (
            [x for depth, x in encoding if depth == 2],
            [x for depth, x in encoding if depth == 3],
            {place: x for place, x in self.weights.items() if place[0] == 1},
        )


def layer_by_layer(
    model: PerceiverIO, data: Any, mask: Any
) -> tuple[Ops, PerceiverIOSpec, Tree, CheckedInputs]:
    """Operations, spec, weights and checked inputs of a call, with each layer on its own."""
    ops = current_ops(data)
    spec, params = untied(model.spec, model._native_weights(ops))
    return ops, spec, params, check_inputs(ops, spec, params["latents"], data, mask)


def untied(spec: PerceiverIOSpec, params: Tree) -> tuple[PerceiverIOSpec, Tree]:
    """The same model without shared weights, whose layers would run as one compiled loop."""
    if not spec.weight_tie_layers:
        return spec, params
    layers = [f"layer_{i}" for i in range(spec.network_depth)]
    repeated = {
        part: dict.fromkeys(layers, params[part]["layer_0"]) for part in ("reader", "processor")
    }
    return spec.replace(weight_tie_layers=False), params | repeated


def _cut(ops: Ops, weights: Array, grids: dict[str, tuple[int, ...]]):
    """Yield the name and the weights of each modality from (B, H, N, M)."""
    start = 0
    for name, grid in grids.items():
        size = math.prod(grid)
        yield name, ops.slice(weights, start, size, 3)
        start += size
