"""Positions of inputs as coordinates that each call gives."""

import json
import sys

import numpy as np
import pytest
from helpers import CHOSEN, unset_backends
from helpers.arrays import numpy_of
from helpers.chunks import set_scores_per_chunk
from helpers.models import noisy
from helpers.processes import ONE_HEAP, python
from helpers.specs import FEW_LAYERS, points, points_spec, small_spec

from ivy_models import attention_maps, latents_over_depth
from ivy_models.errors import InputError, SpecError
from ivy_models.models.data_shape import data_shape
from ivy_models.transformers.perceiver_io import (
    FourierPositionEncoding,
    PerceiverIO,
    PerceiverIOSpec,
    Reader,
    model_costs,
)
import ivy

GRID = (6, 5)
RANGE = {"position_range": (0, 1)}
PROJECTED = {"fourier_encode_input": False, "learned_position_dim": 6, "max_fourier_freq": None}


def grid_positions(*shape):
    """Positions of a grid, (product of shape, axes)."""
    lines = [np.linspace(-1, 1, size) for size in shape]
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, len(shape))


def outputs_of(spec):
    """A function from a call's arguments to outputs. Calls share the programs of a model."""
    model = PerceiverIO(spec, v=noisy(spec))
    return lambda *arguments, **named: numpy_of(model(*arguments, **named))


@pytest.fixture(params=["plain", "streaming"])
def reader(request, monkeypatch):
    """Each way of reading, the second in several chunks."""

    monkeypatch.setattr(Reader, "plain_is_cheaper", lambda *_: request.param == "plain")
    set_scores_per_chunk(monkeypatch, 7 * 18 * 4)


# Points of a grid


@pytest.mark.parametrize(
    ("highest", "spacing"),
    [(16.0, "linear"), ((16.0, 12.0), "logarithmic"), ((224.0, 224.0), "linear")],
)
def test_points_of_a_grid_give_what_the_grid_gives(backend, reader, rng, highest, spacing):
    shared = {"max_fourier_freq": highest, "fourier_band_spacing": spacing}
    data = rng.standard_normal((2, *GRID, 3), dtype=np.float32)
    expected = outputs_of(small_spec(**FEW_LAYERS, **shared))(data)
    flat = data.reshape(2, 30, 3)
    outputs, positions = outputs_of(points_spec(**shared)), grid_positions(*GRID)
    for given in (positions, np.broadcast_to(positions, (2, 30, 2))):  # shared, and one each
        output = outputs(flat, positions=given)
        np.testing.assert_allclose(output, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("options", [{}, PROJECTED], ids=["features", "projection"])
def test_the_order_of_points_does_not_matter_but_positions_do(backend, reader, rng, options):
    spec = points_spec(**options)
    (data, positions), outputs = points(rng, spec), outputs_of(spec)
    expected, order = outputs(data, positions=positions), rng.permutation(11)
    output = outputs(data[:, order], positions=positions[:, order])
    np.testing.assert_allclose(output, expected, atol=1e-4)
    assert np.abs(outputs(data, positions=positions[:, order]) - expected).max() > 1e-2


@pytest.mark.parametrize("options", [{}, PROJECTED, {"stem": "projection", "stem_dim": 4}])
def test_all_backends_agree(reader, rng, options):
    spec, outputs = points_spec(**options), []
    data, positions = points(rng, spec, (2, 2))
    mask = rng.random((2, 2, 11)) < 0.7
    for name in CHOSEN:
        ivy.set_backend(name)
        outputs.append(outputs_of(spec)(data, mask, positions=positions))
    unset_backends()
    assert outputs[0].shape == (2, 2, 1, 5)
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], atol=1e-4)


def test_positions_without_bands_are_channels(backend, reader, rng):
    spec = points_spec(num_fourier_freq_bands=0, max_fourier_freq=None)
    data, positions = points(rng, spec)
    channels = small_spec(**FEW_LAYERS, num_input_axes=1, input_dim=5, fourier_encode_input=False)
    expected = outputs_of(channels)(np.concatenate([data, positions], -1))
    np.testing.assert_allclose(outputs_of(spec)(data, positions=positions), expected, atol=1e-5)


def test_a_range_is_mapped_to_that_of_the_grid(backend, rng):
    data, positions = points(rng, points_spec())
    expected = outputs_of(points_spec())(data, positions=positions)
    for ranges in ((0.0, 10.0), ((-90, 90), (-180.0, 180.0))):
        low, high = np.broadcast_to(ranges, (2, 2)).T
        spec = points_spec(position_range=ranges)
        given = (positions.astype(np.float64) + 1) / 2 * (high - low) + low
        np.testing.assert_allclose(outputs_of(spec)(data, positions=given), expected, atol=1e-4)


