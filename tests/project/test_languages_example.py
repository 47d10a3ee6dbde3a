"""The data of the model of languages: reading translations, choosing sentences, cutting pieces."""

import csv
import gzip
import io
import json
import random
import re
import struct
import sys
import types
import zipfile
from pathlib import PurePosixPath

import numpy as np
import pytest
from helpers import ROOT
from helpers.arrays import numpy_of

from ivy_models import PerceiverIO
from ivy_models.preprocessing import NgramPreprocessing, prepare
import ivy

FOLDER = ROOT / "examples" / "languages"


@pytest.fixture(scope="module")
def example():
    """The modules of the example, imported as its scripts import each other."""
    sys.path.insert(0, str(FOLDER))
    import linear
    import pieces
    import start
    import translations
    import vocabulary
    import words

    yield pieces, translations, start, words, vocabulary, linear
    sys.path.remove(str(FOLDER))
    for name in ("pieces", "translations", "start", "words", "vocabulary", "linear"):
        del sys.modules[name]


def test_translations_are_read_from_each_kind_of_file(example):
    translations = example[1]

    def read(name, content):
        path = PurePosixPath(name)
        return list(translations.reader_of(path)(path, content))

    pack = io.BytesIO()
    with zipfile.ZipFile(pack, "w") as file:
        file.writestr("browser/a.ftl", "# a comment\nopen = Neues Fenster\n    .label = Fenster\n")
    assert read("usr/langpack-pt-BR@firefox.xpi", pack.getvalue()) == [
        ("pt", " Neues Fenster"),
        ("pt", " Fenster"),
    ]
    page = b'<p id="a" class="b">Ein <b>neues</b> Fenster &amp; mehr</p><h1>Titel</h1>'
    assert read("help/de/text/a.html", page) == [("de", "Ein neues Fenster & mehr")]
    manual = gzip.compress(b".TH LS 1\nErster \\fBAbsatz\\fR\n\nZweiter")
    assert [text.strip() for _, text in read("man/de/man1/ls.1.gz", manual)] == [
        "Erster Absatz",
        "Zweiter",
    ]
    messages = {"@metadata": {"authors": ["A"]}, "a": "Die [[Hilfe:Datei|Datei]] ''fehlt''"}
    assert read("mediawiki/i18n/api/de-at.json", json.dumps(messages).encode()) == [
        ("de", "Die Datei fehlt")
    ]
    texts = [b"\xe4\xf6\xfc", "Ein neues Fenster öffnen".encode()]
    table = b"".join(struct.pack("<HI", i, place) for i, place in enumerate((30, 33, 58)))
    pack = struct.pack("<IIHH", 5, 1, 2, 0) + table + b"".join(texts)
    assert read("chromium/locales/de.pak", pack) == [("de", "Ein neues Fenster öffnen")]
    messages = b""
    for text in ("Mond", "Der Mond ist aufgegangen"):
        encoded = text.encode("utf-16-be")
        messages += struct.pack(">BI", 3, len(encoded)) + encoded + b"\x05hash\x01"
    catalogue = bytes(16) + struct.pack(">BI", 0x42, 3) + b"abc"
    catalogue += struct.pack(">BI", 0x69, len(messages)) + messages
    assert read("translations/gcompris_de.qm", catalogue) == [("de", "Der Mond ist aufgegangen")]
    assert translations.reader_of(PurePosixPath("usr/bin/ls")) is None
    assert translations.language("zh_TW") == "zh"
    assert translations.language("ca@valencia") == "ca"
    assert translations.language("en@shaw") == "en@shaw"
    assert translations.language("nds-nl") == "nds-nl"
    assert (
        translations.cleaned("  Öffne %s in einem neuen Fenster…") == "Öffne in einem neuen Fenster"
    )
    assert translations.cleaned("12345 67890 12345") is None


