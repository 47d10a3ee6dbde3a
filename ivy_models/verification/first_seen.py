"""The record of the published files that were verified first, kept in the cache folder.

A published file has no known checksum, but its address should always give the same bytes.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ivy_models.base.atomic_files import replaced
from ivy_models.base.cache import cache_folder
from ivy_models.checkpoints.files import read_json
from ivy_models.verification.checks import Check, right, wrong

RECORD = "first_seen.json"


class Seen(NamedTuple):
    """A file under an address: its size in bytes, and its checksum."""

    url: str
    size: int
    sha256: str


def check_first_seen(file: Seen, accept_changed: bool) -> Check:
    """Compare a file with the one that was recorded for its address.

    Parameters
    ----------
    file
        The file at hand.
    accept_changed
        Whether another file than the recorded one is right.

    Raises
    ------
    WeightsError
        If the record cannot be read.
    """
    recorded = _read().get(file.url)
    what = "first seen"
    if recorded is None:
        return right(what, "no file of this address was verified before")
    if recorded == _entry(file):
        return right(what, "the same file")
    if accept_changed:
        return right(what, f"accepted in place of another file, {recorded}")
    return wrong(
        what,
        f"another file, {recorded}, was verified before, says {cache_folder() / RECORD}. If you "
        "expect a change, pass accept_changed=True in Python, --accept-changed on the command "
        "line.",
    )


def record(file: Seen) -> None:
    """Record a file for its address, in place of any other.

    Raises
    ------
    WeightsError
        If the record cannot be read.
    OSError
        If it cannot be written.
    """
    from filelock import FileLock

    path = cache_folder() / RECORD
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{RECORD}.lock")):
        files = _read()
        if files.get(file.url) != _entry(file):
            with replaced(path) as temporary:
                text = json.dumps(files | {file.url: _entry(file)}, indent=2) + "\n"
                temporary.write_text(text, "utf-8")


def _read() -> dict[str, Any]:
    path = cache_folder() / RECORD
    return read_json(path) if path.exists() else {}


def _entry(file: Seen) -> dict[str, Any]:
    return {"bytes": file.size, "sha256": file.sha256}
