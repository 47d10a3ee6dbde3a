"""Extreme data, sizes and weights: finite results, the same on every backend, or a refusal."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import numpy_of
from helpers.specs import FEW_LAYERS, flow_spec, small_spec

from ivy_models.checkpoints.check import check_magnitudes
from ivy_models.checkpoints.load import load_weights
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.ops import ops_named
from ivy_models.ops.base import HALF_TYPES
from ivy_models.transformers.perceiver_io import (
    PerceiverIO,
    PerceiverIOCore,
    Reader,
    initialise,
)
from ivy_models.transformers.perceiver_io.inputs.grid import MIXING_STEMS
import ivy

SHAPE = (2, 9, 7, 3)
NORMAL = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
LARGEST = np.finfo(np.float32).max

SIZES = np.float32([1e30, 1, 1e15, 1e20, 1e-30, 3e37, 1e10, 1e-15])
"""Extreme queries or latents."""

DATA = {
    "1e30": NORMAL * np.float32(1e30),
    "1e15": NORMAL * np.float32(1e15),
    "one of 1e30": np.where(np.arange(7)[:, None] == 2, NORMAL * np.float32(1e30), NORMAL),
    "the largest": NORMAL / np.abs(NORMAL).max() * LARGEST,
    "denormals": NORMAL * np.float32(1e-40),
    "1e-30": NORMAL * np.float32(1e-30),
    "zeros": np.zeros(SHAPE, np.float32),
    "the same": np.full(SHAPE, 3.3, np.float32),
}


def a_spec(**changes):
    return small_spec(**(FEW_LAYERS | changes))


SPECS = {
    "Fourier": a_spec(),
    "a set": a_spec(fourier_encode_input=False),
}


@pytest.fixture(params=[True, False], ids=["plain", "streaming"])
def reading(request, monkeypatch):
    """Both readers; each is compared with plain attention in float64 by NumPy."""
    monkeypatch.setattr(Reader, "plain_is_cheaper", lambda *_: request.param)


def in_float64(spec, data, weights=None, **arguments):
    """Results of NumPy in float64, in which squares of float32 numbers are finite."""
    core = PerceiverIOCore(spec.replace(dtype="float64"), plain_reader=True)
    weights = initialise(core.parameters()) if weights is None else weights
    weights = unflatten({name: leaf.astype(np.float64) for name, leaf in flatten(weights)})
    return core(weights, data.astype(np.float64), **arguments)


@pytest.mark.parametrize("kind", SPECS)
def test_extreme_numbers(backend, reading, kind):
    outputs = numpy_of(PerceiverIO(SPECS[kind])(np.stack(list(DATA.values()))))
    for (name, data), output in zip(DATA.items(), outputs, strict=True):
        expected = in_float64(SPECS[kind], data)
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(output, expected, atol=2e-5, err_msg=name)


def test_huge_data_of_other_kinds(backend):
    for spec, shape in (
        (flow_spec(network_depth=1), (2, 2, 9, 11, 3)),
        (a_spec(patch_shape=(3, 7)), SHAPE),
        (a_spec(stem="convolution", stem_dim=4), SHAPE),
        (a_spec(stem="two_convolutions", stem_dim=4), SHAPE),
    ):
        data = np.random.default_rng(0).standard_normal(shape, np.float32) * np.float32(1e30)
        output = numpy_of(PerceiverIO(spec)(data))
        assert np.isfinite(output).all()
        ivy.set_backend("numpy")
        expected = numpy_of(PerceiverIO(spec, device="cpu")(data))
        ivy.set_backend(backend)
        np.testing.assert_allclose(output, expected, atol=2e-5)


@pytest.mark.parametrize("stem", MIXING_STEMS)
def test_neighbours_keep_their_ratio_where_a_stem_mixes_them(stem):
    shape = (1, 2, 9, 11, 3) if stem == "frame_pair" else SHAPE
    spec = flow_spec() if stem == "frame_pair" else a_spec(stem=stem, stem_dim=4)
    adapter = spec.adapter()
    params = initialise(adapter.parameters())
    data = np.random.default_rng(0).standard_normal(shape, np.float32)
    data[..., ::2, :] *= 100
    # Below and above the limit for rescaling. The stem is linear.
    small, large = (adapter(params, data * np.float32(size)).data.base for size in (1e10, 1e20))
    small, large = (x / np.abs(x).max((1, 2), keepdims=True) for x in (small, large))
    np.testing.assert_allclose(large, small, atol=1e-5)


OWN_QUERIES = a_spec(learn_query=False, query_shape=(8,), query_residual=False)


def test_extreme_queries(backend):
    queries = NORMAL[:, :8].reshape(2, -1)[:, : 8 * 14].reshape(2, 8, 14) * SIZES[:, None]
    output = numpy_of(PerceiverIO(OWN_QUERIES)(NORMAL, queries=queries))
    expected = in_float64(OWN_QUERIES, NORMAL, queries=queries.astype(np.float64))
    np.testing.assert_allclose(output, expected, atol=2e-5)


def test_extreme_queries_dominate_the_output(backend):
    # Of 16 channels, as torch's layer norm of other numbers gives no NaN where squares overflow.
    spec = OWN_QUERIES.replace(query_residual=True, queries_dim=16)
    queries = NORMAL[:, :8].reshape(2, -1)[:, : 8 * 16].reshape(2, 8, 16) * SIZES[:, None]
    output = numpy_of(PerceiverIO(spec)(NORMAL, queries=queries))
    expected = in_float64(spec, NORMAL, queries=queries.astype(np.float64))
    scale = np.maximum(1, np.abs(expected).max(-1, keepdims=True))
    assert (np.abs(output - expected) <= 2e-5 * scale).all()


def test_extreme_latents(backend):
    spec = a_spec()
    latents = NORMAL.reshape(2, -1)[:, : 7 * 12].reshape(2, 7, 12) * SIZES[:7, None]
    output = numpy_of(PerceiverIO(spec).decode(latents))
    core = PerceiverIOCore(spec.replace(dtype="float64"))
    weights = {
        name: leaf.astype(np.float64) for name, leaf in flatten(initialise(core.parameters()))
    }
    expected = core.decode(unflatten(weights), latents.astype(np.float64), None)
    np.testing.assert_allclose(output, expected.reshape(output.shape), atol=2e-5)


def test_latents_of_float16_stay_as_they_are():
    if "torch" not in CHOSEN:
        pytest.skip("needs torch")
    ivy.set_backend("torch")
    model = PerceiverIO(a_spec(dtype="float16"))
    latents = model.encode(NORMAL)
    assert np.array_equal(numpy_of(model.decode(latents)), numpy_of(model(NORMAL)))
    ivy.unset_backend()


def test_extreme_weights_are_found_beside_nan():
    arrays = {"a": np.float32([1, np.nan, 1e30]), "b": np.float16([-1, np.nan])}
    with pytest.raises(WeightsError, match=r"1 too large:\n    a: up to 1e\+30"):
        check_magnitudes(a_spec(), arrays, "a file")
    check_magnitudes(a_spec(), {"b": arrays["b"], "none": np.zeros((0, 3), np.float32)}, "a file")


@pytest.mark.parametrize(
    "name", ["latents", "processor/layer_0/self_attention_0/mlp/hidden/weight"]
)
def test_extreme_weights_are_refused(name, tmp_path):
    spec, huge = a_spec(), dict(flatten(initialise(PerceiverIOCore(a_spec()).parameters())))
    huge[name].flat[0] = -1e30
    with pytest.raises(
        WeightsError, match=rf"in v are larger than 1e\+15(.|\n)*{name}: up to 1e\+30"
    ):
        PerceiverIO(spec, v=unflatten(huge))
    double = PerceiverIO(spec.replace(dtype="float64"), v=unflatten(huge))
    expected = in_float64(spec, NORMAL, unflatten(huge))
    np.testing.assert_allclose(numpy_of(double(NORMAL)), expected, atol=1e-9)
    double.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=f"{tmp_path} are larger than"):
        PerceiverIO.from_pretrained(tmp_path, dtype="float32")
    with pytest.raises(WeightsError, match=f"{tmp_path / 'model.safetensors'} are larger than"):
        load_weights(tmp_path / "model.safetensors", spec)


def test_infinity_is_never_a_plausible_answer(backend, reading):
    data = NORMAL.copy()
    data[0, 3, 3, 0] = np.inf
    output = numpy_of(PerceiverIO(a_spec())(data))
    assert np.isnan(output[0]).all()
    assert np.isfinite(output[1]).all()


def test_everything_masked(backend, reading):
    data = np.stack(list(DATA.values()))
    mask = np.zeros(data.shape[:-1], bool)
    mask[-1, -1, 0, 0] = True  # of the last element only
    *hidden, last = numpy_of(PerceiverIO(a_spec())(data, mask)).reshape(len(data) * 2, -1)
    assert np.isfinite(hidden[0]).all()
    for output in hidden[1:]:
        np.testing.assert_allclose(output, hidden[0], atol=1e-6)
    assert np.abs(last - hidden[0]).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"input_dim": 1, "fourier_encode_input": False},
        {"num_latents": 1, "latent_dim": 1, "queries_dim": 1, "num_self_att_heads": 1},
    ],
)
def test_sizes_of_one(backend, reading, changes):
    """One input, and one latent, query or channel."""
    spec = a_spec(**changes)
    data = NORMAL[:1, :1, :1, : spec.input_dim]
    output = numpy_of(PerceiverIO(spec)(data))
    np.testing.assert_allclose(output, in_float64(spec, data), atol=2e-5)


def test_huge_scores(backend, reading):
    """Softmax of scores beyond float16 picks the largest, and no mask is outdone by a score."""
    weights = initialise(PerceiverIOCore(SPECS["Fourier"]).parameters())
    for name, leaf in flatten(weights):
        if name.endswith(("query/weight", "key/weight")):
            leaf *= 300
    mask = np.random.default_rng(1).random(SHAPE[:-1]) < 0.5
    data = NORMAL.copy()
    expected = in_float64(
        SPECS["Fourier"],
        np.where(mask[..., None], data, 0),
        weights,
        input_mask=mask.reshape(2, -1),
    )
    output = numpy_of(PerceiverIO(SPECS["Fourier"], v=weights)(data, mask))
    np.testing.assert_allclose(output, expected, atol=1e-3)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("name", [name for name in CHOSEN if name != "numpy"])
def test_scores_beyond_float16(name, dtype):
    """Scores are sums of float32, and not of the operands' type."""
    ops, rng = ops_named(name), np.random.default_rng(0)
    q, k = (rng.standard_normal((1, 2, 5, 64)).astype(np.float32) * 2000 for _ in range(2))
    v = rng.standard_normal((1, 2, 5, 3)).astype(np.float32)
    mask = np.array([[True, True, False, True, False]])
    q, k, v = (ops.cast(ops.asarray(x), dtype) for x in (q, k, v))
    single = [ops.to_numpy(ops.widen(x)).astype(np.float64) for x in (q, k, v)]
    assert np.abs(single[0] @ single[1].swapaxes(-1, -2)).max() / 8 > 65504
    for key_mask in (None, mask):
        native = None if key_mask is None else ops.asarray(key_mask)
        attended = ops.to_numpy(ops.widen(ops.attention(q, k, v, native)))
        expected = ops_named("numpy").attention(*single, key_mask)
        assert np.isfinite(attended).all()
        np.testing.assert_allclose(attended, expected, rtol=0.01, atol=0.01)
