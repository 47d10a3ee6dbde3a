"""Text in, text out: tokenizer, masked language model, candidates for a mask."""

import numpy as np
import pytest
from helpers import TINY
from helpers.arrays import numpy_of
from helpers.specs import language_spec
from hypothesis import given, strategies as st

from ivy_models import create_model, fill_mask, perceiver_io_language
from ivy_models.errors import InputError, SpecError
from ivy_models.layers.parameters import map_tree
from ivy_models.preprocessing import ByteTokenizer
from ivy_models.shells import compilation

TOKENIZER = ByteTokenizer()


def tokens_of(rng, *shape):
    return rng.integers(0, 262, shape)


def language_model(**changes):
    return perceiver_io_language(language_spec(**changes), pretrained=False)


# The tokenizer


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_text_survives_the_round_trip(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.binary(min_size=1))
def test_bytes_survive_as_far_as_they_are_text(data):
    assert TOKENIZER.decode(TOKENIZER.encode(data)) == data.decode("utf-8", "replace")


def test_tokens_are_the_originals():
    assert TOKENIZER.encode("é[MASK]!").tolist() == [0xC3 + 6, 0xA9 + 6, 3, ord("!") + 6]
    special = "[PAD][BOS][EOS][MASK][CLS][SEP]"
    assert TOKENIZER.encode(special).tolist() == [0, 1, 2, 3, 4, 5]
    assert TOKENIZER.encode(special.encode()).tolist() == [byte + 6 for byte in special.encode()]
    assert TOKENIZER.decode([0, 4, ord("a") + 6, 0]) == "[CLS]a"


def test_invalid_utf8_becomes_a_replacement_character():
    assert TOKENIZER.decode([0xC3 + 6, ord("a") + 6]) == "\ufffda"


def test_long_text_is_refused_or_truncated():
    tokenizer = ByteTokenizer(max_length=4)
    assert len(tokenizer.encode("abcd")) == 4
    with pytest.raises(InputError, match="5 bytes; the model takes 4"):
        tokenizer.encode("abcde")
    assert tokenizer.decode(tokenizer.encode("abcde", truncate=True)) == "abcd"


def test_a_batch_is_padded_and_masked():
    tokens, mask = TOKENIZER(["abc", "d"])
    assert tokens.tolist() == [[103, 104, 105], [106, 0, 0]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize("text", ["", b"", 3, None])
def test_other_types_than_text_are_refused(text):
    with pytest.raises(InputError):
        TOKENIZER.encode(text)


@pytest.mark.parametrize("texts", ["abc", b"abc", [], ["a", ""]])
def test_wrong_lists_of_texts_are_refused(texts):
    with pytest.raises(InputError):
        TOKENIZER(texts)


@pytest.mark.parametrize("tokens", [[[7]], [1.5], [-1], [262]])
def test_unusable_tokens_are_refused(tokens):
    with pytest.raises(InputError):
        TOKENIZER.decode(tokens)


# The model


def test_short_sequences_equal_padded_ones(backend, rng):
    model, tokens = language_model(), tokens_of(rng, 2, 9)
    short = numpy_of(model(tokens))
    assert short.shape == (2, 9, 262)
    padded = np.concatenate([tokens, tokens_of(rng, 2, 14)], 1)
    whole = numpy_of(model(padded, np.arange(23) < 9))
    assert whole.shape == (2, 23, 262)
    np.testing.assert_allclose(whole[:, :9], short, atol=1e-5)
    np.testing.assert_allclose(numpy_of(model(tokens[1])), short[1], atol=1e-5)


def test_masked_tokens_do_not_matter(backend, rng):
    model, mask = language_model(), rng.random((3, 11)) < 0.6
    first, second = tokens_of(rng, 3, 11), tokens_of(rng, 3, 11)
    second = np.where(mask, first, second)
    results = [numpy_of(model(tokens, mask)) for tokens in (first, second)]
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    # The query of a masked token attends to nothing, so all of them give the same output.
    masked = results[0][~mask]
    np.testing.assert_allclose(masked, np.broadcast_to(masked[0], masked.shape), atol=1e-6)


def test_lengths_need_few_programs(ops, rng, monkeypatch):
    monkeypatch.setattr(compilation, "MIN_LENGTH", 8)
    made, compile_ = [], type(ops).compile
    monkeypatch.setattr(type(ops), "compile", lambda self, f: made.append(f) or compile_(self, f))
    model, tokens = language_model(), tokens_of(rng, 1, 23)
    weights = map_tree(numpy_of, model.v)
    for length in range(1, 24):
        mask = np.ones((1, length), bool)
        output = numpy_of(model(tokens[:, :length], mask))
        assert output.shape == (1, length, 262)
        # NumPy does not pad or compile.
        np.testing.assert_allclose(output, model.core(weights, tokens[:, :length]), atol=1e-5)
        if length == 5 and not ops.traces_loops:
            break
    assert len(made) == (3 if ops.traces_loops else 0)  # of 8, 16 and 23 tokens


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        # One class for a text, or one for each token.
        ({"tied_head": False, "query_per_input": False, "query_shape": (1,)}, (1, 5)),
        ({"tied_head": False}, (9, 5)),
    ],
)
def test_other_heads(backend, rng, changes, shape):
    model = language_model(output_dim=5, **changes)
    assert numpy_of(model(tokens_of(rng, 2, 9))).shape == (2, *shape)


