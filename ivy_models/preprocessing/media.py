"""Decoding of sound and video files by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ivy_models.errors import InputError, not_installed
from ivy_models.preprocessing.sources import name_of, opened


def import_av() -> ModuleType:
    """Import PyAV, which is optional.

    Raises
    ------
    BackendError
        If it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise not_installed("Files with sound or video need", error, "media") from error
    return av


def decode(source: Any, kind: str) -> Iterator[tuple[Any, Any]]:
    """Decode a file's first stream of a kind; yields each PyAV frame with its stream.

    Parameters
    ----------
    source
        A path on this machine, an open file, or the bytes of a file.
    kind
        "audio" or "video".

    Raises
    ------
    InputError
        If the file cannot be read, or has no such stream.
    BackendError
        If PyAV is not installed.
    """
    av = import_av()
    name, file = name_of(source, kind), opened(source)
    options = {}
    if isinstance(file, str):
        # With "file:" FFmpeg opens no addresses, not even those in a playlist. Without it, FFmpeg
        # would mistake a name such as "12:30.wav" for an address.
        file = f"file:{file}"
    else:
        options["protocol_whitelist"] = "data"  # a playlist in memory opens nothing else
    try:
        # "ignore", because the sound can be used even if the title is not UTF-8. PyAV 19 ignores
        # such errors without being told.
        tags = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
        with av.open(file, options=options, **tags) as container:
            streams = getattr(container.streams, kind)
            if not streams:
                raise InputError(f"{name} has no {kind}.")
            for frame in container.decode(streams[0]):
                yield frame, streams[0]
    except av.FFmpegError as error:
        raise InputError(f"{name} cannot be read as {kind}: {error.strerror}.") from error
