"""Resamplers as modules of the frameworks, and compared with those of transformers."""

import copy

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.resamplers import (
    PUBLISHED,
    SMALL,
    arguments_for,
    published,
    random_weights,
    textbook,
)

from ivy_models.errors import InputError, WeightsError
from ivy_models.layers.parameters import flatten, map_tree
from ivy_models.transformers.perceiver_io import ResamplerSpec

needs_torch = pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
needs_jax = pytest.mark.skipif("jax" not in CHOSEN, reason="needs jax")
needs_paddle = pytest.mark.skipif("paddle" not in CHOSEN, reason="needs paddle")


def torch_module(spec, rng):
    """A module with random weights, and these as a tree."""
    import torch

    from ivy_models.shells.torch import Resampler

    module, weights = Resampler(spec), random_weights(spec, rng)
    tensors = dict(flatten(map_tree(torch.from_numpy, weights)))
    with torch.no_grad():
        for name, own in flatten(module.weights()):
            own.copy_(tensors[name])
    return module, weights


@needs_torch
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_torch_layer_runs_its_hooks_and_computes_the_same(name, rng):
    import torch

    from ivy_models.shells.torch_layers import Branch

    spec = published(name)
    module, weights = torch_module(spec, rng)
    arrays = arguments_for(spec, rng)
    arguments = {key: torch.from_numpy(x) for key, x in arrays.items()}
    expected = textbook(spec, weights, **arrays)
    output = module(**arguments)
    np.testing.assert_allclose(output.detach(), expected, atol=2e-5)
    output.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    layers, fired = [m for m in module.modules() if not isinstance(m, Branch)], set()
    assert {type(layer).__base__.__name__ for layer in layers} <= {"Module", "LayerNorm", "RMSNorm"}
    for layer in layers:
        layer.register_forward_hook(lambda layer, *_: fired.add(layer))
    np.testing.assert_allclose(module(**arguments).detach(), expected, atol=2e-5)
    assert fired == set(layers)


@needs_torch
def test_torchs_tools(rng):
    """Programs, adapters, other epsilons and data types, copies; hooks of groups are refused."""
    import peft
    import torch

    spec = published("idefics2")
    module, _ = torch_module(spec, rng)
    arrays = arguments_for(spec, rng)
    inputs, mask = (torch.from_numpy(arrays[name]) for name in ("inputs", "mask"))
    expected = module(inputs, mask=mask)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(inputs, mask=mask), expected)
    any_length = {1: torch.export.Dim.DYNAMIC}
    program = torch.export.export(
        module, (inputs,), {"mask": mask}, dynamic_shapes={"inputs": any_length, "mask": any_length}
    )
    longer = torch.cat([inputs, 0 * inputs], 1), torch.cat([mask, mask & False], 1)
    torch.testing.assert_close(program.module()(longer[0], mask=longer[1]), expected)
    torch.testing.assert_close(copy.deepcopy(module)(inputs, mask=mask), expected)
    half = copy.deepcopy(module).bfloat16()(inputs.bfloat16(), mask=mask)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.2, rtol=0.1)

    module.output_norm.eps = 1.0
    assert not torch.allclose(module(inputs, mask=mask), expected)
    module.output_norm.eps = spec.rms_norm_eps
    settings = peft.LoraConfig(r=2, target_modules=["query", "value", "gate"])
    adapted = peft.inject_adapter_in_model(settings, module)
    torch.testing.assert_close(adapted(inputs, mask=mask), expected)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            weight.add_(0.1 * ("lora_" in name))
    assert not torch.allclose(adapted(inputs, mask=mask), expected)
    with pytest.raises(WeightsError, match="depends on more than its own weight"):
        adapted.weights()
    module.layer_0.register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="The module layer_0 groups weights and is never called"):
        module(inputs)


def renamed(state, *pairs):
    """A state dict with parts of its names replaced, in this order."""
    result = {}
    for name, weight in state.items():
        for old, new in pairs:
            name = name.replace(old, new)
        result[name] = weight
    return result


