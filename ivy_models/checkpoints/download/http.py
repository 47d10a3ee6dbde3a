"""Resumable download of a file over HTTP."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

import requests
from tqdm import tqdm

from ivy_models.errors import DownloadError

TIMEOUT_S = 30
"""Seconds without a response, or without another byte, after which a transfer counts as broken."""

RETRIES = 5
"""Retries in a row that bring no new bytes, after which a download fails."""

RETRY_DELAY_S = 1
"""Seconds before the first retry; doubled for each further one."""

MAX_BYTES = 4 << 30
"""Upper bound on a file's size. The largest published one has 0.8 GB."""

_CHUNK = 1 << 16

# Only these errors are temporary, so only these are retried.
_BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


def fetch(url: str, path: Path, sha256: str | None = None) -> None:
    """Download a file, which gets its name only when it is complete.

    A partial download is kept as ``NAME.part`` if the server sent a validator for it (ETag or
    Last-Modified). This or another process can then resume it. The caller must prevent two
    downloads of one file at the same time.

    Parameters
    ----------
    url
        Address of the file.
    path
        Where to put it. The folder must exist.
    sha256
        Its checksum. Without it, a file is complete when it has the announced length.

    Raises
    ------
    DownloadError, OSError
        If the server does not deliver the file, or it cannot be written.
    """
    part = _PartialFile(path)
    try:
        _receive_all(url, part, sha256)
        if sha256 is not None and (digest := checksum(part.path)) != sha256:
            part.drop()
            raise DownloadError(f"its SHA-256 is {digest}, expected {sha256}")
        os.replace(part.path, path)
    finally:
        if part.size == 0 or part.validator is None:
            part.drop()


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _PartialFile:
    """A partial download, with the server's validator for the whole file.

    Parameters
    ----------
    path
        Path of the complete file.
    """

    def __init__(self, path: Path):
        self.name = path.name
        self.path = path.with_name(f"{path.name}.part")
        self._validator = path.with_name(f"{path.name}.part.validator")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str | None:
        return self._validator.read_text("utf-8") or None if self._validator.exists() else None

    def start(self, validator: str | None) -> None:
        self.drop()  # first, so that old bytes never pair with a new validator
        if validator is not None:
            self._validator.write_text(validator, "utf-8")

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)


def _receive_all(url: str, part: _PartialFile, sha256: str | None) -> None:
    """Receive a file, and resume a transfer that breaks off after it has begun."""
    begun, furthest, failures = False, part.size, 0
    while True:
        before = part.size
        try:
            return _receive(url, part, sha256)
        except _BROKEN:
            begun = begun or part.size != before
            failures = 0 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
            if not begun or failures > RETRIES:
                raise
        time.sleep(RETRY_DELAY_S * 2**failures)


def _receive(url: str, part: _PartialFile, sha256: str | None) -> None:
    if part.validator is None:
        part.drop()
    offset, headers = part.size, {"Accept-Encoding": "identity"}
    if offset and part.validator is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": part.validator}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == 200:
            offset, total = 0, _whole_number(response.headers.get("Content-Length"))
            part.start(_validator(response))
        elif offset and response.status_code in (206, 416):
            total = _total_from(response, offset)
            if total is None or _validator(response) != part.validator:
                part.drop()  # this response does not continue the partial file
                return _receive(url, part, sha256)
        else:
            is_temporary = response.status_code >= 500
            error = requests.ConnectionError if is_temporary else DownloadError
            raise error(f"the server answered {response.status_code} {response.reason}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError("the server sent it compressed, which was not requested")
        if total is None and sha256 is None:
            raise DownloadError("the server does not say how long it is")
        if (total or 0) > MAX_BYTES:
            raise DownloadError(f"it has {total:,} bytes, more than the {MAX_BYTES:,} allowed")
        _append(response, part, offset, total)


def _append(
    response: requests.Response, part: _PartialFile, offset: int, total: int | None
) -> None:
    progress = tqdm(desc=part.name, total=total, initial=offset, unit="B", unit_scale=True)
    with progress, part.path.open("ab") as file:
        for chunk in response.iter_content(_CHUNK):
            if file.tell() + len(chunk) > (MAX_BYTES if total is None else total):
                part.drop()
                raise DownloadError(
                    "the server sent more bytes than it announced or than are allowed"
                )
            file.write(chunk)
            progress.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and part.size < total:
        raise requests.ConnectionError(f"only {part.size:,} of {total:,} bytes were received")


def _validator(response: requests.Response) -> str | None:
    """A value that changes when the file does: a strong ETag, otherwise the modification date."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified") if etag.startswith("W/") else etag


def _total_from(response: requests.Response, offset: int) -> int | None:
    """Length of the whole file if the response continues it from ``offset``, otherwise None."""
    content_range = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", content_range)
    if response.status_code != 206 or match is None:
        return None
    first, last, total = map(int, match.groups())
    return total if first == offset and last == total - 1 else None


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]+", text) else None