# Masks


def test_a_mask_hides_data_and_positions(backend, reader, rng):
    spec = points_spec()
    data, positions = points(rng, spec)
    positions[1] = positions[0]
    outputs = outputs_of(spec)
    expected = outputs(data[:, :8], positions=positions[:, :8])
    mask = np.arange(11) < 8
    data[:, 8:], positions[:, 8:] = np.nan, [[np.inf, 7.0]]
    own = np.tile(mask, (2, 1))
    for seen, given in ((mask, positions), (own, positions), (own, positions[0])):
        output = outputs(data, seen, positions=given)
        np.testing.assert_allclose(output, expected, atol=1e-5)


# Parts of a model


def test_latents_and_maps(backend, rng):
    spec = points_spec()
    model = PerceiverIO(spec)
    data, positions = points(rng, spec)
    output = numpy_of(model(data, positions=positions))
    latents = model.encode(data, positions=positions)
    np.testing.assert_allclose(numpy_of(model.decode(latents)), output, atol=1e-5)
    states = latents_over_depth(model, data, positions=positions)
    np.testing.assert_allclose(numpy_of(states[-1]), numpy_of(latents), atol=1e-5)
    maps = attention_maps(model, data, positions=positions)
    assert tuple(maps.reader[0].shape) == (2, 1, 7, 11)
    np.testing.assert_allclose(numpy_of(maps.reader[0]).sum(-1), 1, atol=1e-5)


def test_a_model_can_be_compiled_moved_and_written(backend, rng, tmp_path):
    spec = points_spec(position_range=[[0, 1], [-2.5, 2]], fourier_band_spacing="logarithmic")
    assert PerceiverIOSpec.from_json(spec.to_json()) == spec
    model = PerceiverIO(spec, v=noisy(spec))
    data, positions = points(rng, spec)
    positions = abs(positions)
    expected = numpy_of(model(data, positions=positions))
    model.save_pretrained(tmp_path)
    for copy in (PerceiverIO.from_pretrained(tmp_path), model.compile().to_device("cpu")):
        np.testing.assert_allclose(numpy_of(copy(data, positions=positions)), expected, atol=1e-5)


def test_costs_and_command_line(run, tmp_path):
    PerceiverIO(points_spec()).save_pretrained(tmp_path)
    spec = points_spec()
    shape = data_shape(spec, size=(50,))
    assert shape == {"data": (50, 3), "positions": (50, 2)}
    result = run("info", str(tmp_path), "--size", "50", "--json")
    assert json.loads(result.stdout)["costs"]["total"]["flops"] == (
        model_costs(spec, shape)["total"].flops
    )
    result = run("benchmark", str(tmp_path), "--size", "50", "--backend", "numpy", "--repeats", "1")
    assert result.exit_code == 0, result.output


