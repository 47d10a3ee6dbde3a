"""From images or sounds to named classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ivy_models.arrays import to_native
from ivy_models.errors import InputError
from ivy_models.ops import ops_named


class Prediction(NamedTuple):
    """A class and its probability, between 0 and 1."""

    label: str
    probability: float


def classify(model: Any, sources: Any, top: int = 5) -> list[Any]:
    """Name what is in an image or a sound, or in each of a list of them.

    Parameters
    ----------
    model
        A classifier that has a ``preprocessing``: an image classifier of :func:`create_model`
        or ``perceiver_io_img_classification``, or any other whose ``preprocessing`` was set.
    sources
        One image or sound, or a list, as ``model.preprocessing`` takes them.
    top
        How many of the most probable classes to return.

    Returns
    -------
    list of Prediction
        The most probable first; for a list of sources, one such list a source.

    Raises
    ------
    InputError
        If the model has no preprocessing, or a source cannot be used.
    """
    if model.preprocessing is None:
        raise InputError(
            "The model has no preprocessing, so nothing turns images or sounds into its data. "
            "For a classifier of your own set model.preprocessing."
        )
    if model.spec.output_modalities is not None:
        raise InputError("The model decodes more than a class; for a video use reconstruct_video.")
    if top < 1:
        raise InputError(f"top is at least 1, got {top}.")
    many = isinstance(sources, (list, tuple))
    logits = model(model.preprocessing(sources if many else [sources]))
    logits = to_native(ops_named("numpy"), logits, "logits")[:, 0]
    results = [most_probable(row, model.labels, top) for row in logits]
    return results if many else results[0]


def most_probable(logits: np.ndarray, labels: tuple[str, ...] | None, top: int) -> list[Prediction]:
    """Logits (classes,) -> the ``top`` most probable classes, the first one first."""
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    best = np.argsort(-probabilities)[:top]
    return [
        Prediction(labels[i] if labels else f"class {i}", float(probabilities[i])) for i in best
    ]