def assert_the_same(module, theirs, arguments, state):
    import torch

    module.load_state_dict(state)
    with torch.no_grad():
        inputs, mask = arguments
        seen = {"attention_mask": mask.long()} if "Idefics2" in type(theirs).__name__ else {}
        seen = {"mask": mask.long()} if "Evolla" in type(theirs).__name__ else seen
        expected = theirs(inputs, **seen)
        ours = module(inputs, mask=mask if seen else None)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@needs_torch
@pytest.mark.parametrize("name", ["idefics", "idefics2", "evolla"])
def test_resamplers_of_transformers(name, rng):
    import torch
    from transformers.models.evolla import modeling_evolla as evolla
    from transformers.models.idefics import configuration_idefics, perceiver as idefics
    from transformers.models.idefics2 import modeling_idefics2 as idefics2

    from ivy_models.shells.torch import Resampler

    torch.manual_seed(0)
    arguments = torch.randn(2, 9, 12), torch.from_numpy(rng.random((2, 9)) < 0.6)
    if name == "idefics2":
        config = idefics2.Idefics2PerceiverConfig(
            hidden_size=12, resampler_n_latents=5, resampler_depth=2, resampler_n_heads=4,
            resampler_head_dim=6, num_key_value_heads=2, rms_norm_eps=1e-3,
        )  # fmt: skip
        theirs = idefics2.Idefics2PerceiverResampler(config)
        spec = ResamplerSpec(
            12, 12, 5, 2, num_heads=4, head_dim=6, num_key_value_heads=2, keys_from_latents=True,
            norm="rms_norm", rms_norm_eps=1e-3, gated_mlp=True, activation="silu",
        )  # fmt: skip
        pairs = [
            ("layers.", "layer_"),
            ("input_latents_norm.weight", "cross_attention.query_norm.scale"),
            ("input_context_norm.weight", "cross_attention.input_norm.scale"),
            ("self_attn.", "cross_attention.attention."), ("q_proj", "query"), ("k_proj", "key"),
            ("v_proj", "value"), ("o_proj", "output"),
            ("post_attention_layernorm.weight", "cross_attention.mlp_norm.scale"),
            ("mlp.", "cross_attention.mlp."), ("gate_proj", "gate"), ("up_proj", "hidden"),
            ("down_proj", "output"),
        ]  # fmt: skip
        scatter(theirs)
        state = renamed(theirs.state_dict(), *pairs)
        state["output_norm.scale"] = state.pop("norm.weight")
    elif name == "idefics":
        config = configuration_idefics.IdeficsConfig(
            vision_config={"embed_dim": 12}, perceiver_config={"qk_layer_norms_perceiver": True}
        )
        theirs = idefics.IdeficsPerceiverResampler(config, 12, 2, 4, 6, 5)
        spec = ResamplerSpec(
            12, 12, 5, 2, num_heads=4, head_dim=6, keys_from_latents=True, qk_norm="heads",
            activation="relu",
        )  # fmt: skip
        scatter(theirs)
        state = renamed(
            theirs.state_dict(), ("blocks.", "layer_"), (".0.", ".cross_attention."),
            (".1.", ".cross_attention.mlp."), ("mlp.ln.weight", "mlp_norm.scale"),
            ("mlp.ln.bias", "mlp_norm.offset"), ("mlp.fc", "mlp.hidden"),
            ("mlp.c_proj", "mlp.output"), ("q_layer_norm.weight", "attention.query_norm.scale"),
            ("q_layer_norm.bias", "attention.query_norm.offset"),
            ("k_layer_norm.weight", "attention.key_norm.scale"),
            ("k_layer_norm.bias", "attention.key_norm.offset"),
            ("latents_layer_norm.weight", "query_norm.scale"),
            ("latents_layer_norm.bias", "query_norm.offset"),
            ("context_layer_norm.weight", "input_norm.scale"),
            ("context_layer_norm.bias", "input_norm.offset"),
            ("layer_norm.weight", "output_norm.scale"), ("layer_norm.bias", "output_norm.offset"),
            ("q_proj", "attention.query"), ("k_proj", "attention.key"),
            ("v_proj", "attention.value"), ("output_proj", "attention.output"),
        )  # fmt: skip
    else:
        config = type("", (), {})()
        config.protein_encoder_config = type("", (), {"hidden_size": 12})
        config.resampler_num_latents, config.resampler_depth = 5, 2
        config.resampler_dim_head, config.resampler_heads, config.resampler_ff_mult = 6, 4, 4
        config.hidden_size = 10
        theirs = evolla.EvollaSequenceCompressorResampler(config)
        spec = ResamplerSpec(
            12, 12, 5, 2, num_heads=4, head_dim=6, keys_from_latents=True, output_dim=10
        )
        scatter(theirs)
        state = renamed(
            theirs.state_dict(), ("layers.", "layer_"), (".0.", ".cross_attention."),
            (".1.", ".cross_attention.mlp."), ("mlp.norm.weight", "mlp_norm.scale"),
            ("mlp.norm.bias", "mlp_norm.offset"), ("fc1", "hidden"), ("fc2", "output"),
            ("norm_latents.weight", "query_norm.scale"), ("norm_latents.bias", "query_norm.offset"),
            ("norm_media.weight", "input_norm.scale"), ("norm_media.bias", "input_norm.offset"),
            ("to_q", "attention.query"), ("to_out", "attention.output"),
            ("protein_projector", "output_projection"),
        )  # fmt: skip
        state["output_norm.scale"], state["output_norm.offset"] = (
            state.pop(f"norm.{part}") for part in ("weight", "bias")
        )
        for key in [key for key in state if "to_kv" in key]:
            halves = state.pop(key).chunk(2)
            for part, half in zip(("key", "value"), halves, strict=True):
                state[key.replace("to_kv", f"attention.{part}")] = half
    assert_the_same(Resampler(spec), theirs.eval(), arguments, state)


