"""Classification of images and sounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.errors import InputError
from ivy_models.preprocessing.sources import is_file, name_of, reason, short

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
    logits = _logits(model, [_prepared(model, source) for source in sources])
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
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    return _classified(model, sources, top, batch_size)


def _classified(model, sources, top, batch_size) -> Iterator[Classified]:
    read, num_usable = [], 0  # the next batch
    for source in sources:
        try:
            read.append((source, _prepared(model, source), None))
            num_usable += 1
        except InputError as error:
            read.append((source, None, error))
        if num_usable == batch_size or not num_usable:
            yield from _classified_batch(model, read, top)
            read, num_usable = [], 0
    yield from _classified_batch(model, read, top)


def _classified_batch(model, read, top) -> Iterator[Classified]:
    usable = [(source, data) for source, data, error in read if error is None]
    try:
        rows = [(row, None) for row in _logits(model, [data for _, data in usable])]
    except (InputError, MemoryError):  # one source is at fault, or all at once need too much memory
        rows = [_logits_alone(model, source, data) for source, data in usable]
    results = iter(rows)
    for source, _, error in read:
        row, error = next(results) if error is None else (None, error)
        predictions = None if row is None else most_probable(row, model.labels, top)
        yield Classified(source, predictions, error)


def _logits_alone(model, source, data) -> tuple[np.ndarray | None, InputError | None]:
    try:
        return _logits(model, [data])[0], None
    except (InputError, MemoryError) as error:
        return None, InputError(f"{short(source)} cannot be classified: {reason(error)}.")


def _prepared(model: AnyModel, source: Any) -> np.ndarray:
    """Preprocess a source; turn any exception into an error that names it."""
    try:
        return np.asarray(model.preprocessing(source))
    except InputError as error:
        if not is_file(source) or name_of(source, "file") in str(error):
            raise
        raise InputError(f"{short(source)}: {error}") from error
    except Exception as error:
        raise InputError(f"{short(source)} cannot be read: {reason(error)}.") from error


def check_classifier(model: AnyModel) -> None:
    """Check that a model can read images or sounds, and returns one class for each.

    Raises
    ------
    InputError
        If it cannot, or returns something else.
    """
    spec = model.spec
    if model.preprocessing is None:
        raise InputError(
            "The model has no preprocessing, so it cannot read images or sounds. For a classifier "
            "of your own, set model.preprocessing."
        )
    if spec.output_modalities is not None:
        raise InputError("The model decodes more than a class. For a video, use reconstruct_video.")
    if not spec.with_decoder:
        raise InputError("The model has no decoder, so it returns latents, not a class.")
    if spec.query_per_input or spec.queries_from_inputs or math.prod(spec.query_shape or ()) != 1:
        raise InputError("The model returns many outputs, not one class. Call it on data.")


def _check(model: AnyModel, top: int) -> None:
    check_classifier(model)
    if top < 1:
        raise InputError(f"top must be at least 1, got {top}.")


def _logits(model: AnyModel, data: list[np.ndarray]) -> np.ndarray:
    """Logits (B, classes) for the data of each source."""
    if not data:
        return np.zeros((0, 0))
    if len(shapes := {array.shape for array in data}) > 1:
        raise InputError(f"The preprocessing returned data of several shapes: {sorted(shapes)}.")
    return to_numpy(model(np.stack(data)), "logits").reshape(len(data), -1)


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