def test_sentences_are_chosen_and_cut(example, tmp_path, monkeypatch):
    pieces = example[0]
    monkeypatch.setattr(pieces, "LEAST", 1)
    words = {"en": "open window file", "de": "Fenster Datei Ordner", "ru": "окно файл папка"}
    own = {code: {f"{own} {i} {own} {i}" for i in range(60)} for code, own in words.items()}
    own["de"] |= {"open 1 window", "<b>Fenster</b> mit Text"}
    own["ru"].add("apt-get install")
    sources = {code: {"firefox-esr": texts} for code, texts in own.items()}
    sources["en"]["firefox-esr"].add("Open 1 window")
    own["de"].add("the files that are open")
    sources["sco"] = {"firefox-esr": own["de"]}
    more = {f"Seite {i} Seite {i}" for i in range(60)}
    sources["de"]["mediawiki"] = more
    sources["lb"] = {"mediawiki": more}
    sources["de"]["wordpress-l10n"] = {f"Beitrag {i} Beitrag {i}" for i in range(120)}
    sources["de"]["wesnoth-1.16"] = {f"Drache {i} Drache {i}" for i in range(120)}
    train, validation = pieces.chosen(sources)
    assert set(train) == {"en", "de", "ru"}
    assert more < set(train["de"])
    held_out = sources["de"]["wordpress-l10n"] | sources["de"]["wesnoth-1.16"]
    assert set(validation["de"]) == held_out
    left_out = {"open 1 window", "<b>Fenster</b> mit Text", "the files that are open"}
    assert not left_out & set(train["de"] + validation["de"])
    assert "apt-get install" not in train["ru"] + validation["ru"]
    assert not set(train["de"]) & set(validation["de"])

    cut = list(pieces.cut(train["ru"], 50, random.Random(0)))
    assert all(len(piece.encode()) <= 200 and len(piece) <= 64 for piece in cut)
    text = f" {' '.join(train['ru'])} "
    assert all(set(piece.split()) <= set(text.split()) for piece in cut)
    monkeypatch.setattr(pieces, "read_words", lambda _: {})
    pieces.write_pieces(sources, tmp_path, 300)
    for name in ("train.csv", "validation.csv", "unknown/pieces.csv"):
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["language"] for row in rows} == ({"sco"} if "unknown" in name else set(words))
    with (tmp_path / "sizes" / "25.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(len(row["text"].encode()) <= 25 and "Drache" in row["text"] for row in rows)
    assert {row["language"] for row in rows} == {"de"}


def test_a_large_source_does_not_decide_the_kind_of_text(example):
    pieces = example[0]
    help_, menus = (
        {f"{text} {i:04} {text} {text} {i:04}" for i in range(n)}
        for text, n in (("aa bb cc dd ee", 6400), ("ff gg hh ii jj", 400))
    )
    names = {
        f"{name} {i}" for i in range(200) for name in ("a", "Aa Bb Cc Dd Ee Ff Gg Hh Ii Jj Kk")
    }
    sources = {"id": {"help": help_, "menus": menus | help_, "names": names, "few": {"d"}}}
    own = sorted(help_ | menus | names | {"d"})
    assert [len(part) for part in pieces.by_source(own, sources["id"])] == [6400, 400, 401]
    own = sorted(help_ | menus)
    cut = pieces.balanced_pieces({"id": own}, sources, {}, 600, random.Random(0))
    share = np.mean(["aa" in piece or "bb" in piece or "cc" in piece for piece, _ in cut])
    assert 0.5 < share < 0.75  # 0.94 by size
    words = {"id": ["xx xx xx xx"] * 400}
    cut = pieces.balanced_pieces({"id": own}, sources, words, 600, random.Random(0))
    assert np.mean(["xx" in piece for piece, _ in cut]) == pytest.approx(pieces.WORDS, abs=0.01)


def test_random_words_are_as_frequent_as_in_the_language(example, monkeypatch):
    words = example[3]
    texts = words.of_random_words(
        {"der": 0.3, "Hund": 0.1, "00": 0.4, "x": 1}, {"der", "Hund"}, 800
    )
    assert len(texts) == 100
    assert {len(text.split()) for text in texts} == {8}
    drawn = " ".join(texts).split()
    assert set(drawn) == {"der", "Hund"}
    assert 0.7 < drawn.count("der") / 800 < 0.8


def test_words_of_another_language_are_left_out(example, monkeypatch):
    frequencies = {"bahawa": 1.0, "bahwa": 1.0, "jarang": 1.0}
    lists = types.SimpleNamespace(
        available_languages=lambda _: {"fil": "", "ms": "", "sh": "", "ja": ""},
        get_frequency_dict=lambda code, _: frequencies,
    )
    monkeypatch.setitem(sys.modules, "wordfreq", lists)
    sentences = {"ms": ["Bahawa"], "id": ["bahwa"], "bs": ["a"]}
    found = {
        code: set(" ".join(texts).split())
        for code, texts in example[3].read_words(sentences).items()
    }
    assert found == {"ms": {"bahawa", "jarang"}, "bs": {"jarang"}}


def test_chosen_ngrams_tell_more_than_their_parts(example):
    prepare, texts = NgramPreprocessing(16, (1, 2, 3)), ["ab", "ac", "xyz"] * 10
    found = example[4].informative_ngrams(prepare, texts, [0, 1, 2] * 10, 100)
    assert {"b", "c", "x"} < set(found[:8])
    assert found.index("b") < found.index("xyz")  # each letter of xyz tells the language
    assert found.index("b") < found.index("a")
    assert example[4].informative_ngrams(prepare, texts, [0, 1, 2] * 10, 2) == found[:2]


def test_catalogues_give_translations_and_their_english(example, monkeypatch):
    catalogue = {
        "": "header",
        "menu\x04Open file": "Datei öffnen",
        ("Files", 0): "Dateien",
        "OK": "OK",
    }
    reader = type("Reader", (), {"__init__": lambda self, _: None, "_catalog": catalogue})
    monkeypatch.setattr(example[1].gettext, "GNUTranslations", reader)
    for path in map(PurePosixPath, ("locale/de/LC_MESSAGES/a.mo", "languages/de_DE.mo")):
        assert list(example[1].reader_of(path)(path, b"")) == [
            ("de", "Datei öffnen"),
            ("en", "Open file"),
            ("de", "Dateien"),
            ("en", "Files"),
        ]


def test_a_start_answers_as_a_linear_model(example, tmp_path, monkeypatch):
    start, linear = example[2], example[5]
    learned = []

    def learn(*arguments):
        learned.append(linear.learn(*arguments))
        return learned[0]

    monkeypatch.setattr(linear, "BATCH", 8)
    monkeypatch.setattr(start, "learn", learn)
    monkeypatch.setattr(start, "NGRAMS", NgramPreprocessing(16, (1, 2), 512))
    monkeypatch.setattr(start, "SHARED", 496)
    rows = ["text,language", *["eine Datei,de", "a file,en"] * 80]
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    output = tmp_path / "start"
    monkeypatch.setattr(sys, "argv", ["start.py", str(tmp_path), "--output", str(output)])
    start.main()
    ivy.set_backend("numpy")
    model = PerceiverIO.from_pretrained(output)
    assert model.labels == ("de", "en")
    ngrams = model.preprocessing.columns[0].preprocessing
    assert len(ngrams.frequent) == 16
    texts = ["eine Datei", "a file"]
    tokens, mask = ngrams.tokens(texts)
    ((embeddings, weight, bias),) = learned
    assert np.sqrt((embeddings[tokens[mask]] ** 2).mean()) == pytest.approx(1, rel=0.2)
    means = np.stack(
        [embeddings[own[seen]].mean(0) for own, seen in zip(tokens, mask, strict=True)]
    )
    expected = means @ weight + bias
    assert expected[0, 0] > expected[0, 1]
    assert expected[1, 0] < expected[1, 1]
    logits = numpy_of(model(*prepare(model.preprocessing, [{"text": text} for text in texts])))
    np.testing.assert_allclose(logits, expected, rtol=0.02, atol=0.02)


def test_every_package_has_a_version_and_a_hash():
    rows = [line.split() for line in (FOLDER / "packages.txt").read_text().splitlines()]
    assert all(len(row) == 3 and len(row[2]) == 64 for row in rows)
    assert len({row[0] for row in rows}) == len(rows) > 300
    words = (FOLDER / "words.txt").read_text()
    assert re.fullmatch(r"wordfreq==[\d.]+ --hash=sha256:[0-9a-f]{64}\n", words)
