"""Texts and text files as tokens: their bytes."""

from __future__ import annotations

import codecs
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.base.fields import check_fields, named_fields, positive_int
from ivy_models.base.paths import user_path
from ivy_models.errors import InputError
from ivy_models.preprocessing.sources import is_file, name_of, named_errors, opened

SPECIAL_TOKENS = ("[PAD]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]")
"""Special tokens, which are 0 to 5. The token of a byte is the byte plus 6."""

PAD, BOS, EOS, MASK, CLS, SEP = range(len(SPECIAL_TOKENS))
NUM_SPECIAL = len(SPECIAL_TOKENS)

VOCABULARY_SIZE = 256 + NUM_SPECIAL
"""Number of different tokens."""

START = 1 << 16
"""Number of bytes by which UTF-16 is recognised."""

_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")


@named_fields
@dataclass(frozen=True)
class ByteTokenizer:
    """UTF-8 bytes to tokens and back (Perceiver IO, section 4.1).

    Special tokens are written by name in the text, such as ``"[MASK]"``. None is added.

    Parameters
    ----------
    max_length
        Maximum number of tokens, for which the model has positions.

    Raises
    ------
    SpecError
        If it is not an integer of at least 1.
    """

    max_length: int = 2048

    def __post_init__(self):
        check_fields(self, max_length=positive_int)

    def encode(self, text: str | bytes, truncate: bool = False) -> np.ndarray:
        """Turn a text into tokens.

        Parameters
        ----------
        text
            A string, or bytes, in which names of special tokens have no meaning.
        truncate
            Whether to truncate longer texts to ``max_length``.

        Returns
        -------
        numpy.ndarray
            Int32 (M,), one token for each byte or special token.

        Raises
        ------
        InputError
            If the text is empty or too long, or is not a str or bytes.
        """
        if isinstance(text, bytes):
            tokens = [byte + NUM_SPECIAL for byte in text]
        elif isinstance(text, str):
            tokens = _tokens(text)
        else:
            raise InputError(f"A text must be a str or bytes, got {type(text).__name__}.")
        if not tokens:
            raise InputError("The text is empty; expected at least one character.")
        if len(tokens) > self.max_length and not truncate:
            raise InputError(
                f"The text has {len(tokens)} bytes; the model takes {self.max_length}. Split it, "
                "or pass truncate=True to drop the end."
            )
        return np.array(tokens[: self.max_length], np.int32)

    def __call__(
        self, texts: Sequence[str | bytes], truncate: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Turn texts of different lengths into a batch, padded to the longest.

        Returns
        -------
        tuple of numpy.ndarray
            Tokens, int32 (B, M), and mask, booleans (B, M): True where a token is not padding.

        Raises
        ------
        InputError
            For the same reasons as :meth:`encode`.
        """
        if isinstance(texts, (str, bytes)) or not len(texts):
            raise InputError("Expected a list of at least one text. For a single text, use encode.")
        rows = [self.encode(text, truncate) for text in texts]
        tokens = np.full((len(rows), max(map(len, rows))), PAD, np.int32)
        for row, encoded in zip(tokens, rows, strict=True):
            row[: len(encoded)] = encoded
        lengths = np.array([len(row) for row in rows])
        return tokens, np.arange(tokens.shape[1]) < lengths[:, None]

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """Turn tokens (M,) into text, without padding.

        Invalid UTF-8 becomes the replacement character U+FFFD.

        Raises
        ------
        InputError
            If a number is not a token.
        """
        tokens = np.asarray(tokens)
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise InputError(
                f"Expected tokens (M,), integers; got shape {tokens.shape}, {tokens.dtype}."
            )
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < 256 + NUM_SPECIAL:
            raise InputError(
                f"Tokens must be from 0 to {255 + NUM_SPECIAL}, got {tokens.min()} to "
                f"{tokens.max()}."
            )
        pieces = [
            bytes([token - NUM_SPECIAL]) if token >= NUM_SPECIAL else SPECIAL_TOKENS[token].encode()
            for token in tokens.tolist()
            if token != PAD
        ]
        return b"".join(pieces).decode("utf-8", errors="replace")


def _tokens(text: str) -> list[int]:
    tokens: list[int] = []
    for piece in _SPECIAL.split(text):
        if piece in SPECIAL_TOKENS:
            tokens.append(SPECIAL_TOKENS.index(piece))
        else:
            # A lone surrogate, which UTF-8 cannot encode, becomes "?".
            tokens += (byte + NUM_SPECIAL for byte in piece.encode("utf-8", errors="replace"))
    return tokens


class TextTokens(ABC):
    """Base class of what turns texts and text files into a fixed number of tokens."""

    vocabulary_size: int
    """Number of different tokens."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """M, the tokens of a text."""

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Turn strings, which may be empty, into tokens and mask (B, M)."""

    def __call__(self, texts: Any) -> tuple[np.ndarray, np.ndarray]:
        """Prepare one text, or a list of texts.

        Parameters
        ----------
        texts
            A string; or a text file, as a path (``pathlib.Path``), an open file or its bytes, in
            UTF-8, UTF-16, UTF-32 or Windows-1252. Or a list of these. Names of special tokens have
            no meaning.

        Returns
        -------
        tuple of numpy.ndarray
            Tokens, int32 (M,), and mask, booleans (M,): True where a token is not padding. For a
            list, each has the batch axis B first.

        Raises
        ------
        InputError
            If a text is empty, or is neither a string nor a text file. The message names the file,
            if there is one.
        """
        if isinstance(texts, (list, tuple)):
            if not texts:
                raise InputError("Expected at least one text, got an empty list.")
            return self.tokens([read_text(text) for text in texts])
        tokens, mask = self.tokens([read_text(texts)])
        return tokens[0], mask[0]

    def can_open(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file is a text: whether it begins with text in one of the encodings.

        Files that cannot be read count, because reading them reports the fault.
        """
        try:
            with open(user_path(path), "rb") as file:
                start = file.read(4096)
        except OSError:
            return True
        return wide_encoding(start) is not None or b"\0" not in start


@named_fields
@dataclass(frozen=True)
class TextPreprocessing(TextTokens):
    """Truncate or pad the UTF-8 bytes of a text to a fixed number of tokens.

    Parameters
    ----------
    max_length
        M, tokens of the model's data.

    Raises
    ------
    SpecError
        If it is not an integer of at least 1.
    """

    max_length: int

    vocabulary_size = VOCABULARY_SIZE

    def __post_init__(self):
        check_fields(self, max_length=positive_int)

    @property
    def num_tokens(self) -> int:
        return self.max_length

    def tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.full((len(texts), self.max_length), PAD, np.int32)
        mask = np.zeros(tokens.shape, bool)
        for row, seen, text in zip(tokens, mask, texts, strict=True):
            # A character has at least one byte. A lone surrogate becomes "?".
            encoded = text[: self.max_length].encode("utf-8", errors="replace")[: self.max_length]
            row[: len(encoded)] = np.frombuffer(encoded, np.uint8).astype(np.int32) + NUM_SPECIAL
            seen[: len(encoded)] = True
        return tokens, mask


def read_text(source: Any) -> str:
    """Read a text, or a text file."""
    if isinstance(source, str):
        text, name = source, "The text"
    elif is_file(source):
        with named_errors(source, "text"):
            file = opened(source)
            content = Path(file).read_bytes() if isinstance(file, str) else file.getvalue()
            text, name = decode_text(content), name_of(source, "text")
    else:
        raise InputError(f"A text must be a string or a text file, got {type(source).__name__}.")
    if not text.strip():
        raise InputError(f"{name} is empty; expected at least one character.")
    return text


def decode_text(content: bytes) -> str:
    """Decode the bytes of a text file.

    Raises
    ------
    InputError
        If it is not a text.
    """
    encoding = encoding_of(content)
    if encoding in ("utf-8-sig", "cp1252") and b"\0" in content:
        raise InputError("it is not a text: it holds bytes of 0.")
    return content.decode(encoding, errors="replace")


def encoding_of(content: bytes) -> str:
    """The encoding of a text: UTF-16 or UTF-32, UTF-8, or else Windows-1252."""
    if (wide := wide_encoding(content[:START])) is not None:
        return wide
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def wide_encoding(start: bytes) -> str | None:
    """UTF-16 or UTF-32, by the first bytes of a text; None for an encoding in single bytes.

    Without a byte order mark it is UTF-16 if most characters are Latin: every second byte is 0.
    """
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = start[::2], start[1::2]
    for encoding, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if len(high) == len(low) < 2 * high.count(0) and 0 not in low:
            return encoding
    return None
