"""Losses of the paper's tasks, as functions of native arrays: they can be differentiated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ivy_models.errors import InputError
from ivy_models.ops import Array, ops_for

VIDEO_LOSS_WEIGHTS = {"image": 0.03, "audio": 1.0, "label": 0.0001}
"""What the paper multiplies the losses of the video autoencoder by (section 4.3, appendix)."""


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
    return _mean_where(_cross_entropy(logits, tokens), masked)


def classification_loss(logits: Array, classes: Array) -> Array:
    """Cross-entropy of classes.

    Parameters
    ----------
    logits
        (..., V), such as the label of a video autoencoder, (B, 1, V).
    classes
        Whole numbers (...).

    Returns
    -------
    Array
        Mean, in nats, ().
    """
    return _mean(_cross_entropy(logits, classes))


def reconstruction_loss(output: Array, target: Array) -> Array:
    """Mean absolute difference, of pixels or of samples of a sound (Perceiver IO, section 4.3).

    Parameters
    ----------
    output, target
        Of the same shape: a whole modality, or the same places of both.

    Returns
    -------
    Array
        In the units of the target, ().

    Raises
    ------
    InputError
        If the shapes differ: a broadcast would compare the wrong elements.
    """
    if tuple(output.shape) != tuple(target.shape):
        raise InputError(
            f"output has shape {tuple(output.shape)}, target {tuple(target.shape)}; expected the "
            "same."
        )
    ops = ops_for(output)
    difference = ops.widen(output) - target
    return _mean(ops.maximum(difference, -difference))


def weighted_sum(losses: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """Add the losses of several modalities (Perceiver IO, section 4.3).

    Parameters
    ----------
    losses
        () by modality.
    weights
        What each is multiplied by, such as ``VIDEO_LOSS_WEIGHTS``.

    Returns
    -------
    Array
        ().

    Raises
    ------
    InputError
        If the losses and the weights are not of the same modalities.
    """
    if losses.keys() != weights.keys() or not losses:
        raise InputError(
            f"The losses are of {', '.join(losses)}, the weights of {', '.join(weights)}; "
            "expected the same modalities."
        )
    return sum(losses[name] * weights[name] for name in losses)


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
        Mean over the known pixels, in pixels, (); 0 where there are none. Not-a-number at a
        known pixel gives not-a-number; at another it counts for nothing.
    """
    ops = ops_for(flow)
    difference = ops.widen(flow) - target
    if valid is not None:
        # Before anything else: not-a-number there must reach neither the loss nor its gradient.
        difference = ops.where(ops.reshape(valid, (*valid.shape, 1)), difference, 0.0)
    squares = ops.sum(difference * difference, -1)
    # The square root's gradient at 0 is infinite, the distance's is taken as 0.
    apart = squares != 0  # unlike "> 0", true of not-a-number
    distance = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)
    if valid is None:
        valid = ops.constant(np.ones(distance.shape, np.float32), like=distance)
    return _mean_where(distance, valid)


def _cross_entropy(logits: Array, classes: Array) -> Array:
    """(..., V) and whole numbers (...) -> (...)."""
    ops = ops_for(logits)
    logits = ops.widen(logits)
    logits = logits - ops.max(logits, -1, keepdims=True)
    one_hot = ops.look_up(
        ops.constant(np.eye(logits.shape[-1], dtype=np.float32), like=logits), classes
    )
    return ops.log(ops.sum(ops.exp(logits), -1)) - ops.sum(logits * one_hot, -1)


def _mean(x: Array) -> Array:
    return ops_for(x).mean(ops_for(x).reshape(x, (-1,)), 0)


def _mean_where(x: Array, where: Array) -> Array:
    ops, size = ops_for(x), int(np.prod(x.shape))
    x, weight = ops.reshape(x, (size,)), ops.reshape(ops.cast(where, ops.dtype(x)), (size,))
    return ops.sum(x * weight, 0) / ops.maximum(ops.sum(weight, 0), 1.0)
