"""Records the attention weights of a model's call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ivy_models.arrays import current_ops, to_ivy
from ivy_models.layers.attention import AttentionRecord
from ivy_models.layers.parameters import Tree
from ivy_models.ops import Array, Ops
from ivy_models.shells.call import check_inputs, check_queries
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.inputs import CheckedInputs
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
import ivy

if TYPE_CHECKING:
    from ivy_models.shells.ivy import PerceiverIO


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
        (*batch, H, *query_axes, N), or None without a decoder. With ``pooling``, (*batch, 1, N),
        each 1 / N. With ``output_modalities``, a dict by decoded modality; if a modality has n
        chosen queries, (*batch, H, n, N).
    """

    reader: tuple[ivy.Array | dict[str, ivy.Array], ...]
    processor: tuple[ivy.Array, ...]
    decoder: ivy.Array | dict[str, ivy.Array] | None


@np.errstate(all="ignore")
def attention_maps(
    model: PerceiverIO,
    data: Any,
    mask: Any = None,
    queries: Any = None,
    positions: Any = None,
    query_mask: Any = None,
) -> AttentionMaps:
    """Run a model with attention as in the paper, and return all attention weights.

    All weights are in memory at once; the reader's alone are B H N M numbers.

    Parameters
    ----------
    model
        A ``PerceiverIO``.
    data, mask, queries, positions, query_mask
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
    ops, spec, params, inputs = layer_by_layer(model, data, mask, positions)
    with ops.on_device_of(params["latents"]):
        return _maps(ops, spec, params, inputs, queries, query_mask)


def _maps(
    ops: Ops,
    spec: PerceiverIOSpec,
    params: Tree,
    inputs: CheckedInputs,
    queries: Any,
    query_mask: Any = None,
) -> AttentionMaps:
    like = params["latents"]
    batch_shape, grid_shape = inputs.batch_shape, inputs.grid_shape
    queries, axes = check_queries(ops, spec, like, queries, batch_shape, grid_shape, query_mask)
    record = AttentionRecord()
    PerceiverIOCore(spec).run(params, inputs.data, inputs.mask, queries, record=record)

    def shaped(weights, rows, columns):
        sizes = (*batch_shape, weights.shape[1], *rows, *columns)
        return to_ivy(ops, ops.reshape(weights, sizes))

    latents = (spec.num_latents,)
    if isinstance(grid_shape, dict):
        reader = [
            {
                name: shaped(part, latents, grid_shape[name])
                for name, part in _cut(ops, weights, grid_shape)
            }
            for weights in record.reader
        ]
    else:
        reader = [shaped(weights, latents, grid_shape) for weights in record.reader]
    decoder = None
    if spec.output_modalities is not None:
        decoded = [m for m in spec.output_modalities if m.name in queries]
        decoder = {
            m.name: shaped(x, m.query_shape if queries[m.name] is None else x.shape[2:3], latents)
            for m, x in zip(decoded, record.decoder, strict=True)
        }
    elif record.decoder:
        (weights,) = record.decoder
        decoder = shaped(weights, axes, latents)
    processor = tuple(shaped(weights, latents, latents) for weights in record.processor)
    return AttentionMaps(tuple(reader), processor, decoder)


def layer_by_layer(
    model: PerceiverIO, data: Any, mask: Any, positions: Any
) -> tuple[Ops, PerceiverIOSpec, Tree, CheckedInputs]:
    """Operations, spec, weights and checked inputs of a call, with each layer on its own."""
    ops = current_ops(data)
    spec, params = untied(model.spec, model._native_weights(ops))
    return ops, spec, params, check_inputs(ops, spec, params["latents"], data, mask, positions)


def untied(spec: PerceiverIOSpec, params: Tree) -> tuple[PerceiverIOSpec, Tree]:
    """The same model without shared weights, whose layers would run as one compiled loop."""
    if not spec.weight_tie_layers:
        return spec, params
    shared = {f"layer_{i}": f"layer_{spec.weights_of_layer(i)}" for i in range(spec.network_depth)}
    repeated = {
        part: {name: params[part][own] for name, own in shared.items() if own in params[part]}
        for part in ("reader", "processor")
    }
    return spec.replace(weight_tie_layers=False, untied_first_layer=False), params | repeated


def _cut(ops: Ops, weights: Array, grids: dict[str, tuple[int, ...]]):
    """Yield the name and the weights of each modality from (B, H, N, M)."""
    start = 0
    for name, grid in grids.items():
        size = math.prod(grid)
        yield name, ops.slice(weights, start, size, 3)
        start += size
