"""Preprocessing of videos, and writing of frames and sound to files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ivy_models.base.atomic_files import replaced
from ivy_models.base.fields import (
    check_fields,
    named_fields,
    optional,
    positive_int,
    positive_number,
)
from ivy_models.base.paths import user_path
from ivy_models.errors import InputError
from ivy_models.preprocessing.checks import image_size
from ivy_models.preprocessing.image import ImagePreprocessing, read_rgb
from ivy_models.preprocessing.media import decode, import_av
from ivy_models.preprocessing.sound import mix_to_mono
from ivy_models.preprocessing.sources import is_file, name_of, named_errors

TOLERANCE = 0.1
"""Tolerance for rounded times of frames, as a share of the time between two frames."""


SUFFIXES = (".mp4", ".m4v")
"""How the name of a video to write can end."""

MIN_RATE, MAX_RATE = 0.001, 1000
"""Allowed frames per second of a video to write."""


@named_fields
@dataclass(frozen=True)
class VideoPreprocessing:
    """Take the first frames, crop their centre, resize (bicubic, antialiased), scale to [0, 1].

    From a file, the frames that are shown at regular times are taken, even if its own frames are
    irregular. Clips with non-square pixels are stretched to their displayed proportions.

    Parameters
    ----------
    num_frames
        Number of frames of the model's data.
    size
        Height and width in pixels. The crop is the largest one with these proportions.
    frame_rate
        Frames per second to take from a file. None: the average rate from its index, or, in a
        file without an index such as Matroska, that of its first ``num_frames`` frames.

    Raises
    ------
    SpecError
        If a field has a wrong type or value.
    """

    num_frames: int
    size: tuple[int, int]
    frame_rate: float | None = None

    def __post_init__(self):
        check_fields(
            self,
            num_frames=positive_int,
            size=image_size,
            frame_rate=optional(positive_number),
        )

    @np.errstate(all="ignore")
    def __call__(self, clip: Any) -> np.ndarray:
        """Prepare one clip.

        Parameters
        ----------
        clip
            A video file (a path, an open file, or its bytes); or an array (frames, height,
            width, 3), uint8 in [0, 255] or floats in [0, 1]; or a list of images that
            ``ImagePreprocessing`` accepts.

        Returns
        -------
        numpy.ndarray
            Float32 (num_frames, height, width, 3) in [0, 1].

        Raises
        ------
        InputError
            If the clip cannot be read, has too few frames, or a frame cannot be used. The message
            names the file, if there is one.
        BackendError
            If a file is given and PyAV is not installed.
        """
        with named_errors(clip, "video"):
            if is_file(clip):
                return self._read(clip)
            prepare = ImagePreprocessing(self.size, mean=0.0, std=1.0)
            frames = [prepare(frame) for frame in itertools.islice(_frames(clip), self.num_frames)]
            if len(frames) < self.num_frames:
                raise InputError(
                    f"The clip has {len(frames)} frames; the model takes {self.num_frames}. Pass a "
                    "longer one."
                )
            return np.stack(frames)

    def _read(self, source: Any) -> np.ndarray:
        prepare = ImagePreprocessing(self.size, mean=0.0, std=1.0)
        frames: list[np.ndarray] = []
        last = None
        decoded = itertools.starmap(_Shown.of, decode(source, "video"))
        rate = self.frame_rate
        if rate is None:
            first = list(itertools.islice(decoded, self.num_frames))
            decoded, rate = itertools.chain(first, decoded), _average_rate(first)
        for shown in _shown(decoded, rate):
            if shown is last:
                frames.append(frames[-1])
            else:
                frames.append(prepare.with_pixel_aspect(shown.pixels(), shown.pixel_aspect))
            last = shown
            if len(frames) == self.num_frames:
                return np.stack(frames)
        at = "" if self.frame_rate is None else f" at {self.frame_rate:.4g} frames a second"
        raise InputError(
            f"{name_of(source, 'video')} has {len(frames)} frames{at}; the model takes "
            f"{self.num_frames}. Pass a longer one."
        )


class _Shown(NamedTuple):
    """A decoded frame: its time in seconds, None if unknown, and how to show it.

    It stores values of its stream, because the stream must not be used after the file is closed.
    """

    frame: Any
    time: float | None
    pixel_aspect: float
    average_rate: float | None
    has_index: bool

    @classmethod
    def of(cls, frame: Any, stream: Any) -> _Shown:
        rate = stream.average_rate
        has_index = bool(stream.frames and stream.duration)
        aspect = _pixel_aspect(frame, stream)
        return cls(frame, frame.time, aspect, float(rate) if rate else None, has_index)

    def pixels(self) -> np.ndarray:
        """Upright pixels, uint8 (height, width, 3)."""
        # Phones record rotated or mirrored frames, and store how to show them.
        (a, b), (c, d) = _display_matrix(self.frame)
        pixels = self.frame.to_ndarray(format="rgb24")
        if _is_turned(self.frame):
            pixels, a, d = pixels.swapaxes(0, 1), c, b
        return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _average_rate(first: Sequence[_Shown]) -> float | None:
    """Average frames per second of a file, from its first frames; None if unknown."""
    times = [shown.time for shown in first if shown.time is not None]
    if not first or first[0].has_index or len(times) < max(2, len(first)):
        return first[0].average_rate if first else None
    seconds = max(times) - min(times)  # without an index, the file's average rate is only a hint
    return (len(times) - 1) / seconds if seconds else first[0].average_rate


def _shown(decoded: Iterable[_Shown], frame_rate: float | None) -> Iterator[_Shown]:
    """The frames that are visible at 0, 1, 2, ... / frame_rate seconds after the first."""
    begun, last, taken = None, None, 0
    interval = 1 / frame_rate if frame_rate else 0.0
    for current in decoded:
        if last is None:
            begun = current.time
        if begun is None or current.time is None or not interval:
            yield current  # without times, frames are counted
            last, taken = current, taken + 1
            continue
        now = current.time - begun
        while last is not None and taken * interval < now - TOLERANCE * interval:
            yield last
            taken += 1
        if abs(taken * interval - now) <= TOLERANCE * interval:
            yield current
            taken += 1
        if last is not None and last.time is not None and current.time < last.time:
            continue  # a frame out of order
        last = current
    if last is not None and last.time is not None and begun is not None and interval:
        end = last.time - begun + max(interval, _duration(last.frame))
        while taken * interval < end - TOLERANCE * interval:
            yield last
            taken += 1


def _duration(frame: Any) -> float:
    """Seconds for which a frame is shown; 0 if unknown."""
    ticks = getattr(frame, "duration", None)
    return float(ticks * frame.time_base) if ticks and frame.time_base else 0.0


def _pixel_aspect(frame: Any, stream: Any) -> float:
    """Ratio of a pixel's width to its height in the upright frame."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not aspect or aspect < 0:
        return 1.0
    return float(1 / aspect if _is_turned(frame) else aspect)


