"""Sentences by language, from the translations in Debian's packages."""

from __future__ import annotations

import gettext
import gzip
import html
import json
import re
import struct
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import pairwise
from pathlib import PurePosixPath

Sentences = Iterator[tuple[str, str]]
"""Pairs of a language's code and a sentence."""

CODES = {
    "arn": "arn",
    "ca-valencia": "ca",
    "en@shaw": "en@shaw",  # English in Shavian letters
    "fil": "tl",
    "iw": "he",
    "kmr": "ku",
    "nb-no": "nb",
    "nds-nl": "nds-nl",  # written as Dutch is, unlike Low German
    "nn-no": "nn",
    "no": "nb",
    "sr-latn": "sr",
    "zh-cn": "zh",
    "zh-tw": "zh",
}
"""Codes of translations that are not a language and a country; the others lose their country."""

PLACEHOLDERS = re.compile(
    r"\{[^{}]*\}|<[^<>]*>|&\w+;|%\d*\$?[-+#0]*\d*(?:ld|lu|zu|[a-zA-Z%])|\$\(?\w+\)?|#\d|[_~&](?=\w)"
    r"|https?://\S+|\\[a-zA-Z]"
)
"""What a program replaces, markup, and marks of keyboard shortcuts."""

LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
"""A link of a wiki, ``[[page|text]]``."""

AROUND = " \"'\u201c\u201d.,;:-\u2013\u2026()[]*=|/\\"
"""What is cut off both ends of a sentence: quotation marks, dashes and other punctuation."""

LETTERS = frozenset(
    letter
    for letter in map(chr, range(sys.maxunicode + 1))
    if letter == " " or unicodedata.category(letter)[0] in "LM"
)
"""Letters and spaces. Marks (M) are parts of letters in many scripts, such as vowels of Hindi."""


def language(code: str) -> str:
    """The language of a translation's code, such as "pt" for "pt-BR"."""
    code = code.lower().replace("_", "-")
    if code in CODES:
        return CODES[code]
    code = re.split("[-@]", code)[0]
    return CODES.get(code, code)


def read_package(path) -> Sentences:
    """Read the sentences of a Debian package."""
    archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, capture_output=True)
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        for member in tar:
            if member.isfile() and (reader := reader_of(PurePosixPath(member.name))):
                yield from reader(PurePosixPath(member.name), tar.extractfile(member).read())


def reader_of(path: PurePosixPath):
    """The reader of a file, or None for files without translations."""
    if path.suffix == ".xpi" and path.name.startswith("langpack-"):
        return read_language_pack
    if path.suffix == ".mo" and path.parent.name in ("LC_MESSAGES", "languages"):
        return read_catalogue
    if path.suffix == ".qm" and "translations" in path.parts:
        return read_qt_catalogue
    if path.suffix == ".pak" and path.parent.name == "locales":
        return read_data_pack
    if path.suffix == ".json" and "i18n" in path.parts:
        return read_messages
    if path.suffix == ".html" and "help" in path.parts:
        return read_help
    if path.suffix == ".gz" and "man" in path.parts and path.parent.name.startswith("man"):
        return read_manual
    return None


def read_language_pack(path: PurePosixPath, content: bytes) -> Sentences:
    """Read Mozilla's Fluent and properties files: ``name = text``, continued by indented lines."""
    code = language(path.name.removeprefix("langpack-").split("@")[0])
    with zipfile.ZipFile(BytesIO(content)) as pack:
        for name in pack.namelist():
            if name.endswith((".ftl", ".properties")):
                text = pack.read(name).decode("utf-8", "ignore")
                text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
                for line in text.splitlines():
                    if line.startswith("#"):
                        continue
                    match = re.match(r"(?:\s*\.?[\w.\-]+\s*=|\s*\*?\[[^\]]*\]|\s+(?=\S))(.*)", line)
                    if match:
                        yield code, match[1]


