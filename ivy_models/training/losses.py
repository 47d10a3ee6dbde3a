"""Losses for the paper's tasks: differentiable functions of arrays of a framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ivy_models.errors import InputError
from ivy_models.ops import Array, Ops, ops_for
from ivy_models.preprocessing.targets import ClassTarget, Target
from ivy_models.tasks.flow import UNKNOWN

VIDEO_LOSS_WEIGHTS = {"image": 0.03, "audio": 1.0, "label": 0.0001}
"""The paper's weights for the losses of the video autoencoder (section 4.3, appendix)."""


@np.errstate(all="ignore")
def masked_token_loss(logits: Array, tokens: Array, masked: Array) -> Array:
    """Cross-entropy of masked tokens (Perceiver IO, section 4.1).

    Parameters
    ----------
    logits
        (B, M, V), from a masked language model.
    tokens
        Integers (B, M), the tokens before masking.
    masked
        Booleans (B, M), True where a token was masked.

    Returns
    -------
    Array
        Scalar (), the mean over the masked tokens in nats; 0 if none is masked.
    """
    return _mean_where(_cross_entropy(logits, tokens), masked)


@np.errstate(all="ignore")
def classification_loss(logits: Array, classes: Array) -> Array:
    """Cross-entropy for classification.

    Parameters
    ----------
    logits
        (..., V), such as the label output of a video autoencoder, (B, 1, V).
    classes
        Integers (...), the correct classes.

    Returns
    -------
    Array
        Scalar (), the mean in nats.
    """
    return _mean(_cross_entropy(logits, classes))


@np.errstate(all="ignore")
def reconstruction_loss(output: Array, target: Array) -> Array:
    """Mean absolute difference of pixels or sound samples (Perceiver IO, section 4.3).

    Parameters
    ----------
    output, target
        Arrays of the same shape: a whole modality, or the same positions of both.

    Returns
    -------
    Array
        Scalar (), in the units of the target.

    Raises
    ------
    InputError
        If the shapes differ: broadcasting would compare the wrong elements.
    """
    if tuple(output.shape) != tuple(target.shape):
        raise InputError(
            f"output has shape {tuple(output.shape)}, target {tuple(target.shape)}; expected equal "
            "shapes."
        )
    ops = ops_for(output)
    difference = ops.widen(output) - target
    return _mean(ops.maximum(difference, -difference))


@np.errstate(all="ignore")
def weighted_sum(losses: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """Add the losses of several modalities (Perceiver IO, section 4.3).

    Parameters
    ----------
    losses
        A scalar () for each modality.
    weights
        The factor for each modality, such as ``VIDEO_LOSS_WEIGHTS``.

    Returns
    -------
    Array
        Scalar ().

    Raises
    ------
    InputError
        If the losses and the weights have different modalities, or there are none.
    """
    if losses.keys() != weights.keys() or not losses:
        raise InputError(
            f"The losses are for {', '.join(losses)}, the weights for {', '.join(weights)}; "
            "expected the same modalities."
        )
    return sum(losses[name] * weights[name] for name in losses)


@np.errstate(all="ignore")
def end_point_error(flow: Array, target: Array, valid: Array | None = None) -> Array:
    """Mean distance between estimated and true flow (Perceiver IO, section 4.2).

    Parameters
    ----------
    flow, target
        (B, Y, X, 2), in pixels.
    valid
        Booleans (B, Y, X), True where the target is known; None: wherever no component of the
        target is beyond 1e9 pixels, which marks unknown pixels in ground truth, in either case.

    Returns
    -------
    Array
        Scalar (), the mean over the known pixels, in pixels; 0 if no pixel is known. NaN at a
        known pixel gives NaN; at other pixels it is ignored.
    """
    ops = ops_for(flow)
    difference = ops.widen(flow) - target
    # Not "<=": not-a-number is a known pixel, and must show.
    unknown = ops.max(ops.maximum(target, -target), -1) > UNKNOWN
    known = ops.where(unknown, 0.0, ops.full((), 1, like=difference))
    counted = known if valid is None else ops.where(valid, known, 0.0)
    # Before anything else: not-a-number there must reach neither the loss nor its gradient.
    is_valid = ops.reshape(counted != 0, (*counted.shape, 1))
    difference = ops.where(is_valid, difference, 0.0)
    squares = ops.sum(difference * difference, -1)
    # The gradient of sqrt at 0 is infinite; use 0 as the gradient of the distance there.
    apart = squares != 0  # unlike "> 0", this is True for NaN
    distance = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)
    return _mean_where(distance, counted)


@np.errstate(all="ignore")
def target_loss(
    output: Array, goals: Array, weights: Array, targets: Sequence[Target], number_loss: str
) -> Array:
    """Loss of a model that predicts classes and numbers; see :func:`.encode_goals`.

    Parameters
    ----------
    output
        (B, W), the channels of each target in turn.
    goals
        (B, W): the probabilities of classes, and standardised numbers.
    weights
        (B, T), for each of the T targets.
    targets
        What the channels are.
    number_loss
        "squared" or "huber" (with delta 1), for numbers. For classes it is the cross-entropy.

    Returns
    -------
    Array
        Scalar (), the weighted sum over examples and targets.
    """
    ops, loss, start = ops_for(output), 0.0, 0
    output = ops.widen(output)
    for index, target in enumerate(targets):
        ours, goal = (ops.slice(x, start, target.width, 1) for x in (output, goals))
        if isinstance(target, ClassTarget):
            each = -ops.sum(_log_softmax(ours) * goal, 1, keepdims=True)
        else:
            each = _NUMBER_LOSSES[number_loss](ops, ours - goal)
        loss = loss + ops.sum(ops.sum(each * ops.slice(weights, index, 1, 1), 1), 0)
        start += target.width
    return loss


def _huber(ops: Ops, difference: Array) -> Array:
    size = ops.maximum(difference, -difference)
    inner = -ops.maximum(-size, -1.0)
    return inner * (size - 0.5 * inner)


_NUMBER_LOSSES = {"squared": lambda _ops, difference: difference * difference, "huber": _huber}


def _log_softmax(logits: Array) -> Array:
    ops = ops_for(logits)
    logits = logits - ops.max(logits, -1, keepdims=True)
    return logits - ops.log(ops.sum(ops.exp(logits), -1, keepdims=True))


def _cross_entropy(logits: Array, classes: Array) -> Array:
    """Logits (..., V) and integers (...) -> (...)."""
    ops = ops_for(logits)
    logits = ops.widen(logits)
    logits = logits - ops.max(logits, -1, keepdims=True)
    return ops.log(ops.sum(ops.exp(logits), -1)) - ops.pick(logits, classes)


def _mean(x: Array) -> Array:
    return ops_for(x).mean(ops_for(x).reshape(x, (-1,)), 0)


def _mean_where(x: Array, where: Array) -> Array:
    ops, size = ops_for(x), int(np.prod(x.shape))
    x, weight = ops.reshape(x, (size,)), ops.reshape(ops.cast(where, ops.dtype(x)), (size,))
    return ops.sum(x * weight, 0) / ops.maximum(ops.sum(weight, 0), 1.0)
