"""Sources of images, sounds and videos: paths, open files, and bytes in memory."""

from __future__ import annotations

import io
import os
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ivy_models.base.paths import user_path
from ivy_models.errors import InputError, IvyModelsError


def is_file(source: Any) -> bool:
    """Whether a source is a path, the bytes of a file, or an open file, not an array."""
    is_open = hasattr(source, "read") and not hasattr(source, "__array__")
    return is_open or is_path(source) or _is_bytes(source)


def _is_bytes(source: Any) -> bool:
    if isinstance(source, memoryview):  # of more axes it is an array
        return source.ndim == 1 and source.itemsize == 1
    return isinstance(source, (bytes, bytearray))


def is_path(source: Any) -> bool:
    """Whether a source is the path of a file."""
    return isinstance(source, (str, os.PathLike))


class NamedFile(str):
    """The name of a file in a cell of a table: a text like others, with the file's path."""

    path: Path

    @classmethod
    def at(cls, name: str, path: Path) -> NamedFile:
        named = cls(name)
        named.path = path
        return named


def stored(cell: Any) -> Any:
    """A file's path or content, also of a mapping as Hugging Face's ``datasets`` store it."""
    if isinstance(cell, NamedFile):
        return cell.path
    if not isinstance(cell, Mapping):
        return cell
    return cell.get("path") if cell.get("bytes") is None else cell["bytes"]


def name_of(source: Any, kind: str) -> str:
    """Name of a source in messages: its path or name, otherwise "the image" or "the sound"."""
    if is_path(source):
        return os.fsdecode(source)
    name = getattr(source, "name", None) if is_file(source) else None
    return name if isinstance(name, str) and name else f"the {kind}"


def opened(source: Any) -> str | io.BytesIO:
    """Return a source for which :func:`is_file` is true, as a path or as a file in memory.

    Raises
    ------
    InputError
        If the path is not a regular file, or the open file is in text mode.
    """
    if is_path(source):
        path = user_path(source)
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a regular file.")  # a pipe may never end
        return str(path)
    if _is_bytes(source):
        return io.BytesIO(source)
    if getattr(source, "seekable", bool)():
        source.seek(0)
    content = source.read()
    if not isinstance(content, bytes):
        raise InputError("an open file must give bytes: open it in binary mode, 'rb'.")
    return io.BytesIO(content)


@contextmanager
def named_errors(source: Any, kind: str) -> Iterator[None]:
    """Turn any exception about a source into an error that names it.

    Decoders, and the arithmetic on their results, can raise anything, and a batch of files must
    continue without the broken one.

    Parameters
    ----------
    source
        A file or an array.
    kind
        "image", "sound", "text" or "video".

    Raises
    ------
    InputError
        In place of any exception, except this library's exceptions about something else, such as
        a package that is not installed.
    """
    name = name_of(source, kind)
    try:
        yield
    except InputError as error:
        if not is_file(source) or name in str(error):
            raise
        raise InputError(f"{name}: {error}") from error
    except IvyModelsError:
        raise
    except Exception as error:
        what = f"cannot be read as {_ARTICLES[kind]}" if is_file(source) else "cannot be used"
        raise InputError(f"{name} {what}: {reason(error)}.") from error


_ARTICLES = {"image": "an image", "sound": "a sound", "text": "a text", "video": "a video"}


def reason(error: Exception) -> str:
    """The message of an exception, on one line."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def short(source: Any) -> str:
    """Name of a source in a message about many: its path or name, or a short representation."""
    name = name_of(source, "")
    return name if name != "the " else reprlib.repr(source)