def read_catalogue(path: PurePosixPath, content: bytes) -> Sentences:
    """Read a gettext catalogue: translations and their English.

    Its path is ``CODE/LC_MESSAGES/NAME.mo``, or ``languages/CODE.mo`` in WordPress.
    """
    code = language(path.stem if path.parent.name == "languages" else path.parent.parent.name)
    try:
        catalogue = gettext.GNUTranslations(BytesIO(content))
    except (OSError, IndexError, UnicodeDecodeError, ValueError):
        return
    for key, text in catalogue._catalog.items():
        original = (key[0] if isinstance(key, tuple) else key).split("\x04")[-1]
        if original and text != original:
            yield from ((code, line) for line in text.splitlines())
            yield from (("en", line) for line in original.splitlines())


def read_qt_catalogue(path: PurePosixPath, content: bytes) -> Sentences:
    """Read the sentences of a Qt catalogue, ``CODE.qm`` or ``PROGRAM_CODE.qm``.

    It is a sequence of sections, each with a kind and a size. That of the messages is one of tags,
    each with a kind, a size and a text. Most short texts are names, such as those of stars.
    """
    code = language(path.stem.removeprefix("gcompris_"))
    for kind, messages in sections(content[16:], {}):
        if kind == 0x69:
            for tag, text in sections(messages, {1: 0, 5: 4}):
                if tag == 3 and text.count(b"\0 ") > 2:
                    for line in text.decode("utf-16-be", "ignore").splitlines():
                        yield code, line


def sections(content: bytes, sizes: Mapping[int, int]) -> Iterator[tuple[int, bytes]]:
    """Kinds and contents of sections; ``sizes`` are those of kinds that are written without one."""
    at = 0
    while at < len(content):
        kind, at = content[at], at + 1
        size = sizes.get(kind)
        if size is None:
            (size,), at = struct.unpack_from(">I", content, at), at + 4
            size = 0 if size == 0xFFFFFFFF else size
        yield kind, content[at : at + size]
        at += size


def read_data_pack(path: PurePosixPath, content: bytes) -> Sentences:
    """Read Chromium's messages, ``locales/CODE.pak``: a table of places in a text in UTF-8."""
    code = language(path.stem)
    version, encoding, number = struct.unpack_from("<IIH", content)
    if version != 5 or encoding != 1:
        return
    table = struct.iter_unpack("<HI", content[12 : 12 + 6 * (number + 1)])
    places = [place for _, place in table]
    for start, end in pairwise(places):
        for line in content[start:end].decode("utf-8", "ignore").splitlines():
            yield code, line


def read_messages(path: PurePosixPath, content: bytes) -> Sentences:
    """Read MediaWiki's messages, ``i18n/CODE.json``."""
    for text in json.loads(content).values():
        if isinstance(text, str):
            text = LINK.sub(r"\1", text).replace("''", "")
            yield from ((language(path.stem), line) for line in text.splitlines())


def read_help(path: PurePosixPath, content: bytes) -> Sentences:
    """Read the paragraphs of LibreOffice's help, ``help/CODE/text/...``."""
    code = language(path.parts[path.parts.index("help") + 1])
    for paragraph in re.findall(r"<p [^>]*>(.*?)</p>", content.decode("utf-8", "ignore"), re.S):
        yield code, html.unescape(re.sub(r"<[^>]*>", "", paragraph))


def read_manual(path: PurePosixPath, content: bytes) -> Sentences:
    """Read the paragraphs of a manual page, ``man/CODE/man1/NAME.gz``."""
    folder = path.parent.parent.name
    if folder == "man":
        return
    text = gzip.decompress(content).decode("utf-8", "ignore")
    text = re.sub(r'^[.\'](?:\\"|[A-Zdinsft]).*$', "", text, flags=re.M)
    text = re.sub(r"\\f(?:\[\w*\]|\(?\w)|\\[&/,|^%]", "", text).replace("\\-", "-")
    for paragraph in text.split("\n\n"):
        yield language(folder), paragraph


def cleaned(text: str) -> str | None:
    """A sentence without placeholders, or None if there is too little text."""
    text = " ".join(PLACEHOLDERS.sub(" ", text).split()).strip(AROUND)
    letters = sum(map(LETTERS.__contains__, text))
    is_text = letters > 0.75 * len(text) and len(text.encode()) >= 12 and "\\" not in text
    return text if is_text else None
