"""Calls with fewer blocks, layers or latents equal those of a model that has no more."""

import functools

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.models import noisy
from helpers.specs import language_spec, multimodal_data, multimodal_spec, small_spec

from ivy_models import latents_over_depth
from ivy_models.arrays import to_numpy
from ivy_models.errors import InputError
from ivy_models.shells.compilation import MAX_PROGRAMS
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore

MODELS = {
    "tied": small_spec(network_depth=3),
    "untied": small_spec(network_depth=3, weight_tie_layers=False),
    "reads again": small_spec(
        network_depth=3, cross_attend_in_every_layer=True, weight_tie_layers=False
    ),
    "tied reads": small_spec(network_depth=3, cross_attend_in_every_layer=True),
    "latents": small_spec(network_depth=3, with_decoder=False),
    "text": language_spec(network_depth=3),
    "modalities": multimodal_spec(network_depth=3),
}
SIZES = [
    {"depth": 1},
    {"depth": 2, "num_latents": 3},
    {"num_layers": 1},
    {"depth": 2, "num_layers": 1, "num_latents": 1},
]
FULL = {"depth": 3, "num_layers": 2, "num_latents": 7}
FIELDS = {"depth": "network_depth", "num_layers": "num_lat_att_per_layer"}


def smaller(spec, weights, sizes):
    """A core and weights of a model that has no more blocks, layers or latents."""
    fields = {FIELDS.get(name, name): size for name, size in sizes.items()}
    core = PerceiverIOCore(spec.replace(**fields))

    def pick(description, weights):
        return {
            name: pick(part, weights[name]) if isinstance(part, dict) else weights[name]
            for name, part in description.items()
        }

    weights = pick(core.parameters(), weights)
    return core, weights | {"latents": weights["latents"][: core.spec.num_latents]}


def data_for(spec, rng):
    if spec.input_modalities is not None:
        return multimodal_data(rng)
    if spec.vocabulary_size is not None:
        return rng.integers(0, spec.vocabulary_size, (2, 9), dtype=np.int32)
    return rng.standard_normal((2, 6, 5, 3), np.float32)


def outputs(x):
    if isinstance(x, dict):
        return {name: to_numpy(part, name) for name, part in x.items()}
    return {"": to_numpy(x, "")}


def check_same(got, expected):
    got, expected = outputs(got), outputs(expected)
    assert got.keys() == expected.keys()
    for name in expected:
        assert got[name].shape == expected[name].shape
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_calls_equal_those_of_a_smaller_model(backend, name, rng):
    spec, weights = MODELS[name], noisy(MODELS[name])
    model, data = PerceiverIO(spec, v=weights), data_for(spec, rng)
    for sizes in SIZES if name == "tied" else SIZES[1:2]:  # each is another program to compile
        core, part = smaller(spec, weights, sizes)
        check_same(model(data, **sizes), core(part, data))
    check_same(model(data, v=weights, **SIZES[1]), model(data, **SIZES[1]))
    whole = PerceiverIOCore(spec)(weights, data)
    for sizes in (FULL, {}):
        check_same(model(data, **sizes), whole)


@pytest.mark.slow
def test_compiled_calls(backend, rng):
    spec, weights = MODELS["tied"], noisy(MODELS["tied"])
    model, data = PerceiverIO(spec, v=weights).compile(), data_for(spec, rng)
    for sizes in (SIZES[1], {}, SIZES[1]):
        core, part = smaller(spec, weights, sizes)
        check_same(model(data, **sizes), core(part, data))
    assert len(model._compiled._programs) <= MAX_PROGRAMS


def test_latents_are_encoded_and_decoded(backend, rng):
    spec = MODELS["tied"]
    model, data = PerceiverIO(spec, v=noisy(spec)), data_for(spec, rng)
    for sizes in ({"depth": 2}, {"depth": 1, "num_latents": 4}):
        latents = model.encode(data, **sizes)
        number = sizes.get("num_latents", 7)
        assert tuple(latents.shape) == (2, number, 12)
        check_same(model.decode(latents, num_latents=number), model(data, **sizes))
    with pytest.raises(InputError, match=r"expected floats \(\*batch, 7, 12\)"):
        model.decode(latents)


