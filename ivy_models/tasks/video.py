"""Reconstruction and labelling of video with sound, by an autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ivy_models.errors import InputError
from ivy_models.preprocessing import ClipPreprocessing
from ivy_models.tasks.classification import Prediction, most_probable
from ivy_models.tasks.decoding import decode_in_chunks

if TYPE_CHECKING:
    from ivy_models.shells.ivy import PerceiverIO


class Reconstruction(NamedTuple):
    """A clip as an autoencoder reconstructs it.

    ``frames`` are float32 (frames, height, width, 3) in [0, 1], ``sound`` is float32 (samples, 1)
    in [-1, 1], and ``predictions`` are the most probable classes, the most probable first.
    """

    frames: np.ndarray
    sound: np.ndarray
    predictions: list[Prediction]


def reconstruct_video(
    model: PerceiverIO, video: Any, sound: Any = None, top: int = 5, progress: bool = False
) -> Reconstruction:
    """Encode a clip without its label, and decode its frames, its sound and its label.

    Parameters
    ----------
    model
        A model of ``perceiver_io_video`` or :func:`create_model`.
    video, sound
        Paths or arrays that :class:`.ClipPreprocessing` accepts. Without ``sound``, that of the
        video's file.
    top
        Number of most probable classes to return.
    progress
        Whether to show a progress bar over the decoded queries.

    Returns
    -------
    Reconstruction
        The frames, the sound and the most probable classes.

    Raises
    ------
    InputError
        If the model is not an autoencoder of video, or the clip cannot be used.
    """
    return reconstruct(model, prepare_clip(model.preprocessing, video, sound), top, progress)


def prepare_clip(preprocessing: Any, video: Any, sound: Any = None) -> dict[str, np.ndarray]:
    """Convert a clip to the data of an autoencoder with this preprocessing."""
    if not isinstance(preprocessing, ClipPreprocessing):
        raise InputError("The model is not an autoencoder of video: build perceiver_io_video.")
    return preprocessing(video, sound)


def reconstruct(
    model: PerceiverIO, data: dict[str, np.ndarray], top: int, progress: bool
) -> Reconstruction:
    """Do the same as :func:`reconstruct_video` for the result of :func:`prepare_clip`."""
    if top < 1:
        raise InputError(f"top must be at least 1, got {top}.")
    outputs = decode_in_chunks(model, model.encode(data), progress=progress)
    return Reconstruction(
        np.clip(outputs["image"], 0, 1),
        np.clip(outputs["audio"], -1, 1),
        most_probable(outputs["label"].ravel(), model.labels, top),
    )
