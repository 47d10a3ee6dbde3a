"""From images or sounds to named classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, overload

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.base.floating_point import whatever_seterr_says
from ivy_models.errors import InputError
from ivy_models.preprocessing.sources import is_file, name_of, reason, short
from ivy_models.transformers import perceiver_io


class Prediction(NamedTuple):
    """A class and its probability, between 0 and 1."""

    label: str
    probability: float


class Classified(NamedTuple):
    """An image or a sound of many: its predictions, or the error that says what is wrong."""

    source: Any
    predictions: list[Prediction] | None
    error: InputError | None


@overload
def classify(  # pyright: ignore[reportOverlappingOverload]: Any is any source but a list
    model: perceiver_io.PerceiverIO, sources: list[Any] | tuple[Any, ...], top: int = 5
) -> list[list[Prediction]]: ...
@overload
def classify(model: perceiver_io.PerceiverIO, sources: Any, top: int = 5) -> list[Prediction]: ...
def classify(
    model: perceiver_io.PerceiverIO, sources: Any, top: int = 5
) -> list[Prediction] | list[list[Prediction]]:
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
        The most probable first; for a list of sources, one such list for each source, so that
        an empty list gives an empty list.

    Raises
    ------
    InputError
        If the model has no preprocessing or not a label for each class, or a source cannot be
        used, naming the source.
    """
    _check(model, top)
    if not isinstance(sources, (list, tuple)):
        return classify(model, [sources], top)[0]
    logits = _logits(model, [_prepared(model, source) for source in sources])
    return [most_probable(row, model.labels, top) for row in logits]


def classify_each(
    model: perceiver_io.PerceiverIO, sources: Iterable[Any], top: int = 5, batch_size: int = 1
) -> Iterator[Classified]:
    """Name what is in each of many images or sounds, and go on after one that cannot be used.

    Whatever the preprocessing raises, of your own or this library's, becomes one error that names
    the source.

    Parameters
    ----------
    model, top
        As in :func:`classify`.
    sources
        Images or sounds, as ``model.preprocessing`` takes them; read as they are needed.
    batch_size
        B, how many the model takes at a time.

    Returns
    -------
    Iterator of Classified
        One a source, in their order, as soon as its batch is done.

    Raises
    ------
    InputError
        If the model has no preprocessing, or not a label for each class.
    """
    _check(model, top)
    if batch_size < 1:
        raise InputError(f"batch_size is at least 1, got {batch_size}.")
    return _classified(model, sources, top, batch_size)


def _classified(model, sources, top, batch_size) -> Iterator[Classified]:
    read, num_usable = [], 0  # of the next batch
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
    except (InputError, MemoryError):  # of one of them, or of all at once
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


def _prepared(model: perceiver_io.PerceiverIO, source: Any) -> np.ndarray:
    """A source as data, or one error that names it, whatever its preprocessing raises."""
    try:
        return np.asarray(model.preprocessing(source))
    except InputError as error:
        if not is_file(source) or name_of(source, "file") in str(error):
            raise
        raise InputError(f"{short(source)}: {error}") from error
    except Exception as error:
        raise InputError(f"{short(source)} cannot be read: {reason(error)}.") from error


def check_classifier(model: perceiver_io.PerceiverIO) -> None:
    """Check that a model can read images or sounds, and gives one class of each.

    Raises
    ------
    InputError
        If it cannot, or gives something else.
    """
    spec = model.spec
    if model.preprocessing is None:
        raise InputError(
            "The model has no preprocessing, so nothing turns images or sounds into its data. "
            "For a classifier of your own set model.preprocessing."
        )
    if spec.output_modalities is not None:
        raise InputError("The model decodes more than a class; for a video use reconstruct_video.")
    if not spec.with_decoder:
        raise InputError("The model has no decoder, so it gives latents and no class.")
    if spec.query_per_input or spec.queries_from_inputs or math.prod(spec.query_shape or ()) != 1:
        raise InputError("The model gives many outputs, not one class; call it on data instead.")


def _check(model: perceiver_io.PerceiverIO, top: int) -> None:
    check_classifier(model)
    if top < 1:
        raise InputError(f"top is at least 1, got {top}.")


def _logits(model: perceiver_io.PerceiverIO, data: list[np.ndarray]) -> np.ndarray:
    """Data of each source -> (B, classes)."""
    if not data:
        return np.zeros((0, 0))
    if len(shapes := {array.shape for array in data}) > 1:
        raise InputError(f"The preprocessing gave data of several shapes: {sorted(shapes)}.")
    return to_numpy(model(np.stack(data)), "logits").reshape(len(data), -1)


@whatever_seterr_says
def most_probable(logits: np.ndarray, labels: tuple[str, ...] | None, top: int) -> list[Prediction]:
    """Logits (classes,) -> the ``top`` most probable classes, the first one first.

    Raises
    ------
    InputError
        If there are not as many labels as classes.
    """
    if labels and len(labels) != len(logits):
        raise InputError(
            f"The model has {len(labels):,} labels for {len(logits):,} classes; set model.labels "
            "to one a class, or to None."
        )
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    best = np.argsort(-probabilities)[:top]
    return [
        Prediction(labels[i] if labels else f"class {i}", float(probabilities[i])) for i in best
    ]
