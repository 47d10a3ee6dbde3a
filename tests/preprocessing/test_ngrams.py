"""Texts as n-grams."""

import unicodedata
from dataclasses import replace

import numpy as np
import pytest

from ivy_models.datasets import read_training_data
from ivy_models.errors import InputError, SpecError
from ivy_models.preprocessing import NgramPreprocessing, TablePreprocessing, TextColumn


def shown(prepare, text):
    """The tokens of a text that are not padding, by place and size."""
    tokens, mask = prepare(text)
    return np.where(mask, tokens, -1).reshape(-1, len(prepare.sizes)).tolist()


def test_the_same_characters_have_the_same_token():
    prepare = NgramPreprocessing(6, sizes=(2, 3), vocabulary_size=1 << 20)
    tokens, mask = prepare(["abab", "b"])
    assert (tokens.dtype, mask.dtype, tokens.shape) == (np.int32, bool, (2, prepare.num_tokens))
    first = shown(prepare, "abab")  # of " abab "
    assert first[1][0] == first[3][0]
    assert len({first[1][0], first[2][0], first[1][1], first[2][1], first[0][0]}) == 5
    assert mask.reshape(2, -1, 2).sum(1).tolist() == [[5, 4], [2, 1]]
    assert shown(prepare, "xaba")[2:4] == [first[1], [first[2][0], shown(prepare, "aba")[2][1]]]


def test_tokens_do_not_change_between_releases():
    """A trained model depends on them."""
    prepare = NgramPreprocessing(3, sizes=(1, 2, 3), vocabulary_size=1000)
    assert shown(prepare, "Ж中") == [
        [882, 33, 78],
        [556, 168, 211],
        [921, 538, -1],
        [882, -1, -1],
        [-1, -1, -1],
    ]


def test_frequent_ngrams_have_tokens_of_their_own():
    plain = NgramPreprocessing(6, sizes=(1, 2), vocabulary_size=40)
    prepare = NgramPreprocessing(6, sizes=(1, 2), vocabulary_size=50, frequent=("a", "ab", " a"))
    own = {"a": 47, "ab": 48, " a": 49}
    shared = NgramPreprocessing(6, sizes=(1, 2), vocabulary_size=47)
    text = " abab "
    expected = [
        [own.get(text[i : i + n], other) for n, other in zip((1, 2), pair, strict=True)]
        for i, pair in enumerate(shown(shared, "abab"))
    ]
    assert shown(prepare, "abab") == expected
    assert repr(prepare) == repr(replace(plain, vocabulary_size=50))


def test_the_most_frequent_ngrams_are_found():
    prepare = NgramPreprocessing(8, sizes=(2, 3), vocabulary_size=40)
    found = prepare.with_most_frequent(["Ab", "ab ", "ba", "abc"], 4)
    assert found == replace(prepare, frequent=found.frequent)
    assert found.frequent == (" a", " ab", "ab", "ab ")
    assert prepare.with_most_frequent(["a"], 39).frequent == (" a", " a ", "a ")


def test_texts_are_normalised():
    prepare = NgramPreprocessing(8)
    expected = shown(prepare, "zoë is")
    for text in (
        "ZOË  is",
        " Zoë\n\tIs ",
        unicodedata.normalize("NFD", "zoë is"),
        "zoë is".encode(),
    ):
        assert shown(prepare, text) == expected
    assert shown(prepare, "abcdefgh, and more") == shown(prepare, "abcdefgh")
    assert shown(prepare, "a\ud800") == shown(prepare, "a?")
    assert shown(prepare, "ሰላም፡ለ፡ዓ") == shown(prepare, "ሰላም ለ ዓ")


def test_wrong_texts_and_fields_are_refused():
    prepare = NgramPreprocessing(8)
    with pytest.raises(InputError, match="The text is empty"):
        prepare(" \n")
    with pytest.raises(InputError, match="must be a string or a text file, got int"):
        prepare(3)
    with pytest.raises(SpecError, match="sizes must be a list of integers"):
        NgramPreprocessing(8, sizes=())
    with pytest.raises(SpecError, match="vocabulary_size must be an integer of at least 1, got 0"):
        NgramPreprocessing(8, vocabulary_size=0)
    with pytest.raises(SpecError, match="n-grams of 2 or 3 or 4 characters, got 'abcde'"):
        NgramPreprocessing(8, frequent=["ab", "abcde"])
    with pytest.raises(SpecError, match="number must be an integer of at least 1, got 0"):
        prepare.with_most_frequent(["ab"], 0)
    with pytest.raises(SpecError, match="frequent has the n-gram 'ab' twice"):
        NgramPreprocessing(8, frequent=["ab", "ba", "ab"])
    with pytest.raises(SpecError, match="has 2 n-grams; expected fewer than vocabulary_size=2"):
        NgramPreprocessing(8, vocabulary_size=2, frequent=["ab", "ba"])


def test_a_column_of_n_grams_is_chosen(tmp_path):
    pytest.importorskip("datasets.packaged_modules")  # there is a folder tests/datasets
    (tmp_path / "a.csv").write_text("text,label\n" + "So it is,en\nEs ist so,de\n" * 10)
    data = read_training_data(tmp_path / "a.csv", columns={"text": "ngrams"})
    assert data.preprocessing == TablePreprocessing([TextColumn("text", NgramPreprocessing(16))])
    assert data.columns[0].detail == "sequences of 2, 3, 4 characters, of the first 16 characters"
    tokens = data.train.batch([0]).data["text_0"]
    assert tokens.shape == (1, 3 * 18)
    _, mask = data.preprocessing({"text": None})
    assert not mask["text_0"].any()
