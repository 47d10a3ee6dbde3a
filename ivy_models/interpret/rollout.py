"""Attention from outputs to inputs, through all layers."""

from __future__ import annotations

import math
from typing import Any

from ivy_models.arrays import current_ops, to_ivy, to_native
from ivy_models.errors import InputError
from ivy_models.interpret.attention_maps import AttentionMaps


def attention_rollout(maps: AttentionMaps) -> Any:
    """Multiply attention through the layers: each output's share of each input.

    Attention rollout (arXiv 2005.00928, section 3) with a reader and a decoder. Let A be a map's
    mean over its heads, and R (N, M) the share that each latent has of each input:

    - after the first read R = A: the learned latents that it adds to hold nothing of the data;
    - after a self-attention layer R = (A + I) / 2 R: half is what the layer adds, half what was
      there before (the residual connection);
    - after a later read R = (A + R) / 2;
    - the outputs' share is A R with the decoder's A, (O, N). Queries are not counted.

    A row sums to 1, or to 0 where all inputs are masked. It says where attention went, not why
    the output is what it is: values, MLPs and the sizes of what is added are not in it.

    Parameters
    ----------
    maps
        Of :func:`attention_maps`.

    Returns
    -------
    ivy.Array or dict
        (*batch, *query_axes, *axes); without a decoder the latents' (*batch, N, *axes). With
        ``input_modalities`` by their names, and with ``output_modalities`` by theirs first.

    Raises
    ------
    InputError
        If the maps are no :class:`AttentionMaps`.
    """
    if not isinstance(maps, AttentionMaps):
        raise InputError(
            f"maps are what attention_maps(model, data) gives, got {type(maps).__name__}."
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
    if maps.decoder is not None:
        decoder = to_native(ops, maps.decoder, "maps")
        rows = tuple(decoder.shape[num_batch_axes + 1 : -1])
        share = ops.matmul(mean_over_heads(decoder, num_latents), share)
    return to_ivy(ops, ops.reshape(share, (*batch_shape, *rows, *axes)))
