"""The examples on which a model is most wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ivy_models.preprocessing.targets import MISSING, ClassTarget, Target
from ivy_models.training.report.outputs import predictions, truth


class Mistake(NamedTuple):
    """An example on which a model is wrong.

    Parameters
    ----------
    example
        Which of the examples.
    true, predicted
        The class, or the number, as text.
    """

    example: int
    true: str
    predicted: str


def worst_mistakes(
    target: Target, output: np.ndarray, encoded: np.ndarray, most: int
) -> list[Mistake]:
    """Find the worst mistakes, the worst first.

    Parameters
    ----------
    target
        The target.
    output
        The model's outputs (n, width) for it.
    encoded
        The encoded truth (n,). Examples with an unknown one are left out.
    most
        Upper bound on the number of mistakes.

    Returns
    -------
    list of Mistake
        Wrong classes, those first whose true class is least probable; or the largest errors of
        numbers.
    """
    predicted, true = predictions(target, output), truth(target, encoded)
    if isinstance(target, ClassTarget):
        return _wrong_classes(target, output, predicted, true, most)
    errors = np.abs(predicted - true)
    order = [int(i) for i in np.argsort(-errors, kind="stable") if np.isfinite(errors[i])]
    return [Mistake(i, f"{true[i]:.4g}", f"{predicted[i]:.4g}") for i in order[:most]]


def _wrong_classes(target, output, predicted, true, most: int) -> list[Mistake]:
    probability = np.exp(output - output.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    wrong = np.flatnonzero((true != MISSING) & (predicted != true))
    order = wrong[np.argsort(probability[wrong, true[wrong]], kind="stable")]
    return [
        Mistake(
            int(i),
            f"{target.labels[true[i]]} ({probability[i, true[i]]:.1%})",
            f"{target.labels[predicted[i]]} ({probability[i, predicted[i]]:.1%})",
        )
        for i in order[:most]
    ]
