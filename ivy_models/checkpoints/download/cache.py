"""Download of published weights to the cache folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ivy_models.base.cache import cache_folder
from ivy_models.errors import DownloadError

OFFLINE_VARIABLE = "IVY_MODELS_OFFLINE"
"""Environment variable that, set to 1, forbids every download."""


@dataclass(frozen=True)
class PublishedFile:
    """A file to download.

    Parameters
    ----------
    url
        Address of the file.
    sha256
        Its checksum, if known.
    """

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def is_offline() -> bool:
    """Whether $IVY_MODELS_OFFLINE forbids downloads."""
    return os.environ.get(OFFLINE_VARIABLE, "").lower() in ("1", "true", "yes", "on")


_ADVICE = """\
weights="path/to/{name}" in Python, --weights on the command line.
In Python, pretrained=False builds the model with random weights."""


def download(file: PublishedFile, advice: str = _ADVICE) -> Path:
    """Return the local path of a published file, downloading it first if it is not there.

    A progress bar goes to stderr. A file in the cache is always complete: the next call resumes an
    interrupted download. If several processes or threads need the file, one downloads it while
    the others wait.

    Parameters
    ----------
    file
        The file.
    advice
        How to pass a copy that was downloaded elsewhere, for the error. ``{name}`` becomes the
        name of the file.

    Raises
    ------
    DownloadError
        If the download fails. The message says which file to fetch, from where, and where to put
        it.
    """
    path = cache_folder() / file.name
    try:
        if not _is_there(path, file.sha256):
            _download(file, path)
        return path
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"{file.name} could not be downloaded ({error}).\n"
            f"Download it on a machine with a network from {file.url}, then either put it at\n"
            f"  {path}\nor pass its path: {advice.format(name=file.name)}"
        ) from error


def _is_there(path: Path, sha256: str | None) -> bool:
    from ivy_models.checkpoints.download.http import checksum

    return path.is_file() and (sha256 is None or checksum(path) == sha256)


def _download(file: PublishedFile, path: Path) -> None:
    from filelock import FileLock

    from ivy_models.checkpoints.download.http import fetch

    if is_offline():
        found = ", and the file in the cache has another SHA-256" if path.exists() else ""
        raise DownloadError(f"{OFFLINE_VARIABLE} is set{found}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # If a process dies, the system releases its lock. The lock file stays.
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not _is_there(path, file.sha256):
            path.unlink(missing_ok=True)
            fetch(file.url, path, file.sha256)
