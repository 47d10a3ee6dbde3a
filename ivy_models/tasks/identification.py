"""The language of a text."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from ivy_models.errors import InputError, did_you_mean
from ivy_models.models.factories import create_model
from ivy_models.preprocessing import NgramPreprocessing, TablePreprocessing, TextColumn
from ivy_models.preprocessing.sources import short
from ivy_models.preprocessing.text import read_text
from ivy_models.tasks.batches import check_one_output, outputs
from ivy_models.tasks.classification import Prediction, most_probable

if TYPE_CHECKING:
    from ivy_models.shells.any_model import AnyModel

MODEL = "perceiver_io_languages"

UNKNOWN = "unknown"
"""The language of a text of which the model is not certain enough."""

THRESHOLD = 0.2
"""Least probability of a language, measured as docs/languages.rst says."""

MOST_PIECES = 32
"""Upper bound on the pieces of a text that are read, spread evenly over it."""


class Language(NamedTuple):
    """The language of a text.

    Parameters
    ----------
    language
        Code of ISO 639 such as "de", or "unknown" if no language is probable enough.
    probability
        Probability of the most probable language, between 0 and 1.
    candidates
        The most probable languages by their codes, with probabilities, the best first.
    """

    language: str
    probability: float
    candidates: tuple[Prediction, ...]


@overload
def identify_language(  # pyright: ignore[reportOverlappingOverload]: Any is any text but a list
    texts: list[Any] | tuple[Any, ...],
    model: AnyModel | None = None,
    *,
    among: Sequence[str] | None = None,
    threshold: float = THRESHOLD,
    top: int = 3,
) -> list[Language]: ...
@overload
def identify_language(
    texts: Any,
    model: AnyModel | None = None,
    *,
    among: Sequence[str] | None = None,
    threshold: float = THRESHOLD,
    top: int = 3,
) -> Language: ...
def identify_language(
    texts: Any,
    model: AnyModel | None = None,
    *,
    among: Sequence[str] | None = None,
    threshold: float = THRESHOLD,
    top: int = 3,
) -> Language | list[Language]:
    """Identify the language of a text, or of each of a list.

    A text that is longer than the model reads is divided into pieces, whose logarithms of
    probabilities are averaged.

    Parameters
    ----------
    texts
        A string, or a text file as a path (``pathlib.Path``), an open file or its bytes; or a list
        of these.
    model
        A model of languages. None: ``perceiver_io_languages``, which is loaded in each call.
    among
        Codes of the languages to choose from. None: all that the model knows.
    threshold
        Least probability of a language. Below it the language is "unknown".
    top
        Number of candidates to return.

    Returns
    -------
    Language
        For a list, one for each text.

    Raises
    ------
    InputError
        If a text is empty, has no letters or cannot be read, a language is not known, the
        threshold is not between 0 and 1, or the model does not read texts as n-grams.
    """
    model = create_model(MODEL, pretrained=True) if model is None else model
    if not isinstance(texts, (list, tuple)):
        return identify_language([texts], model, among=among, threshold=threshold, top=top)[0]
    column = text_column(model)
    codes, chosen = _chosen(model, among)
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold must be between 0 and 1, got {threshold!r}.")
    if top < 1:
        raise InputError(f"top must be at least 1, got {top!r}.")
    cut = [pieces(read_letters(text), column.preprocessing) for text in texts]
    if not cut:
        return []
    flat = [{column.name: piece} for own in cut for piece in own]
    preprocessing: Any = model.preprocessing
    logits = outputs(model, [preprocessing(piece) for piece in flat])[:, chosen]
    logs = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
    ends = np.cumsum([len(own) for own in cut])
    means = [part.mean(0) for part in np.split(logs, ends[:-1])]
    return [_language(mean, codes, threshold, top) for mean in means]


def identify_languages(
    texts: Iterable[Any], model: AnyModel, batch_size: int = 64, **options: Any
) -> Iterator[tuple[Any, Language | None, InputError | None]]:
    """Identify the languages of many texts, and continue after one that cannot be used.

    Parameters
    ----------
    texts, model, options
        As in :func:`identify_language`. Texts are read when needed.
    batch_size
        Texts that the model reads at once.

    Returns
    -------
    Iterator of tuple
        Each text, its language or None, and the error or None; in order.
    """
    batch: list[Any] = []
    for text in texts:
        batch.append(text)
        if len(batch) == batch_size:
            yield from _each(batch, model, options)
            batch = []
    yield from _each(batch, model, options)


def _each(batch: list[Any], model: AnyModel, options: Any) -> Iterator[Any]:
    try:
        found: list[Any] = identify_language(batch, model, **options)
        yield from ((text, language, None) for text, language in zip(batch, found, strict=True))
    except InputError as error:
        if len(batch) == 1:
            yield batch[0], None, error
        else:  # only the texts at fault
            for text in batch:
                yield from _each([text], model, options)


def text_column(model: AnyModel) -> Any:
    """The column of n-grams that a model of languages reads.

    Raises
    ------
    InputError
        If it reads something else, or does not return one class.
    """
    preprocessing = model.preprocessing
    columns: list[Any] = []
    if isinstance(preprocessing, TablePreprocessing):
        columns = list(preprocessing.columns)
    is_text = len(columns) == 1 and isinstance(columns[0], TextColumn)
    if not is_text or not isinstance(columns[0].preprocessing, NgramPreprocessing):
        raise InputError(
            "The model does not read texts as n-grams. Build perceiver_io_languages, or train a "
            "model on a table of texts with --column text=ngrams."
        )
    check_one_output(model)
    return columns[0]


def _chosen(model: AnyModel, among: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Codes of the languages to choose from, and their places in the output."""
    labels = model.labels
    if labels is None or len(labels) != model.spec.output_dim:
        raise InputError("The model has no label for each of its languages. Set model.labels.")
    if among is None:
        return labels, np.arange(len(labels))
    codes = tuple(dict.fromkeys([among] if isinstance(among, str) else among))
    if not codes:
        raise InputError("among has no languages; name at least one, or leave it out.")
    for code in codes:
        if code not in labels:
            raise InputError(
                f"The model does not know the language {code!r}. {did_you_mean(code, labels)}"
            )
    return codes, np.array([labels.index(code) for code in codes])


