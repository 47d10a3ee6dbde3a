"""The photo for which results of the published classifiers are known."""

from __future__ import annotations

from pathlib import Path

from ivy_models.base.paths import user_path
from ivy_models.checkpoints.download.cache import PublishedFile, download
from ivy_models.errors import InputError

PHOTO = PublishedFile(
    "http://images.cocodataset.org/val2017/000000039769.jpg",
    "dea9e7ef97386345f7cff32f9055da4982da5471c48d575146c796ab4563b04e",
)
"""Two cats on a sofa, 640 x 480 pixels, from the validation set of COCO."""

AS_PNG = "cf6f3c4befa148732c7453e0de5afab00f682427435fead2d88b07a9615cdac2"
"""SHA-256 of the same photo as a PNG, a file of transformers' test suite."""


def find_photo(path: str | Path | None = None) -> Path:
    """Return the path of the photo, from the cache or downloaded if none is given.

    Raises
    ------
    InputError
        If the file is not that photo, or cannot be read.
    DownloadError
        If the photo cannot be downloaded.
    """
    if path is None:
        return download(PHOTO, "as image= in Python, as --image on the command line.")
    return check_photo(user_path(path))


def check_photo(path: Path) -> Path:
    """Return the path if the file is the photo.

    Raises
    ------
    InputError
        If it is not.
    """
    from ivy_models.checkpoints.download.http import checksum

    try:
        digest = checksum(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if digest not in (PHOTO.sha256, AS_PNG):
        raise InputError(
            f"{path} is not the photo for which results are known: its SHA-256 is {digest}. "
            f"Expected {PHOTO.sha256} ({PHOTO.url}) or {AS_PNG} (000000039769.png of "
            "transformers' test suite). Copies that were saved again differ."
        )
    return path