def _display_matrix(frame: Any) -> np.ndarray:
    """Matrix (2, 2) by which to multiply the position (x, y) of a stored pixel to show it."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.eye(2)
    return np.frombuffer(data, np.int32, 9).reshape(3, 3)[:2, :2]


def _is_turned(frame: Any) -> bool:
    """Whether the rows of a frame are shown as columns."""
    (a, b), _ = _display_matrix(frame)
    return abs(b) > abs(a)


def start_of(source: Any) -> float | None:
    """The time of a file's first frame, in seconds; None if unknown.

    Raises
    ------
    InputError
        If the file cannot be read, or has no frames.
    """
    return next((frame.time for frame, _ in decode(source, "video")), None)


def _frames(clip: Any) -> Iterable[Any]:
    """The frames of an array or a list that :class:`VideoPreprocessing` accepts, as images."""
    from ivy_models.arrays import to_numpy

    if isinstance(clip, (list, tuple)):
        return clip
    array = to_numpy(clip, "clip")
    if array.ndim != 4 or array.shape[-1] != 3:
        raise InputError(f"clip has shape {array.shape}; expected (frames, height, width, 3).")
    return array


def write_video(
    path: str | os.PathLike[str],
    frames: Any,
    sound: Any = None,
    frame_rate: float = 25,
    sample_rate: int = 48000,
) -> None:
    """Write frames, and optionally a sound, to an MP4 file.

    Parameters
    ----------
    path
        Where to write; the name ends in .mp4 or .m4v. An existing file is replaced when the new
        one is complete.
    frames
        (frames, height, width, 3), uint8 or floats in [0, 1], or a list of images. All must have
        the same even height and width.
    sound
        (samples,) or (samples, channels), int16 or floats in [-1, 1]; written as one channel.
    frame_rate
        Frames per second.
    sample_rate
        Sample rate of the sound in Hz. AAC must support it, as it does 48000, 44100 and 16000.

    Raises
    ------
    InputError
        If the frames, the sound, a rate, the end of the path or its folder cannot be used.
    BackendError
        If PyAV is not installed.
    """
    av, path = import_av(), user_path(path)
    check_video_name(path)
    rate = _rational(frame_rate)
    rates = av.Codec("aac", "w").audio_rates
    if sample_rate not in rates:
        raise InputError(
            f"sample_rate must be one of {', '.join(map(str, sorted(rates)))}, got {sample_rate}."
        )
    if sound is not None:
        sound = mix_to_mono(sound)
    pixels = _even_frames(frames)
    first = next(pixels)
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} to write {path.name} to.")
    with replaced(path) as temporary:
        # 0 disables the interleave timeout, so that packets of the two streams alternate.
        options = {"max_interleave_delta": "0"}
        with av.open(temporary, "w", format="mp4", options=options) as container:
            pictures = container.add_stream(
                "libx264" if "libx264" in av.codecs_available else "mpeg4",
                rate=rate,
                height=first.shape[0],
                width=first.shape[1],
                pix_fmt="yuv420p",
            )
            if sound is not None:
                sounds = container.add_stream("aac", rate=sample_rate, layout="mono")
                samples = av.AudioFrame.from_ndarray(sound.T, format="fltp", layout="mono")
                samples.sample_rate = sample_rate
                samples.pts = 0  # otherwise players play the encoder's padding
                _encode(container, sounds, [samples])
            images = itertools.chain([first], pixels)
            _encode(container, pictures, (av.VideoFrame.from_ndarray(image) for image in images))


def check_video_name(path: Path) -> None:
    """Check the end of the name of a video to write.

    Raises
    ------
    InputError
        If it is not that of an MP4 file.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path} must end in {' or '.join(SUFFIXES)}: videos are written as MP4 files."
        )


def _rational(frame_rate: Any) -> Fraction:
    """A frame rate as a fraction, as in MP4 files: 29.97 is 30000 / 1001."""
    if not isinstance(frame_rate, Real) or not MIN_RATE <= float(frame_rate) <= MAX_RATE:
        raise InputError(
            f"frame_rate must be a number from {MIN_RATE} to {MAX_RATE:,} frames a second, got "
            f"{frame_rate!r}."
        )
    return Fraction(float(frame_rate)).limit_denominator(1001)


def _encode(container: Any, stream: Any, frames: Iterable[Any]) -> None:
    for frame in itertools.chain(frames, [None]):  # None flushes the encoder
        container.mux(stream.encode(frame))


def _even_frames(frames: Any) -> Iterator[np.ndarray]:
    """Convert frames for :func:`write_video` to uint8 (height, width, 3), and check their sizes."""
    size = None
    if is_file(frames):
        raise InputError("frames must be an array or a list of images, not a file.")
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
