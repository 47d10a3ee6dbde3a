"""Tokens of the language model: the bytes of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ivy_models.base.fields import check_fields, named_fields, positive_int
from ivy_models.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]")
"""Special tokens, which are 0 to 5. The token of a byte is the byte plus 6."""

PAD, BOS, EOS, MASK, CLS, SEP = range(len(SPECIAL_TOKENS))
NUM_SPECIAL = len(SPECIAL_TOKENS)

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
