"""Clips, frames with their sound, as a model was trained on them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.errors import InputError
from ivy_models.preprocessing.sound import SoundPreprocessing
from ivy_models.preprocessing.video import VideoPreprocessing


@dataclass(frozen=True)
class ClipPreprocessing:
    """Frames and sound of a clip, from its beginning.

    Parameters
    ----------
    video
        What becomes of the frames.
    sound
        What becomes of the sound.
    """

    video: VideoPreprocessing
    sound: SoundPreprocessing

    def __call__(self, video: Any, sound: Any = None) -> dict[str, np.ndarray]:
        """Prepare one clip.

        Parameters
        ----------
        video
            A path or frames, as :class:`VideoPreprocessing` takes them.
        sound
            A path or samples, as :class:`SoundPreprocessing` takes them. None: of the video's
            file.

        Returns
        -------
        dict
            "image", float32 (frames, height, width, 3) in [0, 1], and "audio", float32
            (samples, 1) in [-1, 1].

        Raises
        ------
        InputError
            If a file cannot be read or an array cannot be used.
        """
        if sound is None:
            if not isinstance(video, (str, os.PathLike)):
                raise InputError("Frames have no sound with them; pass sound=... as well.")
            sound = video
        return {"image": self.video(video), "audio": self.sound(sound)}
