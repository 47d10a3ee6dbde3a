"""Limits and errors that all readers of weights and configurations share."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ivy_models.errors import WeightsError, shown

MAX_BYTES_VARIABLE = "IVY_MODELS_MAX_BYTES"
"""Environment variable: upper bound on the bytes of a weights file, or of all its shards."""

MAX_BYTES = 4 << 30
"""Default of that bound. The largest published file has 0.8 GB."""

MAX_JSON_BYTES = 4 << 20
"""Upper bound on the bytes of a configuration or an index. As objects they take 25 times that."""


class RefusedError(Exception):
    """A file asks for something that weights do not need."""


def check_size(paths: Iterable[str | os.PathLike[str]]) -> int:
    """Check that weights files are regular files, and together not larger than the limit.

    Returns
    -------
    int
        Their total size in bytes.

    Raises
    ------
    WeightsError
        If they are not. The message names the first file at fault.
    """
    limit = os.environ.get(MAX_BYTES_VARIABLE) or str(MAX_BYTES)
    if not limit.isdecimal():
        raise WeightsError(f"{MAX_BYTES_VARIABLE} must be a whole number of bytes, got {limit!r}.")
    total = 0
    for path in paths:
        total += _file_size(path)
        if total > int(limit):
            raise WeightsError(
                f"{path} has {total:,} bytes, including the shards before it, if any; "
                f"{int(limit):,} are allowed. If you trust it, set {MAX_BYTES_VARIABLE}={total}."
            )
    return total


def _file_size(path: str | os.PathLike[str]) -> int:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}.") from error
    if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
        raise WeightsError(f"{path} is not a regular file.")
    return status.st_size


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    WeightsError
        If the file cannot be read, is too large, or holds anything else.
    """
    return parse_json(read_json_bytes(path), path)


def read_json_bytes(path: Path) -> bytes:
    """Read the content of a JSON file without parsing it.

    Raises
    ------
    WeightsError
        If the file cannot be read or is too large.
    """
    if (size := _file_size(path)) > MAX_JSON_BYTES:
        raise WeightsError(f"{path} has {size:,} bytes; JSON files may have {MAX_JSON_BYTES:,}.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}.") from error


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """Parse the content of a JSON file; ``path`` is for error messages.

    Raises
    ------
    WeightsError
        If it is not a JSON object.
    """
    try:
        values = json.loads(content.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read: {error}.") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path} must be a JSON object, got {type(values).__name__}.")
    return values


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name with two values, because readers differ in which one they use."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{shown(name)} is in it twice")
        values[name] = value
    return values
