"""The shape of a model's data, from its spec and a size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ivy_models.preprocessing import (
    ImageColumn,
    ImagePreprocessing,
    SoundColumn,
    SoundPreprocessing,
    TablePreprocessing,
)
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

Shape = tuple[int, ...]


def data_shape(
    spec: PerceiverIOSpec,
    preprocessing: Any = None,
    size: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
) -> Shape | dict[str, Shape]:
    """Return the shape of the data of one batch element.

    Parameters
    ----------
    spec
        The model's description.
    preprocessing
        The model's preprocessing, which has the size that the model was trained on, or None.
    size
        Size of each axis, such as an image's height and width, or one number for all axes. With
        ``input_modalities``, a mapping from the names of those whose size is open. None: the size
        that the model was trained on.

    Returns
    -------
    tuple or dict
        (*axes, input_dim), or (length,) for tokens. With ``input_modalities``, a dict by modality.

    Raises
    ------
    InputError
        If the size does not fit the model, or is needed and not given.
    """
    if size is None and isinstance(preprocessing, ImagePreprocessing):
        size = preprocessing.size
    elif size is None and isinstance(preprocessing, SoundPreprocessing):
        size = (preprocessing.num_samples,)
    elif size is None and isinstance(preprocessing, TablePreprocessing):
        size = {
            name: column.shape[:-1]
            for name, column in preprocessing.other_modalities.items()
            if isinstance(column, (ImageColumn, SoundColumn))
        }
    outputs = {m.name: m.output_shape for m in spec.output_modalities or ()}
    return spec.input().data_shape(size, outputs)
