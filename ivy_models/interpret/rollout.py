"""Attention from the outputs to the inputs, through all layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ivy_models.arrays import current_ops, to_ivy, to_native
from ivy_models.errors import InputError
from ivy_models.interpret.attention_maps import AttentionMaps
from ivy_models.ops import Array, Ops


@np.errstate(all="ignore")
def attention_rollout(maps: AttentionMaps) -> Any:
    """Multiply attention through the layers: the share of each input in each output.

    Attention rollout (arXiv 2005.00928, section 3) with a reader and a decoder. Let A be the mean
    of a map over its heads, and R (N, M) the share of each input in each latent:

    - after the first read, R = A, because the initial latents contain no data;
    - after a self-attention layer, R = (A + I) / 2 R: half comes from the layer, half from the
      residual connection;
    - after a later read, R = (A + R) / 2;
    - the outputs have the shares A R, with the decoder's A, (O, N). Queries are not counted.

    A row sums to 1, or to 0 if all inputs are masked. Rollout shows where attention went, not why
    the model answers as it does: it ignores values, MLPs and the size of each layer's update.

    Parameters
    ----------
    maps
        The result of :func:`attention_maps`.

    Returns
    -------
    ivy.Array or dict
        (*batch, *query_axes, *axes); without a decoder (*batch, N, *axes), the shares in the
        latents. With ``input_modalities``, a dict of these by input modality. With
        ``output_modalities``, a dict of either by output modality.

    Raises
    ------
    InputError
        If ``maps`` is not an :class:`AttentionMaps`.
    """
    if not isinstance(maps, AttentionMaps):
        raise InputError(
            f"maps must be the result of attention_maps(model, data), got {type(maps).__name__}."
        )
    if isinstance(maps.decoder, dict):
        return {
            name: attention_rollout(maps._replace(decoder=decoder))
            for name, decoder in maps.decoder.items()
        }
    if isinstance(maps.reader[0], dict):
        return {
            name: attention_rollout(maps._replace(reader=tuple(read[name] for read in maps.reader)))
            for name in maps.reader[0]
        }
    ops = current_ops(maps.processor[0])
    reads, layers = (
        [to_native(ops, x, "maps") for x in part] for part in (maps.reader, maps.processor)
    )
    decoder = None if maps.decoder is None else to_native(ops, maps.decoder, "maps")
    with ops.on_device_of(layers[0]):
        return _rollout(ops, reads, layers, decoder)


def _rollout(ops: Ops, reads: list[Array], layers: list[Array], decoder: Array | None) -> Any:
    num_batch_axes = len(layers[0].shape) - 3
    batch_shape, num_latents = ops.shape(layers[0])[:num_batch_axes], layers[0].shape[-1]
    axes, rows = tuple(reads[0].shape[num_batch_axes + 2 :]), (num_latents,)

    def mean_over_heads(weights, columns):
        """(*batch, H, *rows, *columns) -> (B, rows, columns)."""
        sizes = (math.prod(batch_shape), weights.shape[num_batch_axes], -1, columns)
        return ops.mean(ops.reshape(weights, sizes), 1)

    share = None
    for block, read in enumerate(reads):
        read = mean_over_heads(read, math.prod(axes))
        share = read if share is None else (read + share) / 2
        size = len(layers) // len(reads)
        for layer in layers[block * size : (block + 1) * size]:
            share = (ops.matmul(mean_over_heads(layer, num_latents), share) + share) / 2
    if decoder is not None:
        rows = tuple(decoder.shape[num_batch_axes + 1 : -1])
        share = ops.matmul(mean_over_heads(decoder, num_latents), share)
    return to_ivy(ops, ops.reshape(share, (*batch_shape, *rows, *axes)))
