"""Metrics of predictions, by scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ivy_models.errors import InputError, not_installed, shown
from ivy_models.preprocessing.table.cells import to_category, to_number
from ivy_models.preprocessing.targets import MISSING, ClassTarget, Target, is_known
from ivy_models.tasks.classification import Prediction
from ivy_models.training.measures import NAMES, value_text


def target_metrics(target: Target, true: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Compare predictions of a target with the truth.

    Parameters
    ----------
    target
        The target.
    true, predicted
        Indices of classes (n,), or numbers (n,) on the column's own scale. Examples whose truth
        is unknown (MISSING, NaN) are left out.

    Returns
    -------
    dict
        For a class: "kind", "examples", "accuracy", "macro_f1" (the mean over the classes that
        occur), "f1" by class (None for a class that does not occur), "labels" and "confusion", the
        number of examples by true class (rows) and predicted class. For a number: "kind",
        "examples", "mae", "rmse" and "r2", in the column's own unit ("r2" is None for fewer than
        two examples, or if the truth is constant).

    Raises
    ------
    InputError
        If no truth is known, or a prediction is not finite.
    BackendError
        If scikit-learn is not installed.
    """
    is_class = isinstance(target, ClassTarget)
    check_known(target, true)
    known = is_known(target, true)
    if not np.isfinite(predicted).all():
        raise InputError(f"The model predicts numbers that are not finite for {target.name!r}.")
    true, predicted = true[known], predicted[known]
    if is_class:
        return _class_metrics(target.labels, true, predicted)
    return _number_metrics(true, predicted)


def check_known(target: Target, true: np.ndarray) -> None:
    """Refuse a truth of which nothing is known."""
    if not is_known(target, true).any():
        has = f" It is one of {shown(target.labels)}." if isinstance(target, ClassTarget) else ""
        raise InputError(f"No example has a known value of the target {target.name!r}.{has}")


def _class_metrics(labels: Sequence[str], true: np.ndarray, predicted: np.ndarray) -> dict:
    metrics = sklearn_metrics()
    classes = np.arange(len(labels))
    occurs = np.isin(classes, np.concatenate([true, predicted]))
    scores = metrics.f1_score(true, predicted, labels=classes, average=None, zero_division=0.0)
    return {
        "kind": "class",
        "examples": len(true),
        "accuracy": float(np.mean(true == predicted)),
        "macro_f1": float(scores[occurs].mean()),
        "f1": {
            label: float(score) if there else None
            for label, score, there in zip(labels, scores, occurs, strict=True)
        },
        "labels": list(labels),
        "confusion": metrics.confusion_matrix(true, predicted, labels=classes).tolist(),
    }


def _number_metrics(true: np.ndarray, predicted: np.ndarray) -> dict:
    metrics = sklearn_metrics()
    varies = len(true) > 1 and np.ptp(true) > 0
    return {
        "kind": "number",
        "examples": len(true),
        "mae": float(metrics.mean_absolute_error(true, predicted)),
        "rmse": float(metrics.root_mean_squared_error(true, predicted)),
        "r2": float(metrics.r2_score(true, predicted)) if varies else None,
    }


def sklearn_metrics() -> ModuleType:
    """Import scikit-learn's metrics, which are optional.

    Raises
    ------
    BackendError
        If scikit-learn is not installed.
    """
    try:
        import sklearn.metrics
    except ImportError as error:
        raise not_installed("Metrics need", error, "train") from error
    return sklearn.metrics


def summary(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each metric of a target that is one number, as text."""
    for key, name in NAMES.items():
        if (value := metrics.get(key)) is not None:
            yield name, value_text(key, value)


def true_values(target: Target, values: Sequence[Any]) -> np.ndarray:
    """Convert the values of a target's column to the truth that :func:`target_metrics` takes.

    Values that are missing, classes that the target does not have, and words instead of numbers are
    unknown: MISSING or NaN.
    """
    if isinstance(target, ClassTarget):
        places: dict[Any, int] = {label: place for place, label in enumerate(target.labels)}
        names = (
            value if isinstance(value, str) and value in places else to_category(value)
            for value in values  # a folder can be called "none"
        )
        return np.array([places.get(name, MISSING) for name in names], np.int64)
    return np.array([to_number(value, target.decimal, target.unit) for value in values])


def predicted_value(target: Target, value: Prediction | float) -> float:
    """Convert what :func:`.predict` gives to what :func:`target_metrics` takes."""
    if isinstance(value, Prediction):
        return target.encode(value.label)
    return value
