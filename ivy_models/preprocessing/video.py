"""Videos: frames of a model's size, and frames and sound as files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ivy_models.base.atomic_files import replaced
from ivy_models.base.fields import check_fields, optional, positive_int, positive_number
from ivy_models.base.floating_point import whatever_seterr_says
from ivy_models.base.paths import user_path
from ivy_models.errors import InputError
from ivy_models.preprocessing.checks import image_size
from ivy_models.preprocessing.image import ImagePreprocessing, read_rgb
from ivy_models.preprocessing.media import decode, import_av
from ivy_models.preprocessing.sound import mix_to_mono
from ivy_models.preprocessing.sources import is_file, name_of, named_errors

TOLERANCE = 0.1
"""Share of the time between two frames by which a file may round their times."""


MIN_RATE, MAX_RATE = 0.001, 1000
"""Frames a second of a video to write."""


@dataclass(frozen=True)
class VideoPreprocessing:
    """Take the first frames, crop their centre, resize (bicubic, antialiased), scale to [0, 1].

    Of a file, the frames are those shown at regular times, whatever the times between its own
    frames. Pixels that are not square are taken for what they show.

    Parameters
    ----------
    num_frames
        Frames of the model's data.
    size
        Height and width in pixels. The crop is the largest of these proportions.
    frame_rate
        Frames a second to take of a file. None: its average rate, by its index; in a file
        without one, such as Matroska, that of its first ``num_frames`` frames.

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

    @whatever_seterr_says
    def __call__(self, clip: Any) -> np.ndarray:
        """Prepare one clip.

        Parameters
        ----------
        clip
            A video file (a path, an open file, or its bytes); or an array (frames, height,
            width, 3), uint8 in [0, 255] or floats in [0, 1]; or a list of images, as
            ``ImagePreprocessing`` takes.

        Returns
        -------
        numpy.ndarray
            Float32 (num_frames, height, width, 3) in [0, 1].

        Raises
        ------
        InputError
            If the clip cannot be read, has too few frames, or a frame cannot be used; naming
            the file, if it is one.
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
    """A decoded frame: its time in seconds, None if unknown, and how it is to be shown.

    It has what is needed of its stream, which must not be touched once the file is closed.
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
        """Uint8 (height, width, 3), upright."""
        # Phones film on their side or mirrored, and note how to show the frames.
        (a, b), (c, d) = _display_matrix(self.frame)
        pixels = self.frame.to_ndarray(format="rgb24")
        if _is_turned(self.frame):
            pixels, a, d = pixels.swapaxes(0, 1), c, b
        return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _average_rate(first: Sequence[_Shown]) -> float | None:
    """Frames a second of a file whose first frames are given; None if it does not say."""
    times = [shown.time for shown in first if shown.time is not None]
    if not first or first[0].has_index or len(times) < max(2, len(first)):
        return first[0].average_rate if first else None
    seconds = max(times) - min(times)  # what the file calls its average rate is a hint
    return (len(times) - 1) / seconds if seconds else first[0].average_rate


def _shown(decoded: Iterable[_Shown], frame_rate: float | None) -> Iterator[_Shown]:
    """The frames that are on the screen at 0, 1, 2, ... / frame_rate seconds after the first."""
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
    """Seconds for which a frame is shown; 0 if the file does not say."""
    ticks = getattr(frame, "duration", None)
    return float(ticks * frame.time_base) if ticks and frame.time_base else 0.0


def _pixel_aspect(frame: Any, stream: Any) -> float:
    """Width of a pixel by its height, once the frame is upright."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not aspect or aspect < 0:
        return 1.0
    return float(1 / aspect if _is_turned(frame) else aspect)


def _display_matrix(frame: Any) -> np.ndarray:
    """Matrix (2, 2): a row (x, y) of a stored pixel times it is where to show the pixel."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.eye(2)
    return np.frombuffer(data, np.int32, 9).reshape(3, 3)[:2, :2]


def _is_turned(frame: Any) -> bool:
    """Whether the rows of a frame are shown as columns."""
    (a, b), _ = _display_matrix(frame)
    return abs(b) > abs(a)


def start_of(source: Any) -> float | None:
    """The time of a file's first picture, in seconds; None if the file does not say.

    Raises
    ------
    InputError
        If the file cannot be read, or has no pictures.
    """
    return next((frame.time for frame, _ in decode(source, "video")), None)


def _frames(clip: Any) -> Iterable[Any]:
    """An array or a list that :class:`VideoPreprocessing` takes -> its frames, as images."""
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
    path = user_path(path)
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} to write {path.name} to.")
    with replaced(path) as temporary:
        # 0: a packet waits until there is one of the other stream, so that the two alternate.
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
                samples.pts = 0  # else what the encoder puts before it is heard
                _encode(container, sounds, [samples])
            images = itertools.chain([first], pixels)
            _encode(container, pictures, (av.VideoFrame.from_ndarray(image) for image in images))


def _rational(frame_rate: Any) -> Fraction:
    """A rate as MP4 files have it: 29.97 is 30000 / 1001."""
    if not isinstance(frame_rate, Real) or not MIN_RATE <= frame_rate <= MAX_RATE:
        raise InputError(
            f"frame_rate must be a number from {MIN_RATE} to {MAX_RATE:,} frames a second, got "
            f"{frame_rate!r}."
        )
    return Fraction(float(frame_rate)).limit_denominator(1001)


def _encode(container: Any, stream: Any, frames: Iterable[Any]) -> None:
    for frame in itertools.chain(frames, [None]):  # None: what the encoder holds back
        container.mux(stream.encode(frame))


def _even_frames(frames: Any) -> Iterator[np.ndarray]:
    """Whatever :func:`write_video` takes -> uint8 (height, width, 3), checked to be encodable."""
    size = None
    if is_file(frames):
        raise InputError("frames are an array or a list of images, not a file.")
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