def read_letters(source: Any) -> str:
    """Read a text, and check that it has letters.

    Raises
    ------
    InputError
        If it has none, or cannot be read.
    """
    text = read_text(source)
    if not any(map(str.isalpha, text)):
        raise InputError(f"{short(source)} has no letters, so it has no language.")
    return text


def pieces(text: str, preprocessing: Any) -> list[str]:
    """Divide a text into pieces of about equal length that the preprocessing reads as a whole."""
    text = " ".join(text.split())
    size = preprocessing.max_characters
    number = -(-len(text) // size)
    if number == 1:
        return [text]
    found, start = [], 0
    while start < len(text):
        end = min(len(text), start + -(-(len(text) - start) // max(1, number - len(found))))
        end = min(end, start + size)
        if end < len(text) and (space := text.rfind(" ", (start + end) // 2, end + 1)) > 0:
            end = space
        if any(map(str.isalpha, text[start:end])):
            found.append(text[start:end].strip())
        start = end
    if len(found) > MOST_PIECES:
        places = np.linspace(0, len(found) - 1, MOST_PIECES).astype(int)
        found = [found[place] for place in places]
    return found


def _language(logs: np.ndarray, codes: tuple[str, ...], threshold: float, top: int) -> Language:
    candidates = tuple(most_probable(logs, codes, top))
    first, probability = candidates[0]
    return Language(first if probability >= threshold else UNKNOWN, probability, candidates)


@functools.cache
def _names() -> dict[str, str]:
    text = (files("ivy_models") / "data" / "languages_names.txt").read_text("utf-8")
    return dict(line.split("\t") for line in text.splitlines())


def name_of_language(code: str) -> str:
    """The English name of a language, such as "German" for "de"; the code where none is known."""
    return _names().get(code, code)