def scatter(theirs):
    """No weight at its neutral value."""
    import torch

    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.3 * torch.randn_like(weight))


@needs_jax
def test_a_jax_function(rng):
    import jax

    from ivy_models.shells.jax import resampler

    spec = published("poyo")
    apply, params = resampler(spec, seed=3)
    arguments = arguments_for(spec, rng)
    quick = {"xla_backend_optimization_level": 0}
    with jax.numpy_rank_promotion("raise"):
        output = jax.jit(apply, compiler_options=quick)(params, **arguments)
    expected = textbook(spec, map_tree(np.asarray, params), **arguments)
    np.testing.assert_allclose(output, expected, atol=2e-5)
    gradient = jax.grad(lambda params: apply(params, **arguments).sum())
    gradients = jax.jit(gradient, compiler_options=quick)(params)
    assert all(np.isfinite(leaf).all() and leaf.any() for leaf in jax.tree.leaves(gradients))
    with pytest.raises(InputError, match="positions is missing"):
        apply(params, arguments["inputs"])


@needs_paddle
def test_a_paddle_layer(rng):
    import paddle

    from ivy_models.shells.paddle import Resampler

    spec = ResamplerSpec(**SMALL, num_latents=5, qkv_bias=True)
    module = Resampler(spec)
    arguments = arguments_for(spec, rng)
    weights = map_tree(lambda x: x.detach().numpy(), module.weights())
    expected = textbook(spec, weights, **arguments)
    output = module(**{name: paddle.to_tensor(x) for name, x in arguments.items()})
    np.testing.assert_allclose(output.detach().numpy(), expected, atol=2e-5)
    output.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    fresh = Resampler(spec, seed=1)
    fresh.set_state_dict(module.state_dict())
    np.testing.assert_array_equal(fresh(**arguments).detach(), output.detach())
    module.layer_0.register_forward_post_hook(lambda *_: None)
    with pytest.raises(InputError, match="The part layer_0 of the model has a hook"):
        module(arguments["inputs"])
