"""The MLPs' widths, activations and gates, in every shell."""

import math

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.models import noisy
from helpers.specs import small_spec

from ivy_models.arrays import to_numpy
from ivy_models.layers.attention import MLP
from ivy_models.layers.parameters import count, flatten, initialise, map_tree
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore, model_costs

WIDE = {"reader_widening_factor": 2, "processor_widening_factor": 4, "decoder_widening_factor": 3}
GATED = small_spec(**WIDE, activation="silu", gated_mlp=True)

FORMULAS = {
    ("gelu", False): lambda v: (
        0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
    ),
    ("gelu", True): lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))),
    ("relu", False): lambda v: max(v, 0.0),
    ("silu", False): lambda v: v / (1 + math.exp(-v)),
}


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("activation", FORMULAS)
def test_an_mlp_is_the_one_written_out_by_hand(ops, rng, activation, gated):
    mlp = MLP(3, *activation, gated)
    weights = map_tree(
        lambda w: w + 0.2 * rng.standard_normal(w.shape, np.float32), initialise(mlp.parameters(6))
    )
    x = rng.standard_normal((2, 5, 6), np.float32)
    got = ops.to_numpy(mlp.residual(ops, map_tree(ops.asarray, weights), ops.asarray(x)))

    def linear(layer, x):
        return x @ layer["weight"] + layer["bias"]

    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    normed = normed * weights["mlp_norm"]["scale"] + weights["mlp_norm"]["offset"]
    layers, activate = weights["mlp"], np.vectorize(FORMULAS[activation])
    hidden = linear(layers["hidden"], normed)
    assert hidden.shape == (2, 5, 18)
    hidden = hidden * activate(linear(layers["gate"], normed)) if gated else activate(hidden)
    np.testing.assert_allclose(got, x + linear(layers["output"], hidden), atol=2e-5)


def test_names_and_draws_of_weights_do_not_depend_on_other_widths():
    plain = dict(flatten(initialise(PerceiverIOCore(small_spec()).parameters())))
    wide = dict(flatten(initialise(PerceiverIOCore(small_spec(**WIDE)).parameters())))
    assert list(plain) == list(wide)
    for name in plain:
        assert "/mlp/" in name or np.array_equal(plain[name], wide[name])


def test_costs_are_exact():
    """A processor of two layers, applied twice, with 7 latents of 12 channels."""
    for gated, layers in ((False, 2), (True, 3)):
        spec = small_spec(gated_mlp=gated)
        extra = {
            name: model_costs(spec.replace(**WIDE), (6, 5, 3))[name].flops
            - model_costs(spec, (6, 5, 3))[name].flops
            for name in ("reader", "processor", "decoder")
        }
        assert extra["reader"] == 2 * 7 * layers * 12 * 12
        assert extra["processor"] == 2 * 2 * 2 * 7 * layers * 12 * 36
        assert extra["decoder"] == 2 * 1 * layers * 14 * 28
        model = PerceiverIOCore(spec.replace(**WIDE))
        total = model_costs(model.spec, (6, 5, 3))["total"]
        assert total.parameters == count(model.parameters())


def test_backends_and_files_agree(backend, rng, tmp_path):
    model, data = PerceiverIO(GATED, v=noisy(GATED)), rng.standard_normal((2, 6, 5, 3), np.float32)
    output = to_numpy(model(data), "")
    expected = PerceiverIOCore(GATED)(noisy(GATED), data)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
    model.save_pretrained(tmp_path)
    again = PerceiverIO.from_pretrained(tmp_path)
    assert again.spec == GATED
    np.testing.assert_array_equal(to_numpy(again(data), ""), output)


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_torch_has_linear_layers(rng):
    import torch

    module = PerceiverIO(GATED, v=noisy(GATED)).to_torch_module()
    data = torch.from_numpy(rng.standard_normal((2, 6, 5, 3), np.float32))
    expected, mlp = module(data), module.processor.layer_0.self_attention_0.mlp
    for layer, sizes in ((mlp.hidden, (12, 48)), (mlp.gate, (12, 48)), (mlp.output, (48, 12))):
        assert type(layer) is torch.nn.Linear
        assert (layer.in_features, layer.out_features) == sizes
    calls = []
    hook = mlp.gate.register_forward_hook(lambda *call: calls.append(call))
    torch.testing.assert_close(module(data), expected)
    assert len(calls) == GATED.network_depth
    hook.remove()
    mlp.gate.weight.data.zero_()  # a gate of its bias alone
    assert not torch.allclose(module(data), expected)


@pytest.mark.skipif("jax" not in CHOSEN, reason="needs JAX")
def test_jax_function(rng):
    import jax

    apply, params = PerceiverIO(GATED, v=noisy(GATED)).to_jax()
    data = rng.standard_normal((2, 6, 5, 3), np.float32)
    expected = PerceiverIOCore(GATED)(noisy(GATED), data)
    np.testing.assert_allclose(jax.jit(apply)(params, data), expected, rtol=1e-4, atol=1e-4)
