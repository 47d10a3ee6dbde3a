"""Preprocessing of sounds to samples in [-1, 1]."""

from __future__ import annotations

import itertools
import mimetypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.base.fields import check_fields, named_fields, positive_int
from ivy_models.base.paths import user_path
from ivy_models.errors import BackendError, InputError
from ivy_models.preprocessing.checks import bounded_floats
from ivy_models.preprocessing.media import decode, import_av
from ivy_models.preprocessing.sources import is_file, name_of, named_errors
from ivy_models.preprocessing.wav import read_wav

LOUDEST = 16.0
"""Decoders and editors exceed 1 a little, and players cut that off. Samples far beyond it are on
another scale, such as that of int16."""

GAP = 0.05
"""Seconds by which a frame must be late before silence fills the gap, because times are rounded."""


@named_fields
@dataclass(frozen=True)
class SoundPreprocessing:
    """Resample, mix to one channel, truncate or pad to a fixed number of samples.

    Parameters
    ----------
    sample_rate
        Sample rate in Hz.
    num_samples
        Samples of the model's data. Longer sounds are truncated, shorter ones padded with zeros.

    Raises
    ------
    SpecError
        If a field is not an integer of at least 1.
    """

    sample_rate: int
    num_samples: int

    def __post_init__(self):
        check_fields(self, sample_rate=positive_int, num_samples=positive_int)

    @np.errstate(all="ignore")
    def __call__(self, sounds: Any) -> np.ndarray:
        """Prepare one sound, or a list of sounds.

        Parameters
        ----------
        sounds
            A sound or video file (a path, an open file, or its bytes), or an array (samples,) or
            (samples, channels) that already has the sample rate: int16, or floats in [-1, 1].
            Or a list of these.

        Returns
        -------
        numpy.ndarray
            Float32 (num_samples, 1), or (B, num_samples, 1) for a list, in [-1, 1].

        Raises
        ------
        InputError
            If a file cannot be read or has no sound, or an array has another shape, type or
            range, or holds numbers that are not finite. The message names the file, if there is
            one.
        BackendError
            If a file other than WAV is given and PyAV is not installed.
        """
        if isinstance(sounds, (list, tuple)):
            if not sounds:
                raise InputError("Expected at least one sound, got an empty list.")
            return np.stack([self(sound) for sound in sounds])
        with named_errors(sounds, "sound"):
            if is_file(sounds):
                sound = read_sound(sounds, self.sample_rate, self.num_samples)
            else:
                sound = mix_to_mono(sounds)[: self.num_samples]
            return np.pad(sound, [(0, self.num_samples - len(sound)), (0, 0)])

    def can_open(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file has sound: by its suffix, or because its content has a sound stream.

        Sounds with broken content count, because reading them reports the fault. Without PyAV only
        the suffix and WAV content are recognised.
        """
        return is_sound_file(path)


def is_sound_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a sound by its suffix, or has a sound stream."""
    path = user_path(path)
    # mimetypes.guess_type would also read this machine's table.
    kind, _ = mimetypes.MimeTypes().guess_type(path.name)
    if kind is not None and kind.startswith("audio/"):
        return True
    try:
        with open(path, "rb") as file:
            if file.read(12)[8:] == b"WAVE":
                return True
        next(decode(path, "audio"))
    except (BackendError, InputError, StopIteration):
        return False
    except Exception:  # not permitted or not decodable, which reading it reports
        return True
    return True


@np.errstate(all="ignore")
def read_sound(
    source: Any, sample_rate: int, num_samples: int | None = None, start: float | None = None
) -> np.ndarray:
    """Read the sound of a file, resample it and average its channels.

    The sample rate and the channels may change within a file. WAV files do not need PyAV.

    Parameters
    ----------
    source
        A path, an open file, or the bytes of a file.
    sample_rate
        Sample rate of the result, in Hz.
    num_samples
        Maximum number of samples to read. None: the whole file.
    start
        Time of the first sample, in seconds of the file's clock. Earlier samples are left out, and
        silence is inserted if the sound starts later. None: the sound's own beginning. A gap inside
        the sound is always filled with silence.

    Returns
    -------
    numpy.ndarray
        Float32 (samples, 1) in [-1, 1].

    Raises
    ------
    InputError
        If the file cannot be read, or has no sound.
    BackendError
        If PyAV is not installed, and the file is not WAV.
    """
    with named_errors(source, "sound"):
        try:
            import_av()
        except BackendError:
            sound = read_wav(source, sample_rate)
            if sound is None:
                raise
            chunks: Iterator[np.ndarray] = iter([sound])
        else:
            chunks = _decoded(source, sample_rate, start)
        sound = _joined(chunks, num_samples)
        if not sound.size:
            after = "" if start is None else f" after its first picture, at {start:.4g} seconds"
            raise InputError(f"{name_of(source, 'sound')} has no samples of sound{after}.")
        _check_samples(name_of(source, "sound"), sound)
        return np.clip(sound, -1, 1)[:, None]


def _check_samples(name: str, sound: np.ndarray) -> None:
    """Refuse decoded samples that are not a sound in [-1, 1], up to what players cut off."""
    if not np.isfinite(sound).all():
        raise InputError(f"{name} holds NaN or infinity; expected finite samples.")
    if (loudest := float(np.abs(sound).max())) > LOUDEST:
        raise InputError(
            f"{name} holds samples up to {loudest:.7g}; expected samples in [-1, 1]. Divide them "
            "by the largest."
        )


def _joined(chunks: Iterator[np.ndarray], num_samples: int | None) -> np.ndarray:
    """Concatenate chunks (samples,) up to ``num_samples``; further chunks are not decoded."""
    kept, total = [np.zeros(0, np.float32)], 0
    for chunk in chunks:
        kept.append(chunk[: None if num_samples is None else num_samples - total])
        total += len(kept[-1])
        if total == num_samples:
            break
    return np.concatenate(kept)


def _decoded(source: Any, sample_rate: int, start: float | None) -> Iterator[np.ndarray]:
    """A file's sound, resampled, in chunks (samples,), from ``start`` (None: its own) on."""
    position = 0  # samples since the start; while negative, samples are left out
    first = True
    for chunk, time in _resampled(decode(source, "audio"), sample_rate):
        if time is not None:
            if start is None:
                start = time - position / sample_rate
            due = round((time - start) * sample_rate)
            if first:
                position = min(due, 0)
            if due > position and (first or due - position > GAP * sample_rate):
                yield from _silence(due - position)
                position = due
        first = False
        yield chunk[max(0, -position) :]
        position += len(chunk)


def _silence(samples: int) -> Iterator[np.ndarray]:
    """Zeros in chunks, because a wrong time in a file must not exhaust the memory."""
    for begin in range(0, samples, 2**16):
        yield np.zeros(min(2**16, samples - begin), np.float32)


def _resampled(
    frames: Iterator[tuple[Any, Any]], sample_rate: int
) -> Iterator[tuple[np.ndarray, float | None]]:
    """Convert decoded frames to chunks (samples,) of one rate, with the start time of each."""
    for rate, group in itertools.groupby(frames, lambda decoded: decoded[0].sample_rate):
        if rate == sample_rate:
            yield from ((_mono(frame), frame.time) for frame, _ in group)
        else:
            yield from _resampled_from(rate, group, sample_rate)


def _resampled_from(
    rate: int, frames: Iterator[tuple[Any, Any]], sample_rate: int
) -> Iterator[tuple[np.ndarray, float | None]]:
    """Convert decoded frames of one rate to chunks of another, with the start time of each."""
    av = import_av()
    resampler = av.AudioResampler(format="flt", layout="mono", rate=sample_rate)
    begun, sent, given = None, 0, 0
    for frame, _ in itertools.chain(frames, [(None, None)]):  # None flushes the resampler
        mono = None
        if frame is not None:
            behind = None if begun is None or frame.time is None else frame.time - begun
            if behind is None or abs(behind - sent / rate) > GAP:
                # Count from here again after a gap.
                begun, sent, given = frame.time, 0, 0
            mono = av.AudioFrame.from_ndarray(_mono(frame)[None], format="flt", layout="mono")
            mono.sample_rate = rate
            sent += mono.samples
        for resampled in resampler.resample(mono):
            chunk = resampled.to_ndarray()[0]
            yield chunk, None if begun is None else begun + given / sample_rate
            given += len(chunk)


def _mono(frame: Any) -> np.ndarray:
    """The average of all channels of a frame, float32 (samples,)."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:  # (1, samples times channels)
        samples = samples.reshape(frame.samples, -1).T
    if samples.dtype.kind == "f":
        return samples.mean(0, dtype=np.float32)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    middle = half if samples.dtype.kind == "u" else 0.0
    return ((samples.mean(0, dtype=np.float64) - middle) / half).astype(np.float32)


@np.errstate(all="ignore")
def mix_to_mono(sound: Any) -> np.ndarray:
    """Average the channels of an array that :class:`SoundPreprocessing` accepts, to (samples, 1).

    Raises
    ------
    InputError
        For the same reasons as :class:`SoundPreprocessing`.
    """
    from ivy_models.arrays import to_numpy

    array = to_numpy(sound, "sound")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] > array.shape[0] or 0 in array.shape:
        hint = ""
        if array.ndim == 2 and array.size:
            hint = " The channels go last; pass several sounds as a list."
        raise InputError(
            f"sound has shape {array.shape}; expected (samples,) or (samples, channels).{hint}"
        )
    if array.dtype == np.int16:
        array = array / np.float32(32768)
    elif array.dtype.kind == "f":
        array = bounded_floats("sound", array, -1, "Divide by the loudest, or pass int16.")
    else:
        raise InputError(f"sound is of type {array.dtype}; expected int16, or floats in [-1, 1].")
    return array.mean(axis=1, keepdims=True, dtype=np.float32)
