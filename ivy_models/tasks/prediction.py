"""Predictions of models for any data: classes and numbers, one or several for each source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ivy_models.errors import InputError
from ivy_models.preprocessing.targets import ClassTarget, Target, split_output
from ivy_models.tasks.batches import Output, check_one_output, outputs_of_each
from ivy_models.tasks.classification import Prediction, most_probable

if TYPE_CHECKING:
    from ivy_models.shells.any_model import AnyModel

LABEL = "label"
"""Name of the target of a classifier that has no ``targets``."""


class Predicted(NamedTuple):
    """One of many sources, with what the model predicts for it, or the error.

    Parameters
    ----------
    source
        As it was given.
    values
        By the target's name: the most probable class with its probability, or a number. None if
        there is an error.
    error
        What is wrong with the source, or None.
    """

    source: Any
    values: dict[str, Prediction | float] | None
    error: InputError | None


def predict(model: AnyModel, sources: Iterable[Any], batch_size: int = 1) -> Iterator[Predicted]:
    """Predict a model's targets for many sources, and continue after one that cannot be used.

    Parameters
    ----------
    model
        A model with a ``preprocessing`` and ``targets``, as ``ivy-models train`` makes them, or a
        classifier, which predicts one target named "label".
    sources
        What ``model.preprocessing`` accepts: images, sounds, texts, or rows of a table, which are
        mappings from columns to values. They are read when needed.
    batch_size
        Batch size B of the model's calls.

    Returns
    -------
    Iterator of Predicted
        One for each source, in order, as soon as its batch is done.

    Raises
    ------
    InputError
        If the model has no preprocessing, or returns something other than its targets.
    """
    check_one_output(model)
    targets = targets_of(model)
    found = outputs_of_each(model, sources, batch_size, "cannot be predicted")
    return (_predicted(each, targets) for each in found)


def targets_of(model: AnyModel) -> tuple[Target, ...]:
    """Return a model's targets; those of a classifier without targets are its labels.

    Labels that several classes have, such as ImageNet's "crane", get the numbers of the classes.

    Raises
    ------
    InputError
        If the targets or labels do not fit the number of the output's channels.
    """
    channels = model.spec.output_dim
    if model.targets:
        targets = model.targets
    else:
        labels = model.labels or tuple(f"class {i}" for i in range(channels))
        targets = (ClassTarget(LABEL, _distinct(labels)),)
    if (width := sum(target.width for target in targets)) != channels:
        raise InputError(
            f"The targets of the model, {', '.join(target.name for target in targets)}, have "
            f"{width:,} classes and numbers, but its output has {channels:,} channels. Set "
            "model.targets, or model.labels, to those that the model was trained on."
        )
    return targets


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    counts = Counter(labels)
    return tuple(
        label if counts[label] == 1 else f"{label} (class {i})" for i, label in enumerate(labels)
    )


def _predicted(found: Output, targets: tuple[Target, ...]) -> Predicted:
    if found.output is None:
        return Predicted(found.source, None, found.error)
    parts = split_output(found.output[None], targets)
    values = {target.name: value_of(target, parts[target.name]) for target in targets}
    return Predicted(found.source, values, None)


@np.errstate(all="ignore")
def value_of(target: Target, output: np.ndarray) -> Prediction | float:
    """Turn the output (1, width) for a target into the most probable class, or into a number."""
    if isinstance(target, ClassTarget):
        return most_probable(output[0], target.labels, 1)[0]
    return float(target.decode(output)[0])
