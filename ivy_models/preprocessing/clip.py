"""Preprocessing of clips: frames with their sound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ivy_models.base.fields import named_fields
from ivy_models.errors import InputError, SpecError
from ivy_models.preprocessing.sound import SoundPreprocessing, read_sound
from ivy_models.preprocessing.sources import is_file, is_path, named_errors, opened
from ivy_models.preprocessing.video import VideoPreprocessing, start_of


@named_fields
@dataclass(frozen=True)
class ClipPreprocessing:
    """Frames and sound of a clip, from its first frame on.

    If both come from one file, the sound begins at the time of the first frame, and the frames are
    sampled over the duration of the sound.

    Parameters
    ----------
    video
        Preprocessing of the frames.
    sound
        Preprocessing of the sound.

    Raises
    ------
    SpecError
        If one of them has another type.
    """

    video: VideoPreprocessing
    sound: SoundPreprocessing

    def __post_init__(self):
        for name, kind in (("video", VideoPreprocessing), ("sound", SoundPreprocessing)):
            if not isinstance(getattr(self, name), kind):
                raise SpecError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}.")

    def __call__(self, video: Any, sound: Any = None) -> dict[str, np.ndarray]:
        """Prepare one clip.

        Parameters
        ----------
        video
            A file or frames that :class:`VideoPreprocessing` accepts.
        sound
            A file or samples that :class:`SoundPreprocessing` accepts, which begin at the first
            frame. None: the sound of the video's file.

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
        if sound is not None:
            return {"image": self.video(video), "audio": self.sound(sound)}
        if not is_file(video):
            raise InputError("Frames do not contain sound. Pass sound=... as well.")
        if not is_path(video):
            video = opened(video)  # it is read three times
        rate = self.video.num_frames * self.sound.sample_rate / self.sound.num_samples
        frames = replace(self.video, frame_rate=self.video.frame_rate or rate)(video)
        with named_errors(video, "video"):
            start = start_of(video)
            samples = read_sound(video, self.sound.sample_rate, self.sound.num_samples, start)
            return {"image": frames, "audio": self.sound(samples)}
