"""Queries from coordinates: a model is decoded anywhere."""

import sys

import numpy as np
import pytest
from helpers import CHOSEN, unset_backends
from helpers.arrays import image, numpy_of
from helpers.chunks import set_scores_per_chunk
from helpers.models import noisy
from helpers.processes import ONE_HEAP, python
from helpers.specs import field_spec, multimodal_spec, points, points_spec, small_spec

from ivy_models import attention_maps
from ivy_models.errors import InputError, SpecError
from ivy_models.layers.parameters import map_tree
from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import (
    FourierPositionEncoding,
    PerceiverIO,
    PerceiverIOCore,
    PerceiverIOSpec,
)
import ivy


@pytest.fixture(params=["at once", "in chunks"])
def chunks(request, monkeypatch):
    if request.param == "in chunks":
        set_scores_per_chunk(monkeypatch, 3 * 18 * 3)


FOLDED = {"query_residual": False, "queries_dim": 40}
"""A decoder that folds the queries into the keys."""


def draw(rng, *shape):
    return rng.uniform(-1, 1, (*shape, 2)).astype(np.float32)


def model_of(spec):
    return PerceiverIO(spec, v=noisy(spec))


@pytest.mark.parametrize("options", [{}, {"fourier_band_spacing": "logarithmic"}, FOLDED])
def test_coordinates_of_a_grid_give_what_its_features_give(backend, chunks, rng, options):
    spec = field_spec(**options)
    weights = noisy(spec)
    spacing = spec.fourier_band_spacing
    features = FourierPositionEncoding(4, spec.max_fourier_freq, spacing=spacing)((7, 5))
    projection = weights["queries"]["projection"]
    given = features @ projection["weight"] + projection["bias"]
    plain = spec.replace(num_query_position_axes=None, position_range=(-1, 1), query_shape=(7, 5))
    known = {name: branch for name, branch in weights.items() if name != "queries"}
    data = image(rng, 2, 6, 5, 3)
    expected = numpy_of(PerceiverIO(plain, v=known)(data, queries=given))
    lines = np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 5), indexing="ij")
    grid = np.stack(lines, -1)
    model = PerceiverIO(spec, v=weights)
    output = numpy_of(model(data, queries=np.broadcast_to(grid, (2, 7, 5, 2))))
    assert output.shape == (2, 7, 5, 5)
    np.testing.assert_allclose(output, expected, atol=1e-5 * np.abs(expected).max())
    flat = numpy_of(model(data, queries=grid.reshape(35, 2)))  # shared by the batch
    np.testing.assert_allclose(flat, output.reshape(2, 35, 5), atol=1e-5)


@pytest.mark.parametrize("options", [{}, FOLDED, {"num_cross_att_heads": 3}])
def test_all_backends_agree(chunks, rng, options):
    spec, outputs = field_spec(**options), []
    data, queries = image(rng, 2, 6, 5, 3), draw(rng, 2, 11)
    for name in CHOSEN:
        ivy.set_backend(name)
        outputs.append(numpy_of(model_of(spec)(data, queries=queries)))
    unset_backends()
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], atol=1e-4)


def test_each_query_is_decoded_on_its_own(backend, chunks, rng):
    model, data, queries = model_of(field_spec()), image(rng, 2, 6, 5, 3), draw(rng, 2, 20)
    expected = numpy_of(model(data, queries=queries))
    for part in (slice(0, 1), slice(3, 17)):
        some = numpy_of(model(data, queries=queries[:, part]))
        np.testing.assert_allclose(some, expected[:, part], atol=1e-5)


def test_points_in_and_points_out(backend, rng):
    spec = points_spec(
        num_query_position_axes=2, learn_query=False, query_shape=None, position_range=(0, 4)
    )
    assert PerceiverIOSpec.from_json(spec.to_json()) == spec
    model = model_of(spec)
    (data, positions), queries = points(rng, spec), 2 + 2 * draw(rng, 2, 9)
    output = numpy_of(model(data, positions=2 + 2 * positions, queries=queries))
    latents = model.encode(data, positions=2 + 2 * positions)
    np.testing.assert_allclose(numpy_of(model.decode(latents, queries)), output, atol=1e-5)
    maps = attention_maps(model, data, queries=queries, positions=2 + 2 * positions)
    assert tuple(maps.decoder.shape) == (2, 1, 9, 7)
    np.testing.assert_allclose(numpy_of(maps.decoder).sum(-1), 1, atol=1e-5)


