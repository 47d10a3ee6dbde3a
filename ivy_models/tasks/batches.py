"""Runs a model on many sources in batches, and continues after one that cannot be used."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.errors import InputError
from ivy_models.preprocessing import TablePreprocessing
from ivy_models.preprocessing.sources import is_file, name_of, reason, short

if TYPE_CHECKING:
    from ivy_models.shells.any_model import AnyModel

Prepared = tuple[Any, Any]
"""A source's data and mask, arrays or dicts by modality. A mask of None hides nothing."""


class Output(NamedTuple):
    """One of many sources, with the model's output (channels,) or the error."""

    source: Any
    output: np.ndarray | None
    error: InputError | None


def check_one_output(model: AnyModel) -> None:
    """Check that a model can read sources, and gives one output (channels,) for each.

    Raises
    ------
    InputError
        If it cannot, or returns something else.
    """
    spec = model.spec
    if model.preprocessing is None:
        raise InputError(
            "The model has no preprocessing, so it cannot read files. For a model of your own, set "
            "model.preprocessing."
        )
    if spec.output_modalities is not None:
        raise InputError(
            "The model returns several modalities, not one class. For a video, use "
            "reconstruct_video; otherwise call the model itself."
        )
    if not spec.with_decoder:
        raise InputError(
            "The model has no decoder, so it returns latents, not a class. Call the model itself."
        )
    if spec.query_per_input or spec.queries_from_inputs or math.prod(spec.query_shape or ()) != 1:
        raise InputError("The model returns many outputs, not one class. Call the model itself.")


def outputs_of_each(
    model: AnyModel, sources: Iterable[Any], batch_size: int, cannot: str
) -> Iterator[Output]:
    """Run a model that gives one output (channels,) for each source.

    Any exception of the preprocessing, your own or this library's, becomes an error that names the
    source.

    Parameters
    ----------
    model
        A model with a ``preprocessing``.
    sources
        What ``model.preprocessing`` accepts. They are read when needed.
    batch_size
        Batch size B of the model's calls.
    cannot
        What cannot be done with a source at fault, for messages: "cannot be classified".

    Returns
    -------
    Iterator of Output
        One for each source, in order, as soon as its batch is done.

    Raises
    ------
    InputError
        If the batch size is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    return _outputs(model, sources, batch_size, cannot)


def _outputs(model, sources, batch_size, cannot) -> Iterator[Output]:
    read, num_usable = [], 0  # the next batch
    for each in _prepared(model, sources, batch_size):
        read.append(each)
        num_usable += each[2] is None
        if num_usable == batch_size or not num_usable:
            yield from _outputs_of_batch(model, read, cannot)
            read, num_usable = [], 0
    yield from _outputs_of_batch(model, read, cannot)


def _prepared(model, sources, batch_size) -> Iterator[tuple[Any, Prepared | None, Any]]:
    """Each source, and what the preprocessing makes of it or its error."""
    sources = iter(sources)
    # Columns of a table are encoded faster for many rows at once.
    size = batch_size if isinstance(model.preprocessing, TablePreprocessing) else 1
    while group := list(itertools.islice(sources, size)):
        if size > 1:
            try:
                prepared = _prepared_rows(model, group)
            except Exception:  # one row is at fault, and is named below
                pass
            else:
                yield from prepared
                continue
        for source in group:
            try:
                yield source, prepare_one(model, source), None
            except InputError as error:
                yield source, None, error


def _prepared_rows(model, rows) -> list[tuple[Any, Prepared, None]]:
    data, mask = model.preprocessing(rows)

    def row_of(whole: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
        return {name: part[i] for name, part in whole.items()}

    return [(row, (row_of(data, i), row_of(mask, i)), None) for i, row in enumerate(rows)]


def _outputs_of_batch(model, read, cannot) -> Iterator[Output]:
    usable = [(source, prepared) for source, prepared, error in read if error is None]
    try:
        rows = [(row, None) for row in outputs(model, [prepared for _, prepared in usable])]
    except (InputError, MemoryError):  # one source is at fault, or all at once need too much memory
        rows = [_output_alone(model, source, prepared, cannot) for source, prepared in usable]
    results = iter(rows)
    for source, _, error in read:
        yield Output(source, *(next(results) if error is None else (None, error)))


def _output_alone(model, source, prepared, cannot) -> tuple[np.ndarray | None, InputError | None]:
    try:
        return outputs(model, [prepared])[0], None
    except (InputError, MemoryError) as error:
        return None, InputError(f"{short(source)} {cannot}: {reason(error)}.")


def prepare_one(model: AnyModel, source: Any) -> Prepared:
    """Preprocess a source; turn any exception into an error that names it.

    Raises
    ------
    InputError
        If the source cannot be read.
    """
    try:
        prepared = model.preprocessing(source)
        if isinstance(prepared, tuple):
            return prepared
        return prepared if isinstance(prepared, dict) else np.asarray(prepared), None
    except InputError as error:
        if not is_file(source) or name_of(source, "file") in str(error):
            raise
        raise InputError(f"{short(source)}: {error}") from error
    except Exception as error:
        raise InputError(f"{short(source)} cannot be read: {reason(error)}.") from error


def outputs(model: AnyModel, prepared: Sequence[Prepared]) -> np.ndarray:
    """Call a model once; returns outputs (B, channels).

    Raises
    ------
    InputError
        If the preprocessing returned data of several shapes, or the data do not fit the model.
    """
    if not prepared:
        return np.zeros((0, 0))
    data, masks = zip(*prepared, strict=True)
    masked = {} if masks[0] is None else {"mask": _stacked(masks)}
    return to_numpy(model(_stacked(data), **masked), "output").reshape(len(data), -1)


def _stacked(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {name: _stacked([part[name] for part in parts]) for name in parts[0]}
    if len(shapes := {np.shape(array) for array in parts}) > 1:
        raise InputError(
            f"The preprocessing returned data of the shapes {sorted(shapes)}; expected one shape."
        )
    return np.stack(parts)
