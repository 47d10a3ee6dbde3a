"""Cut translations into short pieces of text with their language: the data of the languages model.

    python examples/languages/pieces.py PACKAGES --output /tmp/languages

PACKAGES is a folder with the Debian packages that ``packages.txt`` names. The output folder gets
``train.csv`` and ``validation.csv`` for ``ivy-models train``. The pieces for validation come from
a game, Wesnoth, from WordPress and from Stellarium, a planetarium, and, for languages without
these, from sentences held out.
The folder ``sizes`` gets pieces of Wesnoth of equal sizes, to measure the accuracy by size, and
the folder ``unknown`` pieces of languages that are left out, to measure a threshold.
"""

import argparse
import csv
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from translations import cleaned, read_package
from words import read_words

Sources = dict[str, dict[str, set[str]]]
"""Sentences by language and by source, the first two words of a package's name."""

HELD_OUT = ("stellarium-data", "wesnoth-1.16", "wordpress-l10n")
"""Sources that training never sees: stars and a game, unlike the texts of programs, and pages."""

ADDITIONAL = (
    *("chromium-l10n", "freeciv-data", "gcompris-qt", "kalzium-data", "kstars-data"),
    *("marble-data", "mediawiki", "step", "tuxpaint-data"),
)
"""Sources of many languages, of which those that the others have as well are learned."""

LEFT_OUT = (
    *("ach", "an", "brx", "cak", "co", "dz", "ff", "gug", "ia", "ks", "lij", "mai", "nr", "racv"),
    *("sat", "sc", "sco", "skr", "son", "ss", "szl", "trs", "ve", "wa"),
)
"""Languages that are left out: too close to a more frequent one, or with too few sentences."""

LEAST = 2400
"""Least number of sentences of a language that is learned."""

MOST_LANGUAGES = 3
"""A text that is in more languages than these is probably English, or a name."""

SIZES = (15, 128)
"""Least and largest size of a piece in bytes; the logarithm of a size is uniform."""

PROSE = "wesnoth-1.16"
"""The source whose pieces show the accuracy by size: texts unlike those of programs."""

MEASURED = (25, 50, 100, 200)
"""Sizes in bytes of these pieces."""

SHARE = 0.25
"""A source's share of a language's pieces is its size to this power.

By size alone one source, such as LibreOffice's help, would decide the kind of a language's texts.
"""

FEW = 100
"""Sources of fewer long sentences count with the short ones, and fewer of ``PROSE`` are not cut."""

LONG = 40
"""Least size in bytes of a long sentence. The shorter ones count as one source."""

WORDS = 0.25
"""Share of random words in a language's pieces, where there are some, since programs lack many."""

CHARACTERS = 64
"""Upper bound on the characters of a piece, those that the model reads."""

LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
OTHER = re.compile(r"[\u0370-\u1dff\u2c00-\ud7ff\uf900-\uffdc]")
"""Letters of the Latin script, and of most others."""

MARKUP = re.compile(r"[<>{}@=/_]")

ENGLISH = re.compile(r"\b(?:the|and|that|with|this|which|from|you|would|should)\b", re.IGNORECASE)
"""Words by which a text is English, if there are two of them: an untranslated paragraph."""


def read_sources(folder: Path) -> Sources:
    """Read the sentences of all packages in a folder."""
    sources: Sources = defaultdict(lambda: defaultdict(set))
    for path in sorted(folder.glob("*.deb")):
        source = "-".join(path.name.split("_")[0].split("-")[:2])
        for language, text in read_package(path):
            if sentence := cleaned(text):
                sources[language][source].add(sentence)
    return sources


