"""The streaming reader compared with plain attention."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import compiled
from helpers.chunks import set_scores_per_chunk
from hypothesis import given, settings, strategies as st

from ivy_models.layers.parameters import map_tree
from ivy_models.layers.streaming.two_axes import TwoAxes
from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import (
    Features,
    FourierPositionEncoding,
    Inputs,
    Reader,
    initialise,
)


@st.composite
def readings(draw):
    """(positions, projected, shape, batch, heads, masked, batch of latents, scores per chunk)."""
    return (
        draw(st.sampled_from(["fourier", "learned", None])),
        draw(st.booleans()),
        tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))),
        draw(st.integers(1, 3)),
        draw(st.sampled_from([1, 2])),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.sampled_from([1, 40, 300, 10**6])),
    )


def build(reading, seed=0, dtype=np.float32):
    """A reader and NumPy arguments for it; inputs as (data, weight, bias, table, ...)."""
    positions, projected, shape, batch, heads, masked, own_latents, _ = reading
    rng = np.random.default_rng(seed)
    num_inputs = int(np.prod(shape))

    def normal(*size):
        return rng.standard_normal(size).astype(dtype)

    arrays = {"data": normal(batch, num_inputs, 3)}
    channels = 3
    if projected:
        arrays |= {"weight": normal(3, 5), "bias": normal(5)}
        channels = 5
    if positions == "learned":
        arrays |= {"table": normal(num_inputs, 4), "table_weight": normal(4, 6)}
        arrays["table_bias"] = normal(6)
        channels += 6
    if positions == "fourier":
        channels += FourierPositionEncoding(3).num_channels(len(shape))
    reader = Reader(11, channels, heads, qk_dim=6 * heads, v_dim=4 * heads)
    params = map_tree(
        lambda w: w.astype(dtype) + 0.3 * normal(*w.shape), initialise(reader.parameters())
    )
    latents = normal(batch if own_latents else 1, 7, 11)
    mask = rng.random((batch, num_inputs)) < 0.6 if masked else None
    if masked and batch > 1:
        mask[0] = False  # one element is masked out
    return reader, params, latents, arrays, mask


def make_inputs(reading, arrays):
    positions, shape = reading[0], reading[2]
    encoded = {
        None: lambda: None,
        "fourier": lambda: FourierPositionEncoding(3),
        "learned": lambda: Features(arrays["table"], arrays["table_weight"], arrays["table_bias"]),
    }[positions]()
    data = Features(arrays["data"], arrays.get("weight"), arrays.get("bias"))
    return Inputs(shape, data, encoded)


def read(ops, reading, built, plain, dtype=None):
    reader, params, latents, arrays, mask = built
    params = map_tree(lambda w: ops.asarray(w, dtype), params)
    native = {name: ops.asarray(array, dtype) for name, array in arrays.items()}
    mask = None if mask is None else ops.asarray(mask)

    def run(params, latents, native, mask):
        return reader(params, latents, make_inputs(reading, native), mask, plain)

    return ops.to_numpy(compiled(ops, run)(params, ops.asarray(latents, dtype), native, mask))


@pytest.mark.parametrize("backend", CHOSEN)
def test_streaming_is_plain_attention(backend):
    ops = ops_named(backend)

    @settings(max_examples=20 if backend == "jax" else 40)  # jax compiles each
    @given(readings())
    def check(reading):
        built = build(reading)
        with pytest.MonkeyPatch.context() as patch:
            set_scores_per_chunk(patch, reading[-1])
            streamed = read(ops, reading, built, plain=False)
        plain_ops = ops_named("numpy") if backend == "jax" else ops  # jax would compile that too
        plain = read(plain_ops, reading, built, plain=True)
        np.testing.assert_allclose(streamed, plain, atol=1e-4)

    check()


@pytest.mark.parametrize("backend", [b for b in CHOSEN if b != "jax"])  # jax: float32 by default
@settings(max_examples=25)
@given(readings())
def test_streaming_is_exact_in_float64(backend, reading):
    ops, built = ops_named(backend), build(reading, dtype=np.float64)
    with pytest.MonkeyPatch.context() as patch:
        set_scores_per_chunk(patch, reading[-1])
        streamed = read(ops, reading, built, False, "float64")
    plain = read(ops, reading, built, True, "float64")
    np.testing.assert_allclose(streamed, plain, rtol=0, atol=1e-11)


def test_inputs_far_from_zero_keep_their_precision(ops):
    reading = (None, False, (40,), 2, 1, False, False, 100)
    reader, params, latents, arrays, mask = build(reading)
    arrays["data"] = arrays["data"] + 1000
    built = (reader, params, latents, arrays, mask)
    exact = read(ops_named("numpy"), reading, build_as_float64(built), True, "float64")
    streamed = read(ops, reading, built, False)
    assert np.abs(streamed - exact).max() < 5e-3 * exact.std()


def build_as_float64(built):
    reader, params, latents, arrays, mask = built
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    return reader, map_tree(lambda w: w.astype(np.float64), params), latents, arrays, mask


@pytest.mark.parametrize(
    ("shape", "limit", "outer", "inner"),
    [
        ((100,), 10, 100, 1),
        ((8, 9), 100, 8, 9),
        ((8, 200), 100, 8, 200),
        ((8, 9, 10), 100, 8, 90),
        ((8, 9, 10), 20, 72, 10),
        ((2, 3, 4, 5), 10**9, 2, 60),
    ],
)
def test_whole_axes_are_kept_together(shape, limit, outer, inner):
    data = Features(np.zeros((1, int(np.prod(shape)), 3), np.float32))
    axes = TwoAxes.of(Inputs(shape, data, FourierPositionEncoding(2)), limit)
    assert (axes.outer, axes.inner) == (outer, inner)


def test_reader_on_its_own(ops, rng):
    reader = Reader(latent_dim=6, input_dim=5)
    params = map_tree(ops.asarray, initialise(reader.parameters()))
    latents = ops.asarray(rng.standard_normal((1, 4, 6), dtype=np.float32))
    inputs = ops.asarray(rng.standard_normal((3, 9, 5), dtype=np.float32))
    assert tuple(reader(params, latents, inputs).shape) == (3, 4, 6)


# The choice between the two readers


def of_shape(num_inputs, own_channels, positions=None):
    return Inputs((num_inputs,), Features(np.empty((1, num_inputs, own_channels))), positions)


@pytest.mark.parametrize(
    ("reader", "num_latents", "inputs", "plain"),
    [
        # The published image models: 224x224 pixels, or 56x56 after the convolution.
        (Reader(1024, 132), 512, of_shape(224**2, 3, FourierPositionEncoding(64)), False),
        (Reader(1024, 193), 512, of_shape(56**2, 64, FourierPositionEncoding(64)), False),
        # Language: many heads share the keys of many channels.
        (Reader(1280, 768, 8, 256, 1280), 256, of_shape(2048, 768), True),
        # So few inputs that the number of operations decides.
        (Reader(16, 12), 8, of_shape(64, 12), True),
    ],
)
def test_the_reading_with_less_to_compute_is_chosen(reader, num_latents, inputs, plain):
    assert reader.plain_is_cheaper(num_latents, [inputs]) is plain


def test_plain_attention_that_was_chosen_holds_few_scores(ops, rng, monkeypatch):
    reader = Reader(latent_dim=6, input_dim=5, num_heads=2, qk_dim=4)
    params = map_tree(ops.asarray, initialise(reader.parameters()))
    latents = ops.asarray(rng.standard_normal((1, 11, 6), dtype=np.float32))
    inputs = ops.asarray(rng.standard_normal((3, 9, 5), dtype=np.float32))
    at_once = ops.to_numpy(reader(params, latents, inputs, plain=True))
    scores, attend = [], type(ops).attention

    def counted(self, q, k, v, *others):
        scores.append(int(np.prod(q.shape[:3])) * k.shape[2])
        return attend(self, q, k, v, *others)

    monkeypatch.setattr(type(ops), "attention", counted)
    set_scores_per_chunk(monkeypatch, 4 * 3 * 2 * 9)  # of 4 latents
    np.testing.assert_allclose(
        ops.to_numpy(reader(params, latents, inputs)), at_once, rtol=1e-5, atol=1e-6
    )
    assert max(scores) == 4 * 3 * 2 * 9
