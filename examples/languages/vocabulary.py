"""The n-grams that tell most about the language of a text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ivy_models.preprocessing import NgramPreprocessing

LEAST = 6
"""Least number of times that an n-gram occurs."""

ROWS = 10_000
"""Number of n-grams that are compared at once."""

PRIOR = 2.0
"""Weight, as a number of occurrences, of the languages of an n-gram's beginning and end."""


def informative_ngrams(
    prepare: NgramPreprocessing, texts: Sequence[str], classes: Sequence[int], number: int
) -> list[str]:
    """The n-grams that tell most, the first one most.

    An n-gram tells how much more probable it makes the languages of its occurrences than its
    beginning or its end, of n - 1 characters, already does: a sequence of Georgian letters tells
    little, since each letter tells the language.

    Parameters
    ----------
    prepare
        What reads the n-grams, of n characters from 1 on without a gap.
    texts
        Texts.
    classes
        The number of each text's language.
    number
        How many n-grams.
    """
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for text, label in zip(texts, classes, strict=True):
        counts[int(label)].update(prepare.ngrams(text))
    total: Counter[str] = Counter()
    for own in counts.values():
        total.update(own)
    found = sorted(ngram for ngram, count in total.items() if count >= LEAST)
    place = {ngram: row for row, ngram in enumerate(found)}
    seen = np.zeros((len(found), len(counts)), np.float32)
    for column, own in enumerate(counts.values()):
        for ngram, count in own.items():
            if ngram in place:
                seen[place[ngram], column] = count
    shares = (seen + PRIOR / len(counts)) / (seen.sum(1, keepdims=True) + PRIOR)
    gains = np.minimum(
        gain_over(seen, shares, [place.get(ngram[1:], -1) for ngram in found]),
        gain_over(seen, shares, [place.get(ngram[:-1], -1) for ngram in found]),
    )
    return [found[row] for row in np.argsort(-gains, kind="stable")[:number]]


def gain_over(seen: np.ndarray, shares: np.ndarray, parts: list[int]) -> np.ndarray:
    """How much more probable n-grams make their languages (N, L) than a part of each does.

    Parameters
    ----------
    seen, shares
        How often each n-gram occurs in each language, and the languages' shares of it (N, L).
    parts
        The place of each n-gram's part (N,), -1 for an empty one.
    """
    gains = np.zeros(len(seen))
    for rows in np.array_split(np.arange(len(seen)), 1 + len(seen) // ROWS):
        part = np.array(parts)[rows, None]
        before = np.where(part < 0, 1 / shares.shape[1], shares[part[:, 0]])
        own = (seen[rows] + PRIOR * before) / (seen[rows].sum(1, keepdims=True) + PRIOR)
        gains[rows] = (seen[rows] * np.log(own / before)).sum(1)
    return gains