def chosen(sources: Sources) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Sentences to learn from, and sentences for validation, by language."""
    english = {text.lower() for texts in sources["en"].values() for text in texts}
    spread = Counter(
        text
        for language, own in sources.items()
        if language != "en"
        for text in set().union(*own.values())
    )

    def is_english(text: str) -> bool:
        return text.lower() in english or len(ENGLISH.findall(text)) > 1

    def usable(language: str, texts: Iterable[str]) -> list[str]:
        return sorted(
            text
            for text in texts
            if (language == "en" or not is_english(text))
            and spread[text] <= MOST_LANGUAGES
            and not MARKUP.search(text)
        )

    train, validation = {}, {}
    for language, own in sorted(sources.items()):
        learned = set().union(*(own[each] for each in own if each not in (*HELD_OUT, *ADDITIONAL)))
        if language in LEFT_OUT or len(learned) < LEAST:
            continue
        learned = learned.union(*(own.get(source, ()) for source in ADDITIONAL))
        held_out = set().union(*(own.get(source, ()) for source in HELD_OUT)) - learned
        sentences = of_one_script(usable(language, learned))
        other = of_one_script(usable(language, held_out))
        if len(other) < 100:
            random.Random(language).shuffle(sentences)
            place = len(sentences) // 50
            other, sentences = sentences[:place], sentences[place:]
        train[language], validation[language] = sentences, other
    return train, validation


def by_source(sentences: list[str], sources: dict[str, set[str]]) -> list[list[str]]:
    """Long sentences divided by the first source that has them, and all others as one source."""
    parts, others = [], [text for text in sentences if not is_long(text)]
    left = set(sentences).difference(others)
    for source in sorted(sources):
        own = sorted(left & sources[source])
        left.difference_update(own)
        if len(own) < FEW:
            others += own
        else:
            parts.append(own)
    return [part for part in (*parts, others) if part]


def is_long(text: str) -> bool:
    """Whether a text is likely a sentence, rather than a name or the label of a button."""
    words = text.split()
    capitals = sum(word[0].isupper() for word in words)
    return len(text.encode()) >= LONG and capitals <= len(words) / 2


def of_one_script(sentences: list[str]) -> list[str]:
    """The sentences whose script, Latin or another, is that of the most of them.

    Among those in another script than Latin, English terms and commands are frequent.
    """
    are_latin = [len(LATIN.findall(text)) > len(OTHER.findall(text)) for text in sentences]
    is_latin = sum(are_latin) * 2 > len(sentences)
    return [text for text, own in zip(sentences, are_latin, strict=True) if own == is_latin]


def cut(
    sentences: list[str],
    number: int,
    rng: random.Random,
    sizes: tuple[int, int] = SIZES,
    characters: int = CHARACTERS,
) -> Iterator[str]:
    """Cut pieces at random places, of whole words where the language has spaces."""
    text = " ".join(rng.sample(sentences, len(sentences)))
    for _ in range(number):
        start = rng.randrange(max(1, len(text) - 300))
        rest = text[start : start + 300]
        if 0 <= (space := rest.find(" ")) < 40:
            rest = rest[space + 1 :]
        size = round(math.exp(rng.uniform(*map(math.log, sizes))))
        if piece := first_words(rest, size, characters):
            yield piece


def pieces_of(
    sentences: dict[str, list[str]], number: int, rng: random.Random, *how: Any
) -> list[tuple[str, str]]:
    """Pieces with their language, a number of each; ``how`` are the last arguments of ``cut``."""
    return [
        (piece, language)
        for language, own in sentences.items()
        for piece in cut(own, number, rng, *how)
    ]


def balanced_pieces(
    sentences: dict[str, list[str]],
    sources: Sources,
    words: dict[str, list[str]],
    number: int,
    rng: random.Random,
) -> list[tuple[str, str]]:
    """Pieces with their language, a number of each, shared by its sources and words."""
    pieces = []
    for language, own in sentences.items():
        parts = by_source(own, sources[language])
        shares = [sum(map(len, part)) ** SHARE for part in parts]
        if language in words:
            parts.append(words[language])
            shares.append(sum(shares) * WORDS / (1 - WORDS))
        for part, share in zip(parts, shares, strict=True):
            size = round(number * share / sum(shares))
            pieces += [(piece, language) for piece in cut(part, size, rng)]
    return pieces


def first_words(text: str, size: int, characters: int) -> str:
    """The first words of a text, at most ``size`` bytes; characters if there is no space."""
    piece = text.encode()[:size].decode(errors="ignore")[:characters]
    if text[len(piece) : len(piece) + 1] not in ("", " "):
        space = piece.rfind(" ")
        if space > len(piece) / 2:
            piece = piece[:space]
    return piece.strip()


def write(path: Path, pieces: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "language"))
        rows.writerows(pieces)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=600_000)
    arguments = parser.parse_args()
    write_pieces(read_sources(arguments.packages), arguments.output, arguments.pieces)


def write_pieces(sources: Sources, output: Path, number: int) -> None:
    train, validation = chosen(sources)
    words = read_words(train)
    rng = random.Random(0)
    pieces = {
        "train": balanced_pieces(train, sources, words, number // len(train), rng),
        "validation": pieces_of(validation, 40, rng),
    }
    prose = {
        language: [text for text in own if text in sources[language].get(PROSE, ())]
        for language, own in validation.items()
    }
    prose = {language: own for language, own in prose.items() if len(own) >= FEW}
    for size in MEASURED:
        pieces[f"sizes/{size}"] = pieces_of(prose, 100, rng, (size, size), size)
    left_out = {
        language: sorted(set().union(*sources[language].values()))
        for language in LEFT_OUT
        if language in sources
    }
    pieces["unknown/pieces"] = pieces_of(left_out, 40, rng)
    for part, rows in pieces.items():
        (output / part).parent.mkdir(parents=True, exist_ok=True)
        rng.shuffle(rows)
        write(output / f"{part}.csv", rows)
        print(f"{part}: {len(rows):,} pieces of {len({row[1] for row in rows})} languages")


if __name__ == "__main__":
    main()
