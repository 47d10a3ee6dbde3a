"""Published weights, from where they are published."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ivy_models.errors import DownloadError

CACHE_VARIABLE = "IVY_MODELS_CACHE"
"""Environment variable that names the folder for downloaded weights."""

TIMEOUT_S = 30
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True)
class PublishedFile:
    """A file to download.

    Parameters
    ----------
    url
        Where it is.
    sha256
        Its checksum, where known.
    """

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def cache_folder() -> Path:
    """The folder for downloaded weights: $IVY_MODELS_CACHE, or the system's cache."""
    import pooch

    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("ivy_models"))


def download(file: PublishedFile) -> Path:
    """Return the local path of a published file, downloading it first if it is not there.

    A progress bar goes to stderr. A broken download leaves nothing in the cache.

    Raises
    ------
    DownloadError
        Saying what to download, from where, to which path, and how to pass it.
    """
    import pooch
    from requests import RequestException

    path = cache_folder() / file.name
    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(
            pooch.retrieve(
                file.url,
                known_hash=file.sha256,
                fname=file.name,
                path=path.parent,
                downloader=pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT_S),
            )
        )
    except (RequestException, OSError, ValueError) as error:
        raise DownloadError(
            f"{file.name} could not be downloaded ({error}).\n"
            f"Download it on a machine with a network from {file.url}, then either put it at\n"
            f'  {path}\nor pass it as weights="path/to/{file.name}".\n'
            "For a model with random weights use pretrained=False."
        ) from error
