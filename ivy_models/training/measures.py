"""How good outputs are: accuracy, F1 and errors of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ivy_models.preprocessing.targets import ClassTarget, Target, is_known, split_output
from ivy_models.training.goals import encode_goals
from ivy_models.training.losses import target_loss

LOWER_IS_BETTER = ("loss", "mae", "rmse")

NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R2",
}
"""Names of metrics for people, by their keys."""


def measures(
    output: np.ndarray,
    encoded: Mapping[str, np.ndarray],
    targets: Sequence[Target],
    number_loss: str = "squared",
) -> dict[str, float]:
    """Measure outputs on examples whose targets are known. Missing values are left out.

    Parameters
    ----------
    output
        (B, W), as in :func:`.target_loss`.
    encoded
        The targets' values (B,), as in :class:`.Batch`.
    targets, number_loss
        As in :func:`.target_loss`.

    Returns
    -------
    dict
        "loss", without label smoothing and weights of classes. For a class target "accuracy" and
        "macro_f1", for a number "mae" and "rmse" in the number's own unit. With several targets
        each name follows the target's, as in "price/mae".
    """
    goals, weights = encode_goals(targets, encoded)
    results = {"loss": float(target_loss(output, goals, weights, targets, number_loss))}
    for target, own in zip(targets, split_output(output, targets).values(), strict=True):
        prefix, values = f"{target.name}/" if len(targets) > 1 else "", encoded[target.name]
        known = is_known(target, values)
        if isinstance(target, ClassTarget):
            found = _of_classes(own[known].argmax(1), values[known], target.width)
        else:
            errors = (own[known, 0].astype(np.float64) - values[known]) * target.std
            found = _of_numbers(errors)
        results |= {f"{prefix}{name}": value for name, value in found.items()}
    return results


def _of_classes(predicted: np.ndarray, right: np.ndarray, width: int) -> dict[str, float]:
    if not len(right):
        return {"accuracy": np.nan, "macro_f1": np.nan}
    true, positives, relevant = (
        np.bincount(x, minlength=width) for x in (right[predicted == right], predicted, right)
    )
    seen = positives + relevant > 0
    f1 = 2 * true[seen] / (positives + relevant)[seen]
    return {"accuracy": float((predicted == right).mean()), "macro_f1": float(f1.mean())}


def _of_numbers(errors: np.ndarray) -> dict[str, float]:
    if not len(errors):
        return {"mae": np.nan, "rmse": np.nan}
    return {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean()))}


def names_of(targets: Sequence[Target]) -> tuple[str, ...]:
    """Names of the results of :func:`measures`."""
    own = {True: ("accuracy", "macro_f1"), False: ("mae", "rmse")}
    return (
        "loss",
        *(
            f"{target.name}/{name}" if len(targets) > 1 else name
            for target in targets
            for name in own[isinstance(target, ClassTarget)]
        ),
    )


def default_metric(targets: Sequence[Target]) -> str:
    """Return "accuracy" for a single class target, otherwise "loss"."""
    names = names_of(targets)
    return "accuracy" if "accuracy" in names else "loss"


def score(results: Mapping[str, float], metric: str) -> tuple[float, float]:
    """Rank results by a metric, then by the loss: the greater, the better."""
    value = results[metric]
    sign = -1 if metric.rpartition("/")[2] in LOWER_IS_BETTER else 1
    return (sign * value if np.isfinite(value) else -np.inf, -results["loss"])


def is_perfect(results: Mapping[str, float], metric: str) -> bool:
    """Whether no result can be better by a metric: all examples are right."""
    return metric.rpartition("/")[2] not in LOWER_IS_BETTER and results[metric] == 1


def value_text(key: str, value: float) -> str:
    """A result as text, such as "91.0%"."""
    return f"{value:.1%}" if key == "accuracy" else f"{value:.4g}"


def validation_text(row: Mapping[str, float]) -> str:
    """The validation's results of a row of the history, such as "loss 0.2, accuracy 91.0%"."""
    parts = []
    for name, value in row.items():
        if name.startswith("validation_"):
            target, _, key = name.removeprefix("validation_").rpartition("/")
            parts.append(f"{target} {NAMES.get(key, key)} {value_text(key, value)}".lstrip())
    return ", ".join(parts)
