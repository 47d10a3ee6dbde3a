"""Decoders that average the latents, attention without an MLP, and a first layer of its own."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.models import noisy
from helpers.specs import small_spec

from ivy_models.arrays import to_numpy
from ivy_models.errors import InputError, SpecError
from ivy_models.interpret.attention_maps import attention_maps
from ivy_models.interpret.depth import latents_over_depth
from ivy_models.interpret.rollout import attention_rollout
from ivy_models.layers.parameters import count, flatten, unflatten
from ivy_models.transformers.perceiver_io import (
    PerceiverIO,
    PerceiverIOCore,
    PerceiverIOSpec,
    model_costs,
)

POOLED = small_spec(pooling="mean", query_shape=None)
LAYERS = {"cross_attend_in_every_layer": True, "network_depth": 3}


@pytest.fixture
def data(rng):
    return rng.standard_normal((2, 6, 5, 3), np.float32)


def by_hand(latents, weights):
    """Mean, layer norm and head of latents (B, N, D)."""
    mean = latents.mean(1)
    centred = mean - mean.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    normed = normed * weights["norm"]["scale"] + weights["norm"]["offset"]
    return normed @ weights["head"]["weight"] + weights["head"]["bias"]


def test_the_output_is_the_mean_of_the_latents(backend, data, tmp_path):
    weights = noisy(POOLED)
    model, mask = PerceiverIO(POOLED, v=weights), np.arange(30).reshape(6, 5) % 7 > 0
    output, latents = to_numpy(model(data, mask), ""), model.encode(data, mask)
    assert output.shape == (2, 5)
    expected = by_hand(to_numpy(latents, ""), weights["decoder"])
    np.testing.assert_allclose(output, expected, atol=2e-5)
    np.testing.assert_allclose(to_numpy(model.decode(latents), ""), expected, atol=2e-5)
    core = PerceiverIOCore(POOLED)(weights, data, mask.reshape(1, -1).repeat(2, 0))
    np.testing.assert_allclose(output, core[:, 0], rtol=1e-4, atol=1e-4)
    maps = attention_maps(model, data)
    np.testing.assert_allclose(to_numpy(maps.decoder, ""), np.full((2, 1, 7), 1 / 7), rtol=1e-6)
    rollout = to_numpy(attention_rollout(maps), "")
    assert rollout.shape == (2, 6, 5)
    np.testing.assert_allclose(rollout.sum((1, 2)), 1, rtol=1e-5)
    model.save_pretrained(tmp_path)
    again = PerceiverIO.from_pretrained(tmp_path)
    assert again.spec == POOLED
    np.testing.assert_array_equal(to_numpy(again(data, mask), ""), output)


def test_pooled_latents_without_a_head(data):
    spec = POOLED.replace(with_final_head=False)
    assert PerceiverIOCore(spec)(noisy(spec), data).shape == (2, 1, 12)
    assert "head" not in PerceiverIOCore(spec).parameters()["decoder"]


def test_costs_of_a_pooled_head():
    costs = model_costs(POOLED, (6, 5, 3), batch=4)
    assert costs["decoder"].flops == 2 * 4 * 12 * 5
    assert costs["decoder"].parameters == 2 * 12 + 12 * 5 + 5
    assert costs["total"].parameters == count(PerceiverIOCore(POOLED).parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "max"},
        {"query_shape": ()},
        {"with_decoder": False},
        {"num_query_position_axes": 2, "max_fourier_freq": 8.0},
        {"queries_from_inputs": True},
    ],
)
def test_contradictions_are_refused(changes):
    with pytest.raises(SpecError, match="pooling"):
        POOLED.replace(**changes)


def test_queries_are_refused(data):
    with pytest.raises(InputError, match="averages its latents"):
        PerceiverIO(POOLED)(data, queries=data)


def test_without_an_mlp_attention_is_the_result(backend, data):
    """As with an MLP whose last layer is zero."""
    names = [f"{part}_widening_factor" for part in ("reader", "processor", "decoder")]
    spec = small_spec(**dict.fromkeys(names, 0))
    whole = small_spec()
    weights = noisy(whole)
    for name, array in flatten(weights):
        if "/mlp/output/" in name:
            array[...] = 0
    expected = PerceiverIOCore(whole)(weights, data)
    kept = {name: array for name, array in flatten(weights) if "/mlp" not in name}
    assert list(kept) == [name for name, _ in flatten(PerceiverIOCore(spec).parameters())]
    model = PerceiverIO(spec, v=unflatten(kept))
    np.testing.assert_allclose(to_numpy(model(data), ""), expected, rtol=1e-4, atol=1e-4)
    assert PerceiverIOSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("reads", [True, False])
def test_the_first_layer_has_weights_of_its_own(backend, data, reads):
    spec = small_spec(**LAYERS, untied_first_layer=True)
    spec = spec.replace(cross_attend_in_every_layer=reads)
    weights = noisy(spec)
    assert list(weights["processor"]) == ["layer_0", "layer_1"]
    assert len(weights["reader"]) == 1 + reads
    untied = spec.replace(weight_tie_layers=False, untied_first_layer=False)
    repeated = {
        part: {**weights[part], "layer_2": weights[part]["layer_1"]}
        for part in ("reader", "processor")
        if "layer_1" in weights[part]
    }
    expected = PerceiverIOCore(untied)(weights | repeated, data)
    model = PerceiverIO(spec, v=weights)
    np.testing.assert_allclose(to_numpy(model(data), ""), expected, rtol=1e-4, atol=1e-4)
    depths = latents_over_depth(model, data)
    for depth in (1, 3):
        latents = to_numpy(model.encode(data, depth=depth), "")
        np.testing.assert_allclose(latents, to_numpy(depths[depth], ""), rtol=1e-4, atol=1e-4)


def test_a_first_layer_of_its_own_may_be_the_only_one(backend, data):
    spec = small_spec(untied_first_layer=True, network_depth=1)
    weights = noisy(spec)
    expected = PerceiverIOCore(spec.replace(untied_first_layer=False))(weights, data)
    model = PerceiverIO(spec, v=weights)
    np.testing.assert_allclose(to_numpy(model(data), ""), expected, rtol=1e-4, atol=1e-4)


def test_only_tied_layers_have_an_untied_first():
    with pytest.raises(SpecError, match="untied_first_layer=True needs"):
        small_spec(weight_tie_layers=False, untied_first_layer=True)


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_torch_has_a_norm_and_a_head(data):
    import torch

    spec = POOLED.replace(**LAYERS, untied_first_layer=True)
    module = PerceiverIO(spec, v=noisy(spec)).to_torch_module()
    assert isinstance(module.decoder.norm, torch.nn.LayerNorm)
    assert isinstance(module.decoder.head, torch.nn.Linear)
    expected = PerceiverIOCore(spec)(noisy(spec), data)[:, 0]
    output = module(torch.from_numpy(data))
    np.testing.assert_allclose(output.detach(), expected, rtol=1e-4, atol=1e-4)
    calls = []
    module.decoder.norm.register_forward_hook(lambda *call: calls.append(call))
    torch.testing.assert_close(module(torch.from_numpy(data)), output)
    assert len(calls) == 1
    output.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.decoder.parameters())


@pytest.mark.skipif("jax" not in CHOSEN, reason="needs JAX")
def test_jax_function(data):
    import jax

    spec = POOLED.replace(**LAYERS, untied_first_layer=True)
    apply, params = PerceiverIO(spec, v=noisy(spec)).to_jax()
    expected = PerceiverIOCore(spec)(noisy(spec), data)[:, 0]
    np.testing.assert_allclose(jax.jit(apply)(params, data), expected, rtol=1e-4, atol=1e-4)
