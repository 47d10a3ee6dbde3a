"""Files with sound or pictures, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ivy_models.errors import InputError, not_installed


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


def decode(path: str | os.PathLike, kind: str) -> Iterator[Any]:
    """Decode a file's first stream of a kind, one PyAV frame at a time.

    Parameters
    ----------
    path
        A file on this machine.
    kind
        "audio" or "video".

    Raises
    ------
    InputError
        If the file cannot be read, or has no such stream.
    """
    av = import_av()
    # Without "file:" FFmpeg takes a name such as "12:30.wav" for an address; with it, it opens
    # none, not even those in a playlist.
    name = f"file:{os.fspath(path)}"
    try:
        # "ignore": a title that is not UTF-8 is no reason not to hear the sound.
        with av.open(name, metadata_errors="ignore") as container:
            streams = getattr(container.streams, kind)
            if not streams:
                raise InputError(f"{path} has no {kind}.")
            yield from container.decode(streams[0])
    except av.FFmpegError as error:
        raise InputError(f"{path} cannot be read as {kind}: {error.strerror}.") from error
