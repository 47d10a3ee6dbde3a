"""Losses of the paper's tasks, as functions of native arrays: they can be differentiated."""

from __future__ import annotations

import numpy as np

from ivy_models.ops import Array, ops_for


def masked_token_loss(logits: Array, tokens: Array, masked: Array) -> Array:
    """Cross-entropy of masked tokens (Perceiver IO, section 4.1).

    Parameters
    ----------
    logits
        (B, M, V), of a masked language model.
    tokens
        The tokens that were masked, whole numbers (B, M).
    masked
        Booleans (B, M), True where a token was masked.

    Returns
    -------
    Array
        Mean over the masked tokens, in nats, (); 0 where there are none.
    """
    ops = ops_for(logits)
    logits = ops.widen(logits)
    logits = logits - ops.max(logits, -1, keepdims=True)
    one_hot = ops.look_up(
        ops.constant(np.eye(logits.shape[-1], dtype=np.float32), like=logits), tokens
    )
    entropy = ops.log(ops.sum(ops.exp(logits), -1)) - ops.sum(logits * one_hot, -1)
    return _mean_where(entropy, masked)


def end_point_error(flow: Array, target: Array, valid: Array | None = None) -> Array:
    """Distance of estimated to true flow (Perceiver IO, section 4.2).

    Parameters
    ----------
    flow, target
        (B, Y, X, 2), in pixels.
    valid
        Booleans (B, Y, X), True where the target is known; None: everywhere.

    Returns
    -------
    Array
        Mean over the known pixels, in pixels, (); 0 where there are none.
    """
    ops = ops_for(flow)
    difference = ops.widen(flow) - target
    squares = ops.sum(difference * difference, -1)
    # The square root's gradient at 0 is infinite, the distance's is taken as 0.
    apart = squares > 0
    distance = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)
    if valid is None:
        valid = squares >= 0
    return _mean_where(distance, valid)


def _mean_where(x: Array, where: Array) -> Array:
    ops, size = ops_for(x), int(np.prod(x.shape))
    x, weight = ops.reshape(x, (size,)), ops.reshape(ops.cast(where, ops.dtype(x)), (size,))
    return ops.sum(x * weight, 0) / ops.maximum(ops.sum(weight, 0), 1.0)
