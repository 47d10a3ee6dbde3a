"""The folder for files that are kept between runs: downloaded weights, Ivy's own files."""

from __future__ import annotations

import os
from pathlib import Path

from ivy_models.errors import DownloadError

CACHE_VARIABLE = "IVY_MODELS_CACHE"
"""Environment variable that names the folder."""


def cache_folder() -> Path:
    """Return the folder: $IVY_MODELS_CACHE, or one in the user's cache folder.

    Raises
    ------
    DownloadError
        If the user has no home folder.
    """
    from platformdirs import user_cache_dir

    folder = os.environ.get(CACHE_VARIABLE)
    try:
        return Path(folder or user_cache_dir("ivy_models")).expanduser()
    except RuntimeError as error:
        raise DownloadError(
            f"There is no home folder to keep downloads in. Set {CACHE_VARIABLE} to a folder."
        ) from error
