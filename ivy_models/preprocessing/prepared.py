"""What any kind of preprocessing reads, and one function that prepares data for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ivy_models.preprocessing.image import ImagePreprocessing
from ivy_models.preprocessing.ngrams import NgramPreprocessing
from ivy_models.preprocessing.sound import SoundPreprocessing
from ivy_models.preprocessing.table import TablePreprocessing
from ivy_models.preprocessing.text import TextPreprocessing

KINDS = {
    ImagePreprocessing: "image",
    NgramPreprocessing: "text",
    SoundPreprocessing: "sound",
    TablePreprocessing: "table",
    TextPreprocessing: "text",
}
"""Kinds of data by what prepares them."""

Arrays = Any
"""An array (B, ...), or a mapping from modalities to such arrays."""


def prepare(preprocessing: Any, sources: Sequence[Any]) -> tuple[Arrays, Arrays | None]:
    """Convert sources to a model's data and mask.

    Parameters
    ----------
    preprocessing
        A model's preprocessing, such as :class:`ImagePreprocessing` or
        :class:`TablePreprocessing`.
    sources
        Images, sounds, texts or rows that it accepts.

    Returns
    -------
    tuple
        The data (B, ...) and the mask, each by modality if there are several. The mask is None if
        every input takes part.

    Raises
    ------
    InputError
        If a source cannot be used. The message names it.
    """
    prepared = preprocessing(list(sources))
    return prepared if isinstance(prepared, tuple) else (prepared, None)


def kind_read_by(preprocessing: Any) -> str | None:
    """The kind of data that a preprocessing reads: one of KINDS, or None for another kind."""
    return KINDS.get(type(preprocessing))