def test_half_precision(rng):
    import ivy

    ivy.set_backend("torch")
    full = numpy_of(language_model()(tokens_of(np.random.default_rng(0), 2, 9)))
    half = numpy_of(language_model(dtype="bfloat16")(tokens_of(np.random.default_rng(0), 2, 9)))
    ivy.unset_backend()
    assert 0 < np.abs(half - full).max() < 0.1 * full.std()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((2, 24), int), "24 tokens; the model has positions for 23"),
        (np.zeros((2, 9)), "integers"),
        (np.full((2, 9), 262), "tokens from 262 to 262; the model's are from 0 to 261"),
        (np.full((2, 9), -1), "tokens from -1"),
        (np.zeros((2, 0), int), "at least one"),
        (np.int64(3), "at least one"),
    ],
)
def test_tokens_outside_the_vocabulary_are_refused(backend, tokens, message):
    with pytest.raises(InputError, match=message):
        language_model()(tokens)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_input_axes": 2},
        {"learned_position_shape": None},
        {"learned_position_dim": 4},
        {"fourier_encode_input": True},
        {"query_shape": (4,)},
        {"queries_dim": 15},
        {"output_dim": 5},
        {"decoder_v_dim": 7},
        {"vocabulary_size": None},
    ],
)
def test_contradictions_are_refused(changes):
    with pytest.raises(SpecError):
        language_spec(**changes)


def test_the_published_model_can_be_made_smaller():
    model = create_model(
        "perceiver_io_language",
        latent_dim=16,
        num_lat_att_per_layer=1,
        learned_position_shape=[8],
        query_shape=[8],
    )
    assert model.tokenizer == ByteTokenizer(8)


# Candidates for a mask


def test_candidates_are_the_most_probable(backend):
    model = perceiver_io_language(
        weights=TINY / "language_mlm" / "checkpoint.pystate",
        spec=tiny_spec(),
    )
    text = "a[MASK]c [MASK]"
    tokens = model.tokenizer.encode(text)
    logits = numpy_of(model(tokens))[:, 6:].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    filled = fill_mask(model, text, top=3)
    assert len(filled) == 2
    for candidates, row in zip(filled, probabilities[[1, 4]], strict=True):
        expected = np.sort(row)[::-1][:3]
        np.testing.assert_allclose([c.probability for c in candidates], expected, rtol=1e-3)
        assert candidates[0].text == bytes([row.argmax()]).decode("utf-8", "replace")


def test_candidates_of_several_bytes_multiply(backend):
    model = language_model()
    (pairs,) = fill_mask(model, "ab[MASK]", top=2000, length=2)
    tokens = model.tokenizer.encode("ab[MASK][MASK]")
    logits = numpy_of(model(tokens))[2:, 6:].astype(np.float64)
    rows = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.sort(np.outer(*rows).ravel())[::-1][: len(pairs)]
    np.testing.assert_allclose([p.probability for p in pairs], expected, rtol=1e-3)


def test_without_a_mask_or_a_language_model(rng):
    with pytest.raises(InputError, match="has no"):
        fill_mask(language_model(), "abc")
    with pytest.raises(InputError, match="not a masked language model"):
        fill_mask(create_model("perceiver_io_digits"), "[MASK]")
    with pytest.raises(InputError, match="positions|bytes"):
        fill_mask(language_model(), "[MASK]", length=24)


def tiny_spec():
    import json

    import verify_reference

    config = json.loads((TINY / "language_mlm" / "config.json").read_text())
    return verify_reference.tiny_language_spec(config)