CALL = """
import numpy as np
from ivy_models.measure.memory import HostMemory
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec
import ivy

ivy.set_backend("numpy")
model = PerceiverIO(PerceiverIOSpec(
    3, 1, 10, num_position_axes=3, num_fourier_freq_bands=32, max_fourier_freq=64.0,
    num_latents=32, latent_dim=32, network_depth=1, num_lat_att_per_layer=1,
    num_self_att_heads=1, num_cross_att_heads=HEADS, cross_head_dim=16, queries_dim=32,
    query_shape=(1,),
))
rng = np.random.default_rng(0)
data = rng.standard_normal((1, 2**20, 3), np.float32)
positions = rng.uniform(-1, 1, (1, 2**20, 3)).astype(np.float32)
memory = HostMemory()
print(memory.extra(lambda: model(data, positions=positions)) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's record of the peak")
@pytest.mark.parametrize("heads", [1, 4])
def test_a_million_points_are_read_within_200_megabytes(heads):
    """Their features alone would take 792."""
    assert float(python(CALL.replace("HEADS", str(heads)), **ONE_HEAP)) < 200


# Errors


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (None, "each call passes positions"),
        (np.zeros((2, 11, 3), np.float32), r"expected \(2, 11, 2\)"),
        (np.zeros((2, 10, 2), np.float32), r"expected \(2, 11, 2\)"),
        (np.zeros((3, 11, 2), np.float32), r"expected \(2, 11, 2\)"),
        (np.zeros((11,), np.float32), r"expected \(2, 11, 2\)"),
        (np.zeros((11, 2), np.int32), "floats. Convert them"),
        (np.full((11, 2), [0.5, 1.01]), "from 1.01 to 1.01 on axis 1"),
        (np.full((11, 2), [-7.5, 0.0]), "from -7.5 to -7.5 on axis 0"),
        (np.full((11, 2), [np.nan, 0.0]), "finite numbers from -1 to 1"),
        (np.full((11, 2), [np.inf, 0.0]), "finite numbers from -1 to 1"),
    ],
)
def test_wrong_positions_are_refused(backend, rng, positions, message):
    spec = points_spec()
    with pytest.raises(InputError, match=message):
        PerceiverIO(spec)(points(rng, spec)[0], positions=positions)


def test_time_stamps_that_float32_cannot_tell_apart_are_refused(backend, rng):
    start, day = 1.7e9, 86400.0
    spec = points_spec(position_range=((start, start + day), (0, 1)))
    model, (data, positions) = PerceiverIO(spec), points(rng, spec)
    from_zero = np.abs(positions.astype(np.float64)) * [day, 1]
    stamps = from_zero + np.array([start, 0])
    with pytest.raises(InputError, match=r"numbers near 1\.7.*e\+09 are 128 apart.*\(0, 86400"):
        model(data, positions=stamps.astype(np.float32))
    shifted = PerceiverIO(spec.replace(position_range=((0, day), (0, 1))), v=model.v)
    expected = numpy_of(shifted(data, positions=from_zero))
    if backend != "jax":  # has float64 on request only
        np.testing.assert_allclose(
            numpy_of(model(data, positions=stamps)), expected, rtol=1e-5, atol=1e-5
        )


def test_positions_are_refused_by_a_grid_model(backend, rng):
    with pytest.raises(InputError, match="no num_position_axes"):
        PerceiverIO(small_spec())(rng.standard_normal((5, 4, 3)), positions=np.zeros((20, 2)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_position_axes": 0}, "at least 1"),
        ({"num_fourier_freq_bands": -1}, "at least 0"),
        ({"num_input_axes": 2}, "num_input_axes=1"),
        ({"max_fourier_freq": None}, "needs max_fourier_freq"),
        ({"max_fourier_freq": (5.0,)}, "one for each axis"),
        ({"stem": "convolution", "stem_dim": 4}, "stem=None"),
        ({"stem": "column_projection", "stem_dim": 4}, "stem=None"),
        ({"patch_shape": (2,)}, "leave out"),
        ({"vocabulary_size": 9}, "leave out"),
        ({"learned_position_shape": (11,)}, "leave out"),
        ({"learned_position_dim": 6}, "either fourier_encode_input"),
        ({"fourier_encode_input": False}, "or learned_position_dim"),
        ({**PROJECTED, "fourier_band_spacing": "logarithmic"}, "needs Fourier features"),
        ({"fourier_band_spacing": "cubic"}, "'linear', 'logarithmic'"),
        ({"position_range": (1, 1)}, "lowest, highest"),
        ({"position_range": 3}, "lowest, highest"),
        ({"position_range": "ab"}, "lowest, highest"),
        ({"position_range": None}, "lowest, highest"),
        ({"position_range": ((0, 1), None)}, "each pair of position_range must be a pair"),
        ({"position_range": (0, float("inf"))}, "finite"),
        ({"position_range": ((0, 1),) * 3}, "one for each of the 2 axes"),
        (
            {"num_position_axes": None, "max_fourier_freq": 9.0, "position_range": (0, 1)},
            "set num_position_axes",
        ),
    ],
)
def test_contradicting_options_are_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        points_spec(**changes)


# The features themselves


def test_logarithmic_bands_are_multiples_of_each_other():
    encoding = FourierPositionEncoding(4, 16, spacing="logarithmic")
    position = np.array([[0.3]])
    angles = np.pi * 0.3 * np.array([1, 2, 4, 8])
    expected = [0.3, *np.sin(angles), *np.cos(angles)]
    np.testing.assert_allclose(encoding.encode(position)[0], expected, atol=1e-6)


def test_native_features_are_those_of_numpy(ops, rng):
    encoding = FourierPositionEncoding(5, (16, 9, 7))
    positions = rng.uniform(-1, 1, (2, 4, 3)).astype(np.float32)
    native = ops.to_numpy(encoding.encode_native(ops, ops.asarray(positions)))
    np.testing.assert_allclose(native, encoding.encode(positions), atol=1e-5)
