"""Modalities whose positions each call gives as coordinates."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import numpy_of
from helpers.chunks import set_scores_per_chunk
from helpers.gradients import TRAINED, value_and_gradients
from helpers.models import noisy
from helpers.specs import sites_data, sites_spec

from ivy_models import attention_maps
from ivy_models.errors import InputError, SpecError
from ivy_models.layers.features import Inputs
from ivy_models.models.data_shape import data_shape
from ivy_models.transformers.perceiver_io import (
    PerceiverIO,
    PerceiverIOCore,
    PerceiverIOSpec,
    Reader,
    model_costs,
)
import ivy

SPEC = sites_spec()
FACTS, SITES = SPEC.input_modalities
PROJECTED = replace(
    SITES, num_fourier_freq_bands=None, max_fourier_freq=None, learned_position_dim=6
)


@pytest.fixture(scope="module")
def case():
    """A model, the arguments of a call by name, and its result."""
    ivy.set_backend("numpy")
    model, (data, positions) = PerceiverIO(SPEC), sites_data(np.random.default_rng(3), 7)
    arguments = {"data": data, "positions": positions}
    yield model, arguments, numpy_of(model(**arguments))
    ivy.unset_backend()


@pytest.fixture(params=["plain", "streaming"])
def reader(request, monkeypatch):
    """Each way of reading, the second in several chunks."""
    monkeypatch.setattr(Reader, "plain_is_cheaper", lambda *_: request.param == "plain")
    set_scores_per_chunk(monkeypatch, 7 * 18 * 4)


def outputs_of(spec, *arguments, **named):
    return numpy_of(PerceiverIO(spec, v=noisy(spec))(*arguments, **named))


@pytest.mark.parametrize(
    "bands",
    [{}, {"fourier_band_spacing": "logarithmic"}, {"num_fourier_freq_bands": 0}],
    ids=["linear", "logarithmic", "none"],
)
def test_points_of_a_grid_give_what_the_grid_gives(backend, reader, rng, bands):
    data, _ = sites_data(rng)
    sites = replace(SITES, **bands)
    grid = replace(sites, num_input_axes=2, num_position_axes=None, position_range=(-1, 1))
    on_grid = data | {"sites": data["sites"].reshape(2, 6, 5, 3)}
    expected = outputs_of(SPEC.replace(input_modalities=(FACTS, grid)), on_grid)
    lines = np.linspace(0, 1, 6), np.linspace(0, 1, 5)
    positions = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(30, 2)
    for given in (positions, np.broadcast_to(positions, (2, 30, 2))):  # shared, and one each
        spec = SPEC.replace(input_modalities=(FACTS, sites))
        output = outputs_of(spec, data, positions={"sites": given})
        np.testing.assert_allclose(output, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("sites", [SITES, PROJECTED], ids=["features", "projection"])
def test_hidden_points_may_be_anything(backend, reader, rng, sites):
    spec = SPEC.replace(input_modalities=(FACTS, sites))
    data, positions = sites_data(rng, 7)
    mask = {"sites": np.arange(7) < 5}
    expected = outputs_of(spec, data, mask, positions=positions)
    data["sites"][:, 5:], positions["sites"][:, 5:] = np.nan, 9
    np.testing.assert_array_equal(outputs_of(spec, data, mask, positions=positions), expected)
    positions["sites"][:, :5] = positions["sites"][:, 4::-1]
    assert np.abs(outputs_of(spec, data, mask, positions=positions) - expected).max() > 1e-2


def test_hidden_points_are_made_a_chunk_at_a_time(backend, rng, monkeypatch):
    data, positions = sites_data(rng, 7)
    mask = {"sites": rng.random((2, 7)) < 0.5}
    expected = outputs_of(SPEC, data, mask, positions=positions)
    monkeypatch.setattr(Reader, "plain_is_cheaper", lambda *_: False)
    monkeypatch.setattr(Inputs, "dense", lambda *_: pytest.fail("all features at once"))
    set_scores_per_chunk(monkeypatch, 7 * 18 * 4)
    output = outputs_of(SPEC, data, mask, positions=positions)
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.parametrize("hides", [False, True])
@pytest.mark.parametrize("name", TRAINED)
def test_gradients_of_both_ways_of_reading_agree(name, hides, rng, monkeypatch):
    set_scores_per_chunk(monkeypatch, 7 * 18 * 4)
    data, positions = sites_data(rng, 7)
    arguments = {"params": noisy(SPEC), "data": SPEC.input().with_positions(data, positions)}
    if hides:
        arguments["input_mask"] = {"sites": rng.random((2, 7)) < 0.6}

    def gradients(plain):
        core = PerceiverIOCore(SPEC, plain_reader=plain)
        return value_and_gradients(name, core, arguments, "float32")[1]

    fast, plain = gradients(False), gradients(True)
    assert np.abs(plain["data/sites/positions"]).max() > 0
    for key in plain:
        assert np.abs(fast[key] - plain[key]).max() <= 1e-4 * max(1, np.abs(plain[key]).max()), key


def test_maps_costs_and_json(case):
    model, arguments, _ = case
    maps = attention_maps(model, **arguments).reader[0]
    assert maps["sites"].shape[-1] == 7
    total = sum(numpy_of(part).reshape(2, 7, -1).sum(-1) for part in maps.values())
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    assert PerceiverIOSpec.from_json(SPEC.to_json()) == SPEC
    shape = data_shape(SPEC, size={"sites": (100,)})
    assert shape == {"facts": (11,), "sites": {"data": (100, 3), "positions": (100, 2)}}
    assert model_costs(SPEC, shape)["reader"].flops > 0
    with pytest.raises(InputError, match="sites: The spec does not fix the number of inputs"):
        data_shape(SPEC)


# Native modules


def test_torch(case):
    torch = pytest.importorskip("torch")
    model, arguments, expected = case
    module = model.to_torch_module()
    tensors = {
        name: {n: torch.from_numpy(x) for n, x in part.items()} for name, part in arguments.items()
    }
    np.testing.assert_allclose(module(**tensors).detach(), expected, atol=1e-5)
    program = torch.export.export(module, (), tensors).module()
    np.testing.assert_allclose(program(**tensors).detach(), expected, atol=1e-5)
    inner = (tensors["positions"]["sites"] * 0.9).requires_grad_()
    module(tensors["data"], positions={"sites": inner}).sum().backward()
    assert inner.grad.abs().max() > 0


def test_jax(case):
    jax = pytest.importorskip("jax")
    model, arguments, expected = case
    apply, params = model.to_jax()
    np.testing.assert_allclose(jax.jit(apply)(params, **arguments), expected, atol=1e-5)


def test_keras(case, tmp_path):
    keras = pytest.importorskip("keras")
    model, arguments, expected = case
    network = model.to_keras_model()
    np.testing.assert_allclose(numpy_of(network(**arguments)), expected, atol=1e-4)
    np.testing.assert_allclose(network.predict(arguments, verbose=0), expected, atol=1e-4)
    network.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(numpy_of(copy(arguments)), expected, atol=1e-4)


@pytest.mark.skipif("paddle" not in CHOSEN, reason="needs paddle")
def test_paddle(case):
    import paddle

    model, arguments, expected = case
    tensors = {
        name: {n: paddle.to_tensor(x) for n, x in part.items()} for name, part in arguments.items()
    }
    np.testing.assert_allclose(model.to_paddle_module()(**tensors).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [None, {"facts": (2, 11), "sites": "fixed"}])
def test_onnx(case, tmp_path, shape):
    pytest.importorskip("onnxruntime")
    from ivy_models import OnnxModel

    model, arguments, expected = case
    if shape is not None:
        shape = shape | {"sites": {"data": (2, 7, 3), "positions": (2, 7, 2)}}
    model.to_onnx(tmp_path / "model.onnx", shape)
    exported = OnnxModel(tmp_path / "model.onnx")
    np.testing.assert_allclose(exported(**arguments), expected, atol=1e-5)
    with pytest.raises(InputError, match="shape must be a mapping of data, positions"):
        model.to_onnx(tmp_path / "model.onnx", {"facts": (2, 11), "sites": (2, 7, 3)})


# Refusals


@pytest.mark.parametrize(
    ("positions", "match"),
    [
        (None, "sites: The model has num_position_axes"),
        ({}, "sites: The model has num_position_axes"),
        (
            {"sites": np.full((2, 7, 2), 0.5), "facts": 0.5},
            "facts: positions were passed to a model whose spec has no",
        ),
        ({"cities": 0.5}, "positions has cities; the model's modalities are facts, sites"),
        (0.5, "positions is a mapping from modalities"),
        ({"sites": np.full((2, 7, 2), 1.5)}, r'positions\["sites"\] has coordinates from 1.5'),
        ({"sites": np.full((2, 7, 3), 0.5)}, r'positions\["sites"\] has shape \(2, 7, 3\)'),
    ],
)
def test_wrong_positions_are_refused(case, positions, match):
    model, arguments, _ = case
    with pytest.raises(InputError, match=match):
        model(arguments["data"], positions=positions)


def test_missing_points_are_refused(case):
    model, arguments, _ = case
    facts = {"facts": arguments["data"]["facts"]}
    with pytest.raises(InputError, match="sites is missing from data"):
        model(facts)
    with pytest.raises(InputError, match="positions has sites, but data does not"):
        model(facts, positions=arguments["positions"])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"max_fourier_freq": None}, "sites: num_position_axes=2 needs max_fourier_freq"),
        ({"max_fourier_freq": (1, 2, 3)}, "one number for each of the 2 axes"),
        ({"num_input_axes": 2}, "sites: With num_position_axes each input"),
        ({"vocabulary_size": 5}, "sites: With num_position_axes each input"),
        ({"position_range": (1, 0)}, "lowest < highest"),
        ({"num_position_axes": None, "num_input_axes": 2}, "position_range needs num_position"),
        ({"learned_position_dim": 4}, "either fourier_encode_input"),
        ({"fourier_band_spacing": "cubic"}, "sites: fourier_band_spacing must be one of"),
    ],
)
def test_contradicting_fields_are_refused(changes, match):
    with pytest.raises(SpecError, match=match):
        replace(SITES, **changes)
    with pytest.raises(SpecError, match="needs Fourier features"):
        replace(PROJECTED, fourier_band_spacing="logarithmic")
