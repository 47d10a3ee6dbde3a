"""Classification of images, sounds, texts and rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from ivy_models.errors import InputError
from ivy_models.preprocessing.targets import ClassTarget
from ivy_models.tasks.batches import Output, check_one_output, outputs, outputs_of_each, prepare_one

if TYPE_CHECKING:
    from ivy_models.shells.any_model import AnyModel


class Prediction(NamedTuple):
    """A class and its probability, between 0 and 1."""

    label: str
    probability: float


class Classified(NamedTuple):
    """One of many images or sounds, with its predictions or the error that says what is wrong."""

    source: Any
    predictions: list[Prediction] | None
    error: InputError | None


@overload
def classify(  # pyright: ignore[reportOverlappingOverload]: Any is any source but a list
    model: AnyModel, sources: list[Any] | tuple[Any, ...], top: int = 5
) -> list[list[Prediction]]: ...
@overload
def classify(model: AnyModel, sources: Any, top: int = 5) -> list[Prediction]: ...
def classify(
    model: AnyModel, sources: Any, top: int = 5
) -> list[Prediction] | list[list[Prediction]]:
    """Classify an image or a sound, or each of a list.

    Parameters
    ----------
    model
        A classifier that has a ``preprocessing``: an image classifier of :func:`create_model`
        or ``perceiver_io_img_classification``, or any other whose ``preprocessing`` was set.
    sources
        An image or a sound that ``model.preprocessing`` accepts, or a list of these.
    top
        Number of most probable classes to return.

    Returns
    -------
    list of Prediction
        The most probable first. For a list of sources, one such list for each source; an empty
        list gives an empty list.

    Raises
    ------
    InputError
        If the model has no preprocessing, or the numbers of labels and classes differ, or a
        source cannot be used (the message names it).
    """
    _check(model, top)
    if not isinstance(sources, (list, tuple)):
        return classify(model, [sources], top)[0]
    logits = outputs(model, [prepare_one(model, source) for source in sources])
    return [most_probable(row, model.labels, top) for row in logits]


def classify_each(
    model: AnyModel, sources: Iterable[Any], top: int = 5, batch_size: int = 1
) -> Iterator[Classified]:
    """Classify many images or sounds, and continue after one that cannot be used.

    Any exception of the preprocessing, your own or this library's, becomes an error that names the
    source.

    Parameters
    ----------
    model, top
        As in :func:`classify`.
    sources
        Images or sounds that ``model.preprocessing`` accepts. They are read when needed.
    batch_size
        Batch size B of the model's calls.

    Returns
    -------
    Iterator of Classified
        One for each source, in order, as soon as its batch is done.

    Raises
    ------
    InputError
        If the model has no preprocessing, or the numbers of labels and classes differ.
    """
    _check(model, top)
    found = outputs_of_each(model, sources, batch_size, "cannot be classified")
    return (_classified(each, model.labels, top) for each in found)


def _classified(found: Output, labels: tuple[str, ...] | None, top: int) -> Classified:
    predictions = None if found.output is None else most_probable(found.output, labels, top)
    return Classified(found.source, predictions, found.error)


def check_classifier(model: AnyModel) -> None:
    """Check that a model can read images or sounds, and returns one class for each.

    Raises
    ------
    InputError
        If it cannot, or returns something else.
    """
    check_one_output(model)
    targets = getattr(model, "targets", None)  # not every stand-in for a model has them
    if targets and not (len(targets) == 1 and isinstance(targets[0], ClassTarget)):
        names = ", ".join(repr(target.name) for target in targets)
        raise InputError(
            f"The model predicts {names}, not one class. Use ivy_models.predict, or the command "
            "`ivy-models predict`."
        )


def _check(model: AnyModel, top: int) -> None:
    check_classifier(model)
    if top < 1:
        raise InputError(f"top must be at least 1, got {top}.")


@np.errstate(all="ignore")
def most_probable(logits: np.ndarray, labels: tuple[str, ...] | None, top: int) -> list[Prediction]:
    """Return the ``top`` most probable classes from logits (classes,), the most probable first.

    Raises
    ------
    InputError
        If the numbers of labels and classes differ.
    """
    if labels and len(labels) != len(logits):
        raise InputError(
            f"The model has {len(labels):,} labels for {len(logits):,} classes. Set model.labels "
            "to one label for each class, or to None."
        )
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    best = np.argsort(-probabilities)[:top]
    return [
        Prediction(labels[i] if labels else f"class {i}", float(probabilities[i])) for i in best
    ]
