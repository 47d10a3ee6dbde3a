"""The shape of a model's data, from its description and a size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ivy_models.errors import InputError
from ivy_models.preprocessing import ImagePreprocessing, SoundPreprocessing
from ivy_models.shells.shape_checks import check_shape
from ivy_models.transformers.perceiver_io.inputs.grid import CONVOLUTIONS
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

Shape = tuple[int, ...]


def data_shape(
    spec: PerceiverIOSpec, preprocessing: Any = None, size: Sequence[int] | None = None
) -> Shape | dict[str, Shape]:
    """Shape of the data of one element of a batch.

    Parameters
    ----------
    spec
        The model's description.
    preprocessing
        The model's, which knows the size that it was trained on; None where it has none.
    size
        Of each axis, such as an image's height and width, or one number for all of them. None:
        the size that the model was trained on.

    Returns
    -------
    tuple or dict
        (*axes, input_dim), or (length,) for tokens; with ``input_modalities`` by their names.

    Raises
    ------
    InputError
        If the size does not fit the model, or is needed and not given.
    """
    if spec.input_modalities is not None:
        return _shapes_of_modalities(spec, size)
    size = tuple(size or _trained_size(spec, preprocessing))
    num_axes = spec.adapter().num_grid_axes
    if len(size) not in (1, num_axes):
        raise InputError(f"The model's data have {num_axes} axes; got the size {size}.")
    if len(size) == 1:
        size *= num_axes
    shape = size if spec.vocabulary_size is not None else (*size, spec.input_dim)
    if spec.stem == "frame_pair":
        shape = (2, *shape)
    check_shape(spec, shape)
    return shape


def _trained_size(spec: PerceiverIOSpec, preprocessing: Any) -> Sequence[int]:
    if isinstance(preprocessing, ImagePreprocessing):
        return preprocessing.size
    if isinstance(preprocessing, SoundPreprocessing):
        return (preprocessing.num_samples,)
    size = spec.learned_position_shape or spec.max_fourier_freq
    if size is None or spec.stem in CONVOLUTIONS:  # whose grid is not the data's
        raise InputError("Nothing says what size the model's data have: give one.")
    size = size if isinstance(size, tuple) else (size,) * spec.adapter().num_grid_axes
    patch_shape = spec.patch_shape or (1,) * len(size)
    return tuple(int(s) * p for s, p in zip(size, patch_shape, strict=True))


def _shapes_of_modalities(spec: PerceiverIOSpec, size: Sequence[int] | None) -> dict[str, Shape]:
    """An autoencoder's data are as large as what it decodes."""
    if size is not None:
        raise InputError("The sizes of a model of several modalities are fixed: leave out size.")
    outputs = {m.name: m.output_shape for m in spec.output_modalities or ()}
    shapes = {}
    for modality in spec.input_modalities:
        axes = outputs.get(modality.name, ()) if modality.num_input_axes else ()
        if len(axes) != modality.num_input_axes:
            raise InputError(f"Nothing says what size the model's {modality.name} has.")
        shapes[modality.name] = (*axes, modality.input_dim)
    return shapes
