"""ONNX files of models: their metadata, and a seal that shows damage.

The seal is the file's last entry of metadata: the version of these rules, and the SHA-256 of all
bytes before it. ONNX is protobuf, in which an entry that is appended to a file belongs to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ivy_models.base.paths import user_path
from ivy_models.checkpoints.files import check_size
from ivy_models.errors import WeightsError

CONFIG = "ivy_models.config"
"""Key of the metadata with the model's description: the text of a folder's config.json."""

SEAL = b"ivy_models.seal.1"
"""Key of the metadata with the seal. It ends with the version of the rules that the file follows:
the metadata, and the names and the meaning of the graph's inputs and outputs."""

_MAX_KEY = 64


def write_sealed(path: Path, content: Iterable[bytes]) -> None:
    """Write the parts of an ONNX file, and the seal."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in content:
            digest.update(part)
            file.write(part)
        file.write(_seal(digest.hexdigest()))


def read_sealed(path: str | Path) -> bytes:
    """Read a file that was written with a seal.

    Raises
    ------
    WeightsError
        If it cannot be read, has no seal, has one of another version, or was changed or damaged
        after it was written.
    """
    path = user_path(path)
    check_size([path])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    body = memoryview(content)[:-_LENGTH]
    if content[-_LENGTH:] == _seal(hashlib.sha256(body).hexdigest()):
        return content
    family = SEAL.rpartition(b".")[0]
    end = content[-_LENGTH - _MAX_KEY :]
    if family in end and SEAL not in end:
        raise WeightsError(
            f"{path} was exported by a version of this library with another format of ONNX files. "
            "Export the model again with this version."
        )
    raise WeightsError(
        f"{path} is not an ONNX file that this library exported, or it is incomplete, damaged or "
        "was changed. Export the model again with model.to_onnx or `ivy-models export`."
    )


def _seal(digest: str) -> bytes:
    """An entry of ModelProto.metadata_props (field 14): key (field 1) and value (field 2)."""
    value = digest.encode()
    entry = b"\x0a" + bytes([len(SEAL)]) + SEAL + b"\x12" + bytes([len(value)]) + value
    return b"\x72" + bytes([len(entry)]) + entry


_LENGTH = len(_seal(hashlib.sha256().hexdigest()))
