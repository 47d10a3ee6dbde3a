"""What a training step aims at: class probabilities, numbers, and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ivy_models.preprocessing.targets import ClassTarget, Target, is_known


def encode_goals(
    targets: Sequence[Target],
    encoded: Mapping[str, np.ndarray],
    label_smoothing: float = 0.0,
    class_weights: Mapping[str, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Encode the targets of examples for :func:`.target_loss`.

    Parameters
    ----------
    targets, encoded
        The targets, and their values (B,) by name, as in :class:`.Batch`.
    label_smoothing
        Probability that is spread evenly over all classes.
    class_weights
        The weight of each class (K,), by the target's name. None: 1 for all.

    Returns
    -------
    goals, weights
        float32 (B, W) and (B, T), as in :func:`.target_loss`. The weights of a target are 0 for
        missing values and have the sum 1, or 0 if all values are missing.
    """
    goals, weights = [], []
    for target in targets:
        values = encoded[target.name]
        known = is_known(target, values)
        if isinstance(target, ClassTarget):
            rows = np.where(known, values, 0)
            goal = np.eye(target.width)[rows] * (1 - label_smoothing)
            goals.append(goal + label_smoothing / target.width)
            own = None if class_weights is None else class_weights.get(target.name)
            weight = known.astype(float) if own is None else np.where(known, own[rows], 0)
        else:
            goals.append(np.where(known, values, 0)[:, None])
            weight = known.astype(float)
        weights.append(weight / max(weight.sum(), np.finfo(float).tiny))
    return np.concatenate(goals, 1).astype(np.float32), np.stack(weights, 1).astype(np.float32)


def balanced_weights(
    targets: Sequence[Target], encoded: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Weigh classes so that each class of a target has the same total weight.

    Parameters
    ----------
    targets, encoded
        As in :func:`encode_goals`, for all examples of the training.

    Returns
    -------
    dict
        The weights (K,) of each class target, by its name. Classes without examples have weight 0.
    """
    weights = {}
    for target in targets:
        if isinstance(target, ClassTarget):
            values = encoded[target.name]
            counts = np.bincount(values[is_known(target, values)], minlength=target.width)
            present = np.maximum((counts > 0).sum(), 1)
            weights[target.name] = np.where(
                counts > 0, counts.sum() / (present * np.maximum(counts, 1)), 0.0
            )
    return weights
