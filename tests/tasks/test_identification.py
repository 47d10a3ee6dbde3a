# ruff: noqa: RUF001  letters of other scripts are not mistakes here
"""The language of a text."""

import numpy as np
import pytest
from helpers.arrays import numpy_of

from ivy_models import Language, create_model, identify_language, identify_languages
from ivy_models.errors import InputError, SpecError
from ivy_models.preprocessing import prepare
from ivy_models.tasks.identification import UNKNOWN, name_of_language, pieces
import ivy

TEXTS = {
    "de": "Der Zug nach Hamburg hat heute leider eine halbe Stunde Verspätung.",
    "en": "We would like to thank everyone who came to the party last night.",
    "fr": "Il fait très beau aujourd'hui et les enfants jouent dans le jardin.",
    "es": "Mi hermana vive en una casa pequeña cerca de la playa.",
    "pl": "Wczoraj wieczorem poszliśmy do kina z naszymi przyjaciółmi.",
    "fi": "Lapset leikkivät pihalla koko päivän ja tulivat illalla sisään.",
    "tr": "Yarın sabah erkenden pazara gidip taze sebze alacağım.",
    "vi": "Hôm nay trời mưa rất to nên chúng tôi ở nhà nấu ăn.",
    "el": "Το καλοκαίρι πηγαίνουμε πάντα στη θάλασσα με τα παιδιά.",
    "ru": "Завтра мы поедем к бабушке в деревню на всё лето.",
    "uk": "Ми живемо у великому місті, але любимо їздити в село.",
    "ja": "昨日は友達と一緒に新しい映画を見に行きました。",
    "zh": "我们明天早上要去市场买一些新鲜的蔬菜和水果。",
    "ko": "내일은 가족과 함께 바닷가에 놀러 갈 거예요.",
    "he": "אתמול בערב הלכנו לאכול במסעדה חדשה ליד הים.",
    "hi": "कल शाम हम अपने दोस्तों के साथ बाज़ार गए थे।",
    "th": "พรุ่งนี้เราจะไปเที่ยวทะเลกับครอบครัว",
}


@pytest.fixture(scope="module")
def model():
    ivy.set_backend("numpy")
    return create_model("perceiver_io_languages", pretrained=True)


def test_common_languages_are_identified(model):
    found = identify_language(list(TEXTS.values()), model)
    assert [each.language for each in found] == list(TEXTS)
    single = identify_language(TEXTS["de"])
    assert isinstance(single, Language)
    assert single.language == single.candidates[0].label == "de"
    assert single.probability == pytest.approx(found[0].probability, abs=1e-5)
    assert [each.language for each in identify_language([t.upper() for t in TEXTS.values()], model)]
    assert name_of_language("de") == "German"


def test_all_backends_agree(model, backend):
    data, mask = prepare(model.preprocessing, [{"text": text} for text in TEXTS.values()])
    logits = numpy_of(create_model("perceiver_io_languages", pretrained=True)(data, mask))
    ivy.set_backend("numpy")
    np.testing.assert_allclose(logits, numpy_of(model(data, mask)), rtol=1e-4, atol=1e-3)


def test_languages_to_choose_from_and_the_threshold(model):
    text = TEXTS["de"]
    assert identify_language(text, model, among=["fr", "nl"], threshold=0).language in ("fr", "nl")
    alone = identify_language(text, model, among=["fr"])
    assert (alone.language, alone.probability) == ("fr", 1.0)
    strict = identify_language("qwx zzk vvq", model, threshold=1.0, top=2)
    assert strict.language == UNKNOWN
    assert len(strict.candidates) == 2
    with pytest.raises(InputError, match="does not know the language 'xx'"):
        identify_language(text, model, among=["xx"])
    with pytest.raises(InputError, match="among has no languages"):
        identify_language(text, model, among=[])
    with pytest.raises(InputError, match="threshold must be between 0 and 1, got 2"):
        identify_language(text, model, threshold=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The text is empty"),
        (" \n", "The text is empty"),
        ("2024, 31.12. 17:00", "has no letters, so it has no language"),
        (3, "must be a string or a text file, got int"),
    ],
)
def test_what_has_no_language_is_refused(model, text, message):
    with pytest.raises(InputError, match=message):
        identify_language(["This is a text", text], model)
    results = list(identify_languages(["This is a text", text, TEXTS["de"]], model, batch_size=3))
    assert [language is None for _, language, _ in results] == [False, True, False]
    assert message in str(results[1][2])


def test_long_texts_and_files(model, tmp_path):
    long = (
        " ".join(text for code, text in TEXTS.items() if code in ("de", "fr"))
        + " "
        + " ".join([TEXTS["de"]] * 200)
    )
    assert identify_language(long, model).language == "de"
    (tmp_path / "a.txt").write_text(long, "utf-8")
    assert identify_language(tmp_path / "a.txt", model) == identify_language(long, model)
    assert identify_language([], model) == []


def test_signs_between_words_of_amharic_are_spaces(model):
    text = "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው"
    with_signs = identify_language(text.replace(" ", "፡"), model)
    assert with_signs.language == "am"
    assert with_signs == identify_language(text, model)


def test_pieces_are_read_as_a_whole(model):
    prepare = model.preprocessing.columns[0].preprocessing
    size = prepare.max_characters
    words = "one two three four five six seven eight nine ten eleven twelve"
    for text in (words[:size], words, 3 * words, "x" * 300, "文" * 130):
        cut = pieces(text, prepare)
        assert all(0 < len(piece) <= size for piece in cut)
        assert "".join(cut).replace(" ", "") == text.replace(" ", "")
    assert pieces("one\n two", prepare) == ["one two"]
    two = "We would like to thank everyone", "who came to the party last night."
    assert pieces(" ".join(two), prepare) == list(two)
    assert len(pieces(1000 * words, prepare)) == 32


def test_other_models_are_refused():
    with pytest.raises(InputError, match="does not read texts as n-grams"):
        identify_language("a text", create_model("perceiver_io_digits"))
    with pytest.raises(SpecError, match="perceiver_io_languages"):
        create_model("perceiver_io_langauges")
