"""Texts and text files."""

import codecs
import io

import numpy as np
import pytest

from ivy_models.errors import InputError
from ivy_models.preprocessing import TextPreprocessing


def tokens_of(text):
    return [byte + 6 for byte in text.encode()]


@pytest.mark.parametrize(
    "content",
    [
        "Zoë".encode(),
        codecs.BOM_UTF8 + "Zoë".encode(),
        "Zoë".encode("utf-16"),
        "Zoë".encode("utf-16-le"),
        "Zoë".encode("utf-16-be"),
        "Zoë".encode("utf-32"),
        "Zoë".encode("cp1252"),
    ],
)
def test_text_files_have_several_encodings(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    prepare = TextPreprocessing(8)
    assert prepare.can_open(tmp_path / "a")
    for source in ("Zoë", tmp_path / "a", content, io.BytesIO(content)):
        tokens, mask = prepare(source)
        assert tokens.tolist() == [*tokens_of("Zoë"), 0, 0, 0, 0]
        assert mask.tolist() == [True] * 4 + [False] * 4


def test_long_texts_are_truncated_and_special_names_are_text():
    tokens, mask = TextPreprocessing(5)(["[MASK]", "ab"])
    assert (tokens.dtype, mask.dtype) == (np.int32, bool)
    assert tokens.tolist() == [tokens_of("[MASK"), [*tokens_of("ab"), 0, 0, 0]]


def test_a_file_that_is_no_text_is_named(tmp_path):
    prepare = TextPreprocessing(8)
    (tmp_path / "a.txt").write_bytes(b"\x00\xff\x00")
    (tmp_path / "b.txt").write_bytes(b" \n")
    (tmp_path / "c.txt").write_bytes(b"a word\x00")
    assert not prepare.can_open(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"a\.txt: it is not a text"):
        prepare(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"c\.txt: it is not a text"):
        prepare(tmp_path / "c.txt")
    with pytest.raises(InputError, match=r"b\.txt is empty"):
        prepare([tmp_path / "b.txt"])
    with pytest.raises(InputError, match="must be a string or a text file, got int"):
        prepare(3)
    with pytest.raises(InputError, match="at least one text"):
        prepare([])
