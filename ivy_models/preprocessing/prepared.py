"""One function that prepares data for any kind of preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
