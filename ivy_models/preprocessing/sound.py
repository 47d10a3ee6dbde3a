"""Sound as samples in [-1, 1]."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.errors import InputError
from ivy_models.preprocessing.checks import check_floats
from ivy_models.preprocessing.media import decode, import_av


@dataclass(frozen=True)
class SoundPreprocessing:
    """Resample, mix to one channel, cut or pad to a fixed number of samples.

    Parameters
    ----------
    sample_rate
        In Hz.
    num_samples
        Samples of the model's data. Longer sounds lose their end; zeros follow shorter ones.
    """

    sample_rate: int
    num_samples: int

    def __call__(self, sounds: Any) -> np.ndarray:
        """Prepare one sound, or a list of sounds.

        Parameters
        ----------
        sounds
            The path of a sound or video file, or an array (samples,) or (samples, channels)
            that has the sample rate already: int16, or floats in [-1, 1]. Or a list of these.

        Returns
        -------
        numpy.ndarray
            Float32 (num_samples, 1), or (B, num_samples, 1) for a list, in [-1, 1].

        Raises
        ------
        InputError
            If a file cannot be read or has no sound, or an array has another shape, type or
            range, or holds numbers that are not finite.
        BackendError
            If a path is given and PyAV is not installed.
        """
        if isinstance(sounds, (list, tuple)):
            if not sounds:
                raise InputError("Expected at least one sound, got an empty list.")
            return np.stack([self(sound) for sound in sounds])
        if isinstance(sounds, (str, os.PathLike)):
            sound = read_sound(sounds, self.sample_rate, self.num_samples)
        else:
            sound = mix_to_mono(sounds)[: self.num_samples]
        return np.pad(sound, [(0, self.num_samples - len(sound)), (0, 0)])


def read_sound(
    path: str | os.PathLike, sample_rate: int, num_samples: int | None = None
) -> np.ndarray:
    """Read a sound or video file, resampled and mixed to one channel.

    Parameters
    ----------
    path
        A file that PyAV can read.
    sample_rate
        Of the result, in Hz.
    num_samples
        Where to stop reading. None: at the file's end.

    Returns
    -------
    numpy.ndarray
        Float32 (samples, 1) in [-1, 1].

    Raises
    ------
    InputError
        If the file cannot be read, or has no sound.
    BackendError
        If PyAV is not installed.
    """
    # 16 bits: a mix to floats is not divided by the channels' weights, and so exceeds 1.
    resampler = import_av().AudioResampler(format="s16", layout="mono", rate=sample_rate)
    chunks, total = [], 0
    for frame in itertools.chain(decode(path, "audio"), [None]):  # None: what it holds back
        for resampled in resampler.resample(frame):
            chunks.append(resampled.to_ndarray()[0])
            total += len(chunks[-1])
        if num_samples is not None and total >= num_samples:
            break
    if not total:
        raise InputError(f"{path} has a sound without samples.")
    return mix_to_mono(np.concatenate(chunks)[:num_samples])


def mix_to_mono(sound: Any) -> np.ndarray:
    """Average an array's channels: as :class:`SoundPreprocessing` -> float32 (samples, 1).

    Raises
    ------
    InputError
        As :class:`SoundPreprocessing`.
    """
    from ivy_models.arrays import to_native
    from ivy_models.ops import ops_named

    array = to_native(ops_named("numpy"), sound, "sound")
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
        check_floats("sound", array, -1, "Divide by the loudest, or pass int16.")
    else:
        raise InputError(f"sound is of type {array.dtype}; expected int16, or floats in [-1, 1].")
    return array.mean(axis=1, keepdims=True, dtype=np.float32)
