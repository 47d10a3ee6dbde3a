"""Texts of random words, each as often as it is in general language."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from translations import language

LEFT_OUT = ("ja", "ko", "zh")
"""Lists that have parts of words."""

SHARED = {"sh": ("bs", "hr")}
"""Languages that share a list."""

NUMBER = 160_000
"""Words of each language."""


def read_words(sentences: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Texts of random words by language, from the frequencies of ``wordfreq``.

    Some lists have words of a close language, such as Indonesian ones in the Malay list. So a word
    is left out if the sentences of another language have it, but those of its own do not.
    """
    import wordfreq

    own = {each: words_of(texts) for each, texts in sentences.items()}
    known = set().union(*own.values())
    found = {}
    for code in sorted(set(wordfreq.available_languages("small")) - set(LEFT_OUT)):
        frequencies = wordfreq.get_frequency_dict(code, "best")
        for each in SHARED.get(code, (language(code),)):
            if each in own:
                usable = own[each] | (frequencies.keys() - known)
                found[each] = of_random_words(frequencies, usable, NUMBER)
    return found


def words_of(sentences: Sequence[str]) -> set[str]:
    """The words of sentences in lower case."""
    return set(re.findall(r"\w+", " ".join(sentences).lower()))


def of_random_words(frequencies: dict[str, float], usable: set[str], number: int) -> list[str]:
    """Texts of eight usable words, without digits, that are drawn by their frequency."""
    own = {
        word: each
        for word, each in frequencies.items()
        if word in usable and not any(map(str.isdigit, word))
    }
    words = random.Random(0).choices(list(own), list(own.values()), k=number)
    return [" ".join(words[i : i + 8]) for i in range(0, number, 8)]