def test_latents_over_depth_are_those_of_shorter_calls(backend, rng):
    spec = small_spec(cross_attend_in_every_layer=True)
    model, data = PerceiverIO(spec), data_for(spec, rng)
    for depth, latents in enumerate(latents_over_depth(model, data)):
        if depth:
            check_same(model.encode(data, depth=depth), latents)


def test_sizes_out_of_range_are_refused(backend, rng):
    model = PerceiverIO(small_spec(network_depth=3, num_lat_att_per_layer=3, num_latents=3))
    data = data_for(model.spec, rng)
    for name in ("depth", "num_layers", "num_latents"):
        for size in (0, 4, -1, 1.0, True, "2", np.ones(2)):
            with pytest.raises(InputError, match=f"{name} must be an integer from 1 to 3"):
                model(data, **{name: size})
        check_same(model(data, **{name: np.int64(3)}), model(data))


@pytest.mark.slow
@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_torch_module(rng):
    import torch

    spec, weights = MODELS["untied"], noisy(MODELS["untied"])
    module = PerceiverIO(spec, v=weights).to_torch_module()
    data = torch.from_numpy(data_for(spec, rng))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for sizes in SIZES[1:]:
        core, part = smaller(spec, weights, sizes)
        for call in (module, compiled):
            check_same(call(data, **sizes).detach(), core(part, data.numpy()))
    calls = []
    for layer in range(3):
        module.processor.get_submodule(f"layer_{layer}.self_attention_0").register_forward_hook(
            lambda *_, layer=layer: calls.append(layer)
        )
    module(data, depth=2)
    assert calls == [0, 1]
    with pytest.raises(InputError, match="depth must be an integer from 1 to 3"):
        module(data, depth=4)
    program = torch.export.export(module, (data,), {"depth": 2})
    check_same(program.module()(data, depth=2).detach(), module(data, depth=2).detach())


@pytest.mark.skipif("jax" not in CHOSEN, reason="needs JAX")
def test_jax_function(rng):
    import jax

    spec, weights = MODELS["tied"], noisy(MODELS["tied"])
    apply, params = PerceiverIO(spec, v=weights).to_jax()
    data = data_for(spec, rng)
    for sizes in SIZES[1:3]:
        core, part = smaller(spec, weights, sizes)
        check_same(jax.jit(functools.partial(apply, **sizes))(params, data), core(part, data))
    with pytest.raises(InputError, match="depth .* needs it as a constant"):
        jax.jit(apply)(params, data, depth=2)
    gradients = jax.jit(jax.grad(lambda p: apply(p, data, num_latents=3).sum()))(params)
    assert np.abs(gradients["latents"][:3]).max() > 0
    assert np.abs(gradients["latents"][3:]).max() == 0


@pytest.mark.skipif("paddle" not in CHOSEN, reason="needs Paddle")
def test_paddle_layer(rng):
    import paddle

    spec, weights = MODELS["tied"], noisy(MODELS["tied"])
    layer, data = PerceiverIO(spec, v=weights).to_paddle_module(), data_for(spec, rng)
    for sizes in SIZES[1:]:
        core, part = smaller(spec, weights, sizes)
        check_same(layer(paddle.to_tensor(data), **sizes).detach(), core(part, data))
    with pytest.raises(InputError, match="depth must be an integer from 1 to 3"):
        layer(paddle.to_tensor(data), depth=4)
    layer(paddle.to_tensor(data), num_latents=3).sum().backward()
    gradient = layer.latents.grad.numpy()
    assert np.abs(gradient[:3]).max() > 0 == np.abs(gradient[3:]).max()


def test_keras_model(rng):
    pytest.importorskip("keras")
    spec, weights = MODELS["tied"], noisy(MODELS["tied"])
    network, data = PerceiverIO(spec, v=weights).to_keras_model(), data_for(spec, rng)
    for sizes in SIZES[1:]:
        core, part = smaller(spec, weights, sizes)
        check_same(network(data, **sizes), core(part, data))
    with pytest.raises(InputError, match="depth must be an integer from 1 to 3"):
        network(data, depth=4)
