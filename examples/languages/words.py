"""Texts of random words, each as often as it is in general language."""

from __future__ import annotations

import random

from translations import language

LEFT_OUT = ("id", "ja", "ko", "ms", "sh", "zh")
"""Lists that are not used.

Bosnian, Croatian and Serbian share one ("sh"), the Malay one has many Indonesian words, and those
of Chinese, Japanese and Korean have parts of words.
"""

NUMBER = 160_000
"""Words of each language."""


def read_words() -> dict[str, list[str]]:
    """Texts of random words by language, from the frequencies of ``wordfreq``."""
    import wordfreq

    return {
        language(code): of_random_words(wordfreq.get_frequency_dict(code, "best"), NUMBER)
        for code in wordfreq.available_languages("small")
        if code not in LEFT_OUT
    }


def of_random_words(frequencies: dict[str, float], number: int) -> list[str]:
    """Texts of eight words that are drawn by their frequency; those with digits are left out."""
    own = {word: each for word, each in frequencies.items() if not any(map(str.isdigit, word))}
    words = random.Random(0).choices(list(own), list(own.values()), k=number)
    return [" ".join(words[i : i + 8]) for i in range(0, number, 8)]
