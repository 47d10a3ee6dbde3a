"""Texts as n-grams: the short sequences of characters that they contain."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ivy_models.base.fields import check_fields, named_fields, positive_int, sizes
from ivy_models.preprocessing.text import TextTokens

PAD = 0
"""The token of positions without an n-gram, which the mask hides."""

ETHIOPIC_SPACE = "\u1361"
"""A sign between words, such as those of Amharic, where others have a space."""


@named_fields
@dataclass(frozen=True)
class NgramPreprocessing(TextTokens):
    """Turn a text into tokens for its n-grams, sequences of n characters, by a hash.

    An n-gram says more than a byte: a model that reads n-grams learns from short texts much faster,
    and a small one is enough. There is a token for each place in the text and each n, in this
    order. The text is in lower case, in Unicode's form NFC, with a single space between words and
    one at each end. Different n-grams may have the same token.

    Parameters
    ----------
    max_characters
        Characters of a text that are read. Longer texts are truncated.
    sizes
        The numbers n of characters.
    vocabulary_size
        V, the number of different tokens.

    Raises
    ------
    SpecError
        If a field is not of integers of at least 1.

    Examples
    --------
    >>> from ivy_models.preprocessing import NgramPreprocessing
    >>> tokens, mask = NgramPreprocessing(4, sizes=[2], vocabulary_size=100)("Aha")
    >>> tokens.tolist(), mask.tolist()
    ([37, 90, 59, 49, 0, 0], [True, True, True, True, False, False])
    """

    max_characters: int
    sizes: Sequence[int] = (2, 3, 4)
    vocabulary_size: int = 1 << 15

    def __post_init__(self):
        check_fields(self, max_characters=positive_int, sizes=sizes, vocabulary_size=positive_int)

    @property
    def num_tokens(self) -> int:
        return self._num_places * len(self.sizes)

    @property
    def _num_places(self) -> int:
        """Places at which an n-gram may begin: the characters and the spaces around them."""
        return self.max_characters + 2

    def tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Turn strings, which may be empty, into tokens and mask (B, M)."""
        # A lone surrogate becomes "?".
        encoded = [self.normalised(text).encode("utf-32-le", errors="replace") for text in texts]
        lengths = np.array([len(each) // 4 for each in encoded])
        places = self._num_places
        characters = np.zeros((len(texts), places + max(self.sizes)), np.uint32)
        for row, each in zip(characters, encoded, strict=True):
            row[: len(each) // 4] = np.frombuffer(each, np.uint32)
        starts = np.arange(places)
        mask = np.stack([starts + size <= lengths[:, None] for size in self.sizes], -1)
        hashes = np.stack([_hashes(characters, size, places) for size in self.sizes], -1)
        tokens = np.where(mask, hashes % np.uint32(self.vocabulary_size), PAD)
        return tokens.reshape(len(texts), -1).astype(np.int32), mask.reshape(len(texts), -1)

    def normalised(self, text: str) -> str:
        """The text whose n-grams are read, or an empty one."""
        # Only these characters are normalised, whatever the length of the text.
        start = " ".join(text[: 4 * self.max_characters].replace(ETHIOPIC_SPACE, " ").split())
        words = unicodedata.normalize("NFC", start.lower())[: self.max_characters]
        return f" {words} " if words else ""


def _hashes(characters: np.ndarray, size: int, places: int) -> np.ndarray:
    """Hashes (B, places) of the sequences of ``size`` characters that begin at each place."""
    found = np.full((len(characters), places), size, np.uint32)
    for offset in range(size):
        found = (found * np.uint32(0x01000193)) ^ characters[:, offset : offset + places]
        found *= np.uint32(0x9E3779B1)
        found ^= found >> np.uint32(15)
    found *= np.uint32(0x85EBCA6B)
    return found ^ (found >> np.uint32(13))