@pytest.mark.skipif(set(CHOSEN) == {"numpy"}, reason="NumPy has no half precision")
def test_half_precision_keeps_the_coordinates_precise(rng):
    """The features of the highest bands need more than 8 bits."""
    others = [name for name in CHOSEN if name != "numpy"]
    ivy.set_backend("torch" if "torch" in others else others[-1])
    data, queries = image(rng, 6, 5, 3), draw(rng, 50)
    spec = field_spec(max_fourier_freq=1000.0)
    weights = noisy(spec)
    expected, output = (
        numpy_of(PerceiverIO(spec.replace(dtype=dtype), v=weights)(data, queries=queries))
        for dtype in ("float32", "bfloat16")
    )
    unset_backends()
    assert np.abs(output - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("name", CHOSEN)
def test_a_wide_query_is_made_in_chunks_too(name, monkeypatch, rng):
    """One latent has few scores, but its chunk of queries has many channels."""
    spec, ops, widths = field_spec(num_latents=1), ops_named(name), []
    core, made = PerceiverIOCore(spec), FourierPositionEncoding.encode_native

    def recorded(self, ops, positions):
        widths.append(positions.shape[1])
        return made(self, ops, positions)

    monkeypatch.setattr(FourierPositionEncoding, "encode_native", recorded)
    set_scores_per_chunk(monkeypatch, 140)
    params = map_tree(ops.asarray, noisy(spec))
    core.decode(params, ops.asarray(image(rng, 1, 1, 12)), ops.asarray(draw(rng, 1, 35)))
    assert max(widths) == 140 // 18


CALL = """
import numpy as np
from ivy_models.measure.memory import HostMemory
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec
import ivy

ivy.set_backend("numpy")
model = PerceiverIO(PerceiverIOSpec(
    3, 2, 1, num_query_position_axes=3, num_fourier_freq_bands=32, max_fourier_freq=64.0,
    num_latents=LATENTS, latent_dim=32, network_depth=1, num_lat_att_per_layer=1,
    num_self_att_heads=1, queries_dim=64, learn_query=False,
))
rng = np.random.default_rng(0)
data = rng.standard_normal((1, 6, 5, 3), np.float32)
queries = rng.uniform(-1, 1, (1, 2**20, 3)).astype(np.float32)
memory = HostMemory()
print(memory.extra(lambda: model(data, queries=queries)) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's record of the peak")
@pytest.mark.parametrize("latents", [1, 32])
def test_a_million_queries_are_decoded_within_200_megabytes(latents):
    """Their features alone would take 780, and the queries 256."""
    assert float(python(CALL.replace("LATENTS", str(latents)), **ONE_HEAP)) < 200


# Errors


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (None, r"each call passes queries=..., of shape \(\*batch, \*query_axes, 2\)"),
        (np.zeros((2, 11, 3), np.float32), r"expected \(\*batch, \*query_axes, 2\)"),
        (np.zeros((3, 11, 2), np.float32), "batch axes"),
        (np.zeros((0, 2), np.float32), "queries are empty"),
        (np.zeros((11, 2), np.int32), "floats"),
        (np.full((11, 2), [0.5, 1.01]), "from 1.01 to 1.01 on axis 1"),
        (np.full((11, 2), [np.nan, 0.0]), "finite numbers from -1 to 1"),
        ({"queries": np.zeros((11, 2), np.float32), "mask": None}, "queries is a mapping"),
    ],
)
def test_wrong_coordinates_are_refused(backend, rng, queries, message):
    with pytest.raises(InputError, match=message):
        PerceiverIO(field_spec())(image(rng, 2, 6, 5, 3), queries=queries)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learn_query": True, "query_shape": (3,)}, "learn_query=False"),
        ({"with_decoder": False}, "with_decoder=True"),
        ({"queries_from_inputs": True, "queries_dim": 21}, "leave out queries_from_inputs"),
        ({"max_fourier_freq": None}, "needs max_fourier_freq"),
        ({"num_query_position_axes": 3}, "one for each axis"),
        ({"position_range": ((0, 1),) * 3}, "one for each of the 2 axes"),
        ({"num_query_position_axes": 0}, "at least 1"),
    ],
)
def test_contradicting_options_are_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        field_spec(**changes)


def test_modalities_have_their_own_queries():
    with pytest.raises(SpecError, match="output_modalities"):
        multimodal_spec(num_query_position_axes=2, max_fourier_freq=9.0)


def test_logarithmic_bands_of_queries_alone(rng):
    spec = small_spec(fourier_encode_input=False)
    with pytest.raises(SpecError, match="needs Fourier features"):
        spec.replace(fourier_band_spacing="logarithmic")
    field_spec(fourier_encode_input=False, fourier_band_spacing="logarithmic")
