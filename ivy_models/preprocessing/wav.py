"""Reading of WAV files without PyAV."""

from __future__ import annotations

import wave
from typing import Any

import numpy as np

from ivy_models.preprocessing.sources import opened


def read_wav(source: Any, sample_rate: int) -> np.ndarray | None:
    """Read a WAV file of integers, resample it and average its channels.

    Parameters
    ----------
    source
        A path, an open file, or the bytes of a file.
    sample_rate
        Sample rate of the result, in Hz.

    Returns
    -------
    numpy.ndarray or None
        Float32 (samples,); None if Python's ``wave`` cannot read the file.
    """
    try:
        with wave.open(opened(source), "rb") as file:
            content, width = file.readframes(file.getnframes()), file.getsampwidth()
            channels, rate = file.getnchannels(), file.getframerate()
    except (wave.Error, EOFError):
        return None
    frames = len(content) // (width * channels)
    octets = np.frombuffer(content, np.uint8, frames * channels * width).reshape(-1, width)
    # Use the upper bytes of an int32 for any width. Only 8-bit samples are unsigned.
    wide = np.zeros((len(octets), 4), np.uint8)
    wide[:, 4 - width :] = octets ^ (0x80 if width == 1 else 0)
    samples = wide.view("<i4").reshape(frames, channels).mean(1) / 2**31
    return resampled(samples, rate, sample_rate).astype(np.float32)


def resampled(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Resample (n,) to another rate by the Fourier transform."""
    length = round(len(samples) * sample_rate / rate)
    if rate == sample_rate or not len(samples) or not length:
        return samples[:length] if rate == sample_rate else np.zeros(length)
    spectrum = np.fft.rfft(samples)[: length // 2 + 1]
    return np.fft.irfft(spectrum, length) * (length / len(samples))
