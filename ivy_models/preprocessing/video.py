"""Videos: frames of a model's size, and frames and sound as files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.base.atomic_files import replaced
from ivy_models.errors import InputError
from ivy_models.preprocessing.image import ImagePreprocessing, read_rgb
from ivy_models.preprocessing.media import decode, import_av
from ivy_models.preprocessing.sound import mix_to_mono


@dataclass(frozen=True)
class VideoPreprocessing:
    """Take the first frames, crop their centre, resize (bicubic, antialiased), scale to [0, 1].

    Parameters
    ----------
    num_frames
        Frames of the model's data.
    size
        Height and width in pixels. The crop is the largest of these proportions.
    """

    num_frames: int
    size: tuple[int, int]

    def __call__(self, clip: Any) -> np.ndarray:
        """Prepare one clip.

        Parameters
        ----------
        clip
            The path of a video file; or an array (frames, height, width, 3), uint8 in
            [0, 255] or floats in [0, 1]; or a list of images, as ``ImagePreprocessing`` takes.

        Returns
        -------
        numpy.ndarray
            Float32 (num_frames, height, width, 3) in [0, 1].

        Raises
        ------
        InputError
            If the clip cannot be read, has too few frames, or a frame cannot be used.
        BackendError
            If a path is given and PyAV is not installed.
        """
        prepare = ImagePreprocessing(self.size, 3, crop_fraction=1.0, mean=(0,) * 3, std=(1,) * 3)
        frames = [prepare(frame) for frame in itertools.islice(_frames(clip), self.num_frames)]
        if len(frames) < self.num_frames:
            raise InputError(
                f"The clip has {len(frames)} frames; the model takes {self.num_frames}. Pass a "
                "longer one."
            )
        return np.stack(frames)


def _frames(clip: Any) -> Iterable[Any]:
    """Whatever :class:`VideoPreprocessing` takes -> its frames, as images."""
    from ivy_models.arrays import to_native
    from ivy_models.ops import ops_named

    if isinstance(clip, (str, os.PathLike)):
        return _decoded_frames(clip)
    if isinstance(clip, (list, tuple)):
        return clip
    array = to_native(ops_named("numpy"), clip, "clip")
    if array.ndim != 4 or array.shape[-1] != 3:
        raise InputError(f"clip has shape {array.shape}; expected (frames, height, width, 3).")
    return array


def _decoded_frames(path: str | os.PathLike) -> Iterator[np.ndarray]:
    for frame in decode(path, "video"):
        # Phones film on their side, and note by how much to turn the frames back.
        yield np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def write_video(
    path: str | os.PathLike,
    frames: Any,
    sound: Any = None,
    frame_rate: float = 25,
    sample_rate: int = 48000,
) -> None:
    """Write frames, and a sound, as an MP4 file.

    Parameters
    ----------
    path
        Where to write; a file that is there is replaced once the new one is complete.
    frames
        (frames, height, width, 3), uint8 or floats in [0, 1], or a list of images; all of one
        size, which is even along both axes.
    sound
        (samples,) or (samples, channels), int16 or floats in [-1, 1]; written as one channel.
    frame_rate
        Frames a second.
    sample_rate
        Of the sound, in Hz; one that AAC has, such as 48000, 44100 or 16000.

    Raises
    ------
    InputError
        If the frames, the sound, a rate or the path's folder cannot be used.
    BackendError
        If PyAV is not installed.
    """
    av = import_av()
    if not frame_rate > 0:
        raise InputError(f"frame_rate is above 0, got {frame_rate}.")
    rates = av.Codec("aac", "w").audio_rates
    if sample_rate not in rates:
        raise InputError(
            f"sample_rate is one of {', '.join(map(str, sorted(rates)))}, got {sample_rate}."
        )
    if sound is not None:
        sound = mix_to_mono(sound)
    pixels = _even_frames(frames)
    first = next(pixels)
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} to write {path.name} to.")
    with replaced(path) as temporary:
        # 0: a packet waits until there is one of the other stream, so that the two alternate.
        options = {"max_interleave_delta": "0"}
        with av.open(temporary, "w", format="mp4", options=options) as container:
            pictures = container.add_stream(
                "libx264" if "libx264" in av.codecs_available else "mpeg4",
                rate=Fraction(frame_rate).limit_denominator(1001),  # 29.97 is 30000 / 1001
                height=first.shape[0],
                width=first.shape[1],
                pix_fmt="yuv420p",
            )
            if sound is not None:
                sounds = container.add_stream("aac", rate=sample_rate, layout="mono")
                samples = av.AudioFrame.from_ndarray(sound.T, format="fltp", layout="mono")
                samples.sample_rate = sample_rate
                samples.pts = 0  # else what the encoder puts before it is heard
                _encode(container, sounds, [samples])
            images = itertools.chain([first], pixels)
            _encode(container, pictures, (av.VideoFrame.from_ndarray(image) for image in images))


def _encode(container: Any, stream: Any, frames: Iterable[Any]) -> None:
    for frame in itertools.chain(frames, [None]):  # None: what the encoder holds back
        container.mux(stream.encode(frame))


def _even_frames(frames: Any) -> Iterator[np.ndarray]:
    """Whatever :func:`write_video` takes -> uint8 (height, width, 3), checked to be encodable."""
    size = None
    for frame in _frames(frames):
        pixels = np.round(read_rgb(frame) * 255).astype(np.uint8)
        size = size or pixels.shape[:2]
        if pixels.shape[:2] != size or size[0] % 2 or size[1] % 2:
            raise InputError(
                f"A frame has {pixels.shape[0]} x {pixels.shape[1]} pixels (height x width); "
                "expected even numbers, the same for every frame."
            )
        yield pixels
    if size is None:
        raise InputError("Expected at least one frame, got none.")
