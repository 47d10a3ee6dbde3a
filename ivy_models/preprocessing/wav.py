"""Reading of WAV files without PyAV."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.errors import InputError
from ivy_models.preprocessing.sources import name_of, opened

INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE
"""Formats of samples. "Extensible" files name one of the first two elsewhere."""


def read_wav(source: Any, sample_rate: int) -> np.ndarray | None:
    """Read an uncompressed WAV file, resample it and average its channels.

    Parameters
    ----------
    source
        A path, an open file, or the bytes of a file.
    sample_rate
        Sample rate of the result, in Hz.

    Returns
    -------
    numpy.ndarray or None
        Float32 (samples,); None if it is not a WAV file of integers or floats.

    Raises
    ------
    InputError
        If its sample rate or its number of channels is 0.
    """
    file = opened(source)
    content = Path(file).read_bytes() if isinstance(file, str) else file.getvalue()
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    chunks = dict(_chunks(content))
    if len(chunks.get(b"fmt ", b"")) < 16 or b"data" not in chunks:
        return None
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    if kind == EXTENSIBLE and len(chunks[b"fmt "]) >= 26:
        (kind,) = struct.unpack("<H", chunks[b"fmt "][24:26])
    width = -(-bits // 8)
    if (kind, width) not in [(INTEGERS, n) for n in (1, 2, 3, 4)] + [(FLOATS, 4), (FLOATS, 8)]:
        return None
    if not rate or not channels:
        raise InputError(
            f"{name_of(source, 'sound')} is a broken WAV file: its header says {rate} Hz and "
            f"{channels} channels; both must be above 0."
        )
    frames = len(chunks[b"data"]) // (width * channels)
    data = chunks[b"data"][: frames * width * channels]
    samples = np.frombuffer(data, f"<f{width}") if kind == FLOATS else _integers(data, width)
    mono = samples.reshape(frames, channels).mean(1, dtype=np.float64)
    return resampled(mono, rate, sample_rate).astype(np.float32)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and content of each part of a WAV file, the sound last."""
    at = 12
    while at + 8 <= len(content):
        name, size = struct.unpack("<4sI", content[at : at + 8])
        is_endless = name == b"data" and size in (0, 0xFFFFFFFF)  # written to a pipe
        part = content[at + 8 :] if is_endless else content[at + 8 : at + 8 + size]
        yield name, part
        at += 8 + len(part) + len(part) % 2
        if name == b"data":
            return


def _integers(data: bytes, width: int) -> np.ndarray:
    """Samples of 1 to 4 bytes as floats in [-1, 1)."""
    octets = np.frombuffer(data, np.uint8).reshape(-1, width)
    # Use the upper bytes of an int32 for any width. Only 8-bit samples are unsigned.
    wide = np.zeros((len(octets), 4), np.uint8)
    wide[:, 4 - width :] = octets ^ (0x80 if width == 1 else 0)
    return wide.view("<i4")[:, 0] / 2**31


def resampled(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Resample (n,) to another rate by the Fourier transform."""
    length = round(len(samples) * sample_rate / rate)
    if rate == sample_rate or not len(samples) or not length:
        return samples[:length] if rate == sample_rate else np.zeros(length)
    # Mirrored, because the transform continues the end with the beginning.
    spectrum = np.fft.rfft(np.concatenate([samples, samples[::-1]]))[: length + 1]
    return np.fft.irfft(spectrum, 2 * length)[:length] * (length / len(samples))
