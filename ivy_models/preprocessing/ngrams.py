"""Texts as n-grams: the short sequences of characters that they contain."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ivy_models.base.fields import check_fields, named_fields, positive_int, sizes, texts
from ivy_models.errors import SpecError
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
    one at each end. Different n-grams may have the same token, unless they are among the frequent.

    Parameters
    ----------
    max_characters
        Characters of a text that are read. Longer texts are truncated.
    sizes
        The numbers n of characters.
    vocabulary_size
        V, the number of different tokens.
    frequent
        F < V n-grams of such a text, each with a token of its own, from V - F on. The others share
        the first V - F tokens. :meth:`with_most_frequent` finds them.

    Raises
    ------
    SpecError
        If sizes and vocabulary_size are not integers of at least 1, or if frequent has an n-gram
        twice, one of another size, or as many as there are tokens.

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
    frequent: Sequence[str] = field(default=(), repr=False)

    def __post_init__(self):
        check_fields(
            self,
            max_characters=positive_int,
            sizes=sizes,
            vocabulary_size=positive_int,
            frequent=texts,
        )
        if wrong := [ngram for ngram in self.frequent if len(ngram) not in self.sizes]:
            expected = " or ".join(map(str, self.sizes))
            raise SpecError(
                f"frequent must have n-grams of {expected} characters, got {wrong[0]!r}."
            )
        if len(set(self.frequent)) < len(self.frequent):
            twice = Counter(self.frequent).most_common(1)[0][0]
            raise SpecError(f"frequent has the n-gram {twice!r} twice.")
        if len(self.frequent) >= self.vocabulary_size:
            raise SpecError(
                f"frequent has {len(self.frequent):,} n-grams; expected fewer than "
                f"vocabulary_size={self.vocabulary_size:,}, because the others share the rest."
            )

    @property
    def num_tokens(self) -> int:
        return self._num_places * len(self.sizes)

    @property
    def _num_places(self) -> int:
        """Places at which an n-gram may begin: the characters and the spaces around them."""
        return self.max_characters + 2

    def tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Turn strings, which may be empty, into tokens and mask (B, M)."""
        places = self._num_places
        characters, lengths = _codes(list(map(self.normalised, texts)), places + max(self.sizes))
        starts = np.arange(places)
        mask = np.stack([starts + size <= lengths[:, None] for size in self.sizes], -1)
        hashes = np.stack([_hashes(characters, size, places) for size in self.sizes], -1)
        tokens = np.full(mask.shape, PAD, np.int32)
        tokens[mask] = self._tokens_of(hashes[mask])
        return tokens.reshape(len(texts), -1), mask.reshape(len(texts), -1)

    def _tokens_of(self, hashes: np.ndarray) -> np.ndarray:
        shared = np.uint32(self.vocabulary_size - len(self.frequent))
        if not self.frequent:
            return hashes % shared
        known, order = self._hashes_of_frequent
        nearest = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        return np.where(known[nearest] == hashes, shared + order[nearest], hashes % shared)

    @functools.cached_property
    def _hashes_of_frequent(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted hashes (F,) of the frequent n-grams, and their places among them."""
        characters, lengths = _codes(self.frequent, max(self.sizes))
        hashes = np.zeros(len(lengths), np.uint32)
        for size in self.sizes:
            own = lengths == size
            hashes[own] = _hashes(characters[own], size, 1)[:, 0]
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order.astype(np.uint32)

    def with_most_frequent(self, texts: Sequence[str], number: int) -> NgramPreprocessing:
        """This preprocessing, in which the most frequent n-grams have tokens of their own.

        Parameters
        ----------
        texts
            The strings to count in, such as those of the training.
        number
            F < V, how many n-grams.

        Returns
        -------
        NgramPreprocessing
            One with ``frequent``, the most frequent first.

        Raises
        ------
        SpecError
            If the number is not an integer of at least 1, or not below V.
        """
        number = positive_int("number", number)
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(self.ngrams(text))
        ordered = sorted(counts, key=lambda ngram: (-counts[ngram], ngram))
        return replace(self, frequent=ordered[:number])

    def ngrams(self, text: str) -> Iterator[str]:
        """The n-grams of a text, each as often as it has them."""
        text = self.normalised(text)
        for size in self.sizes:
            yield from (text[at : at + size] for at in range(len(text) - size + 1))

    def normalised(self, text: str) -> str:
        """The text whose n-grams are read, or an empty one."""
        # Only these characters are normalised, whatever the length of the text.
        start = " ".join(text[: 4 * self.max_characters].replace(ETHIOPIC_SPACE, " ").split())
        words = unicodedata.normalize("NFC", start.lower())[: self.max_characters]
        return f" {words} " if words else ""


def _codes(texts: Sequence[str], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Code points (B, width) of texts, followed by zeros, and numbers of characters (B,)."""
    codes = np.zeros((len(texts), width), np.uint32)
    for row, text in zip(codes, texts, strict=True):
        # A lone surrogate becomes "?".
        encoded = np.frombuffer(text.encode("utf-32-le", errors="replace"), np.uint32)
        row[: len(encoded)] = encoded
    return codes, np.array([len(text) for text in texts])


def _hashes(characters: np.ndarray, size: int, places: int) -> np.ndarray:
    """Hashes (B, places) of the sequences of ``size`` characters that begin at each place."""
    found = np.full((len(characters), places), size, np.uint32)
    for offset in range(size):
        found = (found * np.uint32(0x01000193)) ^ characters[:, offset : offset + places]
        found *= np.uint32(0x9E3779B1)
        found ^= found >> np.uint32(15)
    found *= np.uint32(0x85EBCA6B)
    return found ^ (found >> np.uint32(13))
