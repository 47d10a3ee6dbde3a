"""The files of a folder, by kind."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ivy_models.errors import InputError

SUFFIXES = {
    "image": (
        ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .qoi .tga .tif .tiff "
        ".webp"
    ),
    "sound": (
        ".aac .aif .aifc .aiff .au .flac .m4a .mka .mp2 .mp3 .oga .ogg .opus .wav .weba .wma"
    ),
    "text": ".htm .html .md .rst .text .txt .xml",
    "table": ".csv .tsv .tab .json .jsonl .ndjson .parquet",
}
"""How names of files end, by kind."""

KIND_OF_SUFFIX = {
    suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes.split()
}


ADVICE = {
    ".7z .gz .rar .tar .tgz .zip .zst": " Unpack it, and name the folder or the table.",
    ".ods .xls .xlsb .xlsm .xlsx": " Save the sheet as CSV.",
    ".arrow .avro .db .dta .feather .h5 .hdf5 .mat .npy .npz .orc .pickle .pkl .rda .rds .sas7bdat "
    ".sav .sqlite .sqlite3": " Save the table as CSV or Parquet.",
    ".arw .cr2 .dng .heic .heif .nef .psd .svg": " Save images of this kind as PNG or JPEG.",
    ".doc .docx .odt .pdf .rtf": " Save documents of this kind as texts (.txt).",
}
"""What to do with other files, by the ends of their names."""

OF_SYSTEMS = (
    "$RECYCLE.BIN",
    "@eaDir",
    "System Volume Information",
    "Thumbs.db",
    "__MACOSX",
    "desktop.ini",
    "lost+found",
)
"""Files and folders that operating systems and servers add to those of their users."""

COMPRESSIONS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""How the names of compressed tables end, and what opens them."""


def suffix_of(name: str | Path) -> str:
    """How a file's name ends, in lower case; for a compressed table, how the table's own ends."""
    inner, suffix = os.path.splitext(os.fspath(name).lower())
    own = os.path.splitext(inner)[1]
    return own if suffix in COMPRESSIONS and KIND_OF_SUFFIX.get(own) == "table" else suffix


def open_file(file: Path, mode: str = "rb", **options: Any) -> Any:
    """Open a file, and decompress it if its name says that it is compressed."""
    return COMPRESSIONS.get(file.suffix.lower(), open)(file, mode, **options)


def kind_of(name: str | Path) -> str | None:
    """The kind of a file by its name: "image", "sound", "text", "table" or None."""
    return KIND_OF_SUFFIX.get(suffix_of(name))


def advice_on(name: str | Path) -> str:
    """A sentence after a space about a file that cannot be read, or an empty text."""
    suffix = suffix_of(name)
    return next((advice for ends, advice in ADVICE.items() if suffix in ends.split()), "")


def list_folder(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders, sorted, without hidden ones and those of systems.

    Links are followed; broken ones are files that cannot be read.

    Raises
    ------
    InputError
        If there are none, or the folder cannot be read.
    """
    try:
        files = sorted(_files(folder))
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    if not files:
        raise InputError(f"The folder {folder} has no files.")
    return files


def _files(folder: Path, parents: tuple[str, ...] = ()) -> Iterator[Path]:
    parents = (*parents, os.path.realpath(folder))
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name in OF_SYSTEMS:
            continue
        if path.is_file() or not path.exists():
            yield path
        elif path.is_dir() and os.path.realpath(path) not in parents:  # no endless circle of links
            yield from _files(path, parents)


def most_frequent_kind(folder: Path, files: Iterable[Path]) -> str:
    """The kind that most files of a folder have: "image", "sound" or "text".

    Raises
    ------
    InputError
        If no file has one of these kinds.
    """
    files = list(files)
    kinds = Counter(kind for file in files if (kind := kind_of(file)) not in (None, "table"))
    if not kinds:
        raise InputError(
            f"The folder {folder} has no images, sounds, texts or tables, but "
            f"{named([file.relative_to(folder) for file in files])}. Names must end as in a.png, "
            f"a.wav, a.txt or a.csv.{advice_on(files[0])}"
        )
    return kinds.most_common(1)[0][0]


def readable(path: str | Path) -> str:
    """A path as a text that can be written; bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def named(names: Sequence[object], limit: int = 3) -> str:
    """Names for a message: the first few, and the number of the others."""
    shown = ", ".join(map(str, names[:limit]))
    return f"{shown} and {len(names) - limit:,} more" if len(names) > limit else shown


def counted(items: Collection[object], noun: str) -> str:
    """Number of items with their noun: "1 file" or "2 files"."""
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 's'}"
