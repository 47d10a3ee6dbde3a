"""Hooks, adapters, pruning and replaced layers of the torch module take effect or are refused."""

import copy
import itertools
import warnings

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.resamplers import published
from helpers.specs import flow_spec, language_spec, multimodal_data, multimodal_spec, small_spec

if "torch" not in CHOSEN:
    pytest.skip("torch was not chosen", allow_module_level=True)

import captum.attr
import peft
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations, prune

from ivy_models.errors import InputError, WeightsError
from ivy_models.layers.parameters import flatten, map_tree
from ivy_models.shells.torch import GridCrossAttention, PerceiverIO as TorchModule, Resampler
from ivy_models.shells.torch_layers import Branch
from ivy_models.transformers.perceiver_io import PerceiverIOCore, initialise


def module_of(spec, seed=0):
    weights = initialise(PerceiverIOCore(spec).parameters(), seed)
    return TorchModule(spec, map_tree(torch.from_numpy, weights))


def images(rng):
    return torch.from_numpy(rng.standard_normal((2, 6, 5, 3), np.float32))


def tokens(rng):
    return torch.from_numpy(rng.integers(0, 262, (2, 9)))


def hidden(module):
    return module.processor.layer_0.self_attention_0.mlp.hidden


def callable_parts(module):
    """Layers and blocks: all inner modules but those that only group others or weights.

    Those are in models of several modalities, and refuse hooks.
    """
    return [
        part
        for part in module.modules()
        if part is not module and (not isinstance(part, Branch) or part._is_block)
    ]


def columns():
    return small_spec(
        stem="column_projection",
        stem_dim=4,
        fourier_encode_input=False,
        learned_position_shape=(6, 5),
        learned_position_dim=3,
    )


def cases(rng):
    return [
        (small_spec(), images(rng)),
        (small_spec(stem="projection", stem_dim=4), images(rng)),
        (columns(), images(rng)),
        (language_spec(), tokens(rng)),
        *(
            (small_spec(stem=stem, stem_dim=4), torch.from_numpy(pixels))
            for stem in ("convolution", "centred_convolution", "two_convolutions")
            for pixels in [rng.standard_normal((2, 13, 18, 3), np.float32)]
        ),
        (flow_spec(), torch.from_numpy(rng.standard_normal((1, 2, 9, 11, 3), np.float32))),
        (multimodal_spec(), map_tree(torch.from_numpy, multimodal_data(rng))),
    ]


def as_dict(output):
    return output if isinstance(output, dict) else {"": output}


@pytest.mark.parametrize("case", range(9))
def test_every_layer_and_block_runs_its_hooks_and_computes_the_same(case, rng):
    spec, data = cases(rng)[case]
    module, fired = module_of(spec), set()
    with torch.no_grad():
        expected = as_dict(module(data))
        for part in callable_parts(module):
            part.register_forward_hook(lambda part, *_: fired.add(part))
        output = as_dict(module(data))
    assert fired == set(callable_parts(module))
    for name in expected:
        torch.testing.assert_close(output[name], expected[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("part", ["processor.layer_0.self_attention_0", "decoder.head"])
def test_kinds_of_hooks(part, rng):
    module, fired = module_of(small_spec()), []
    layer = module.get_submodule(part)
    layer.register_forward_pre_hook(lambda *_: fired.append("before"))
    layer.register_forward_hook(lambda *_: fired.append("after"))
    layer.register_full_backward_hook(lambda *_: fired.append("backward"))
    layer.register_full_backward_pre_hook(lambda *_: fired.append("backward_pre"))
    module(images(rng)).sum().backward()
    assert set(fired) == {"before", "after", "backward", "backward_pre"}


def test_a_hook_sees_features_and_can_replace_them(rng):
    module, data, seen = module_of(small_spec()), images(rng), []
    before = module(data)
    hook = hidden(module).register_forward_hook(lambda _, x, y: seen.append((x[0].shape, y.shape)))
    torch.testing.assert_close(module(data), before)
    assert seen
    assert all(x == y for x, y in seen)
    hook.remove()
    hidden(module).register_forward_hook(lambda _, x, y: torch.zeros_like(y))
    assert not torch.allclose(module(data), before)


def test_global_hooks(rng):
    module, called = module_of(small_spec()), []
    handle = nn.modules.module.register_module_forward_hook(lambda part, *_: called.append(part))
    try:
        module(images(rng))
    finally:
        handle.remove()
    assert set(callable_parts(module)) <= set(called)


@pytest.mark.parametrize("case", range(6))
def test_every_module_of_one_modality_runs_its_hooks(case, rng):
    spec, data = cases(rng)[case]
    module, seen = module_of(spec), {}
    for name, part in module.named_modules():
        part.register_forward_hook(lambda _, x, y, name=name: seen.update({name: y.shape}))
    module(data)
    assert seen.keys() == dict(module.named_modules()).keys()
    assert seen["reader"] == seen["processor"] == (len(data), spec.num_latents, spec.latent_dim)
    if "input" in seen:
        assert seen["input"][-1] == spec.encoded_dim


@pytest.mark.parametrize("name", ["input.image", "queries", "outputs"])
def test_a_hook_of_a_group_is_refused(name, rng):
    module = module_of(multimodal_spec())
    module.get_submodule(name).register_forward_hook(lambda *_: None)
    message = f"The module {name} groups weights and is never called"
    with pytest.raises(InputError, match=message):
        module(map_tree(torch.from_numpy, multimodal_data(rng)))


def test_stages_are_called_as_often_as_their_layers(rng):
    spec = small_spec(network_depth=3, weight_tie_layers=False, cross_attend_in_every_layer=True)
    module, data, calls = module_of(spec), images(rng), []
    expected = module(data)
    for name in ("reader", "processor"):
        module.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    torch.testing.assert_close(module(data), expected)
    assert calls == ["reader", "processor"] * 3
    module.processor.register_forward_hook(lambda _, x, y: torch.zeros_like(y))
    assert not torch.allclose(module(data), expected)


def test_replaced_stages(rng):
    module, data = module_of(small_spec(stem="projection", stem_dim=4)), images(rng)
    expected = module(data)
    module.processor = checkpoint_wrapper(module.processor)
    torch.testing.assert_close(module(data), expected)
    module.processor = nn.Identity()
    assert not torch.allclose(module(data), expected)
    channels = module.spec.encoded_dim
    module.input = nn.Sequential(nn.Flatten(1, 2), nn.Linear(3, channels))
    assert module(data).shape == expected.shape


def test_a_tied_head_and_a_hooked_embedding(rng):
    module, data = module_of(language_spec()), tokens(rng)
    expected = module(data)
    module.input.register_forward_hook(lambda *_: None)
    module.decoder.head.register_forward_hook(lambda _, x, y: 2 * y)
    torch.testing.assert_close(module(data), 2 * expected)


def test_a_replaced_forward_and_a_swapped_block(rng):
    module, data = module_of(small_spec()), images(rng)
    before = module(data)
    block = module.processor.layer_0
    original, block.self_attention_0 = block.self_attention_0, nn.Identity()
    assert not torch.allclose(module(data), before)
    block.self_attention_0 = checkpoint_wrapper(original)
    torch.testing.assert_close(module(data), before)
    module(data).sum().backward()
    hidden(module).forward = torch.zeros_like
    assert not torch.allclose(module(data), before)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
    ],
)
def test_weights_that_are_computed_follow_the_optimizer(wrap, rng):
    module, data = module_of(small_spec()).train(), images(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrap(hidden(module))
    optimizer, outputs = torch.optim.SGD(module.parameters(), 0.1), []
    for _ in range(3):
        output = module(data)
        outputs.append(output.detach())
        optimizer.zero_grad()
        output.square().sum().backward()
        optimizer.step()
    with torch.no_grad():
        for name, weight in hidden(module).named_parameters():
            if name.endswith(("_orig", "original0")):
                weight.add_(torch.randn_like(weight))
    outputs.append(module(data))
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(outputs))


@pytest.mark.parametrize("spec", [small_spec(), language_spec()])
def test_lora(spec, rng):
    module, data = module_of(spec), tokens(rng) if spec.vocabulary_size else images(rng)
    before = module(data)
    settings = peft.LoraConfig(r=2, target_modules=["query", "value", "hidden"])
    adapted = peft.inject_adapter_in_model(settings, module)
    torch.testing.assert_close(adapted(data), before, atol=1e-4, rtol=1e-3)
    lora = {name: p for name, p in adapted.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for weight in lora.values():
            weight.add_(0.1)
    output = adapted(data)
    assert not torch.allclose(output, before, atol=1e-3)
    output.sum().backward()
    assert all(weight.grad is not None for weight in lora.values())
    with pytest.raises(WeightsError, match="Merge or remove that first"):
        adapted.weights()


def test_lora_that_is_merged_leaves_plain_weights(rng):
    module, data = module_of(small_spec()), images(rng)
    model = peft.get_peft_model(module, peft.LoraConfig(r=2, target_modules=["hidden"]))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(0.1)
        output = model(data)
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(data), output, atol=1e-5, rtol=1e-4)
    assert dict(flatten(merged.weights())).keys() == dict(flatten(module.weights())).keys()


def test_lora_of_a_tied_embedding_changes_the_head_before_it_is_merged(rng):
    module, x = module_of(language_spec()), tokens(rng)
    config = peft.LoraConfig(target_modules=["embedding"], init_lora_weights=False)
    adapted = peft.get_peft_model(module, config)
    with adapted.disable_adapter():
        torch.testing.assert_close(adapted(x), module_of(language_spec())(x))
    expected = adapted(x)
    torch.testing.assert_close(adapted.merge_and_unload()(x), expected)


def test_captum(rng):
    data, module = images(rng), module_of(small_spec())

    def scores(data):
        return module(data)[:, 0]

    gradients = captum.attr.IntegratedGradients(scores)
    attribution, error = gradients.attribute(
        data, target=1, n_steps=200, return_convergence_delta=True
    )
    assert attribution.shape == data.shape
    assert error.abs().max() < 0.05
    layer = captum.attr.LayerActivation(scores, module.decoder.cross_attention.mlp.hidden)
    assert layer.attribute(data).shape[0] == 2


def test_captum_at_the_embedding(rng):
    module, text = module_of(language_spec()), tokens(rng)
    gradients = captum.attr.LayerIntegratedGradients(
        lambda text: module(text)[:, 0], module.input.embedding
    )
    attribution = gradients.attribute(text, torch.zeros_like(text), target=1, n_steps=4)
    assert attribution.shape[:2] == text.shape
    assert attribution.abs().sum() > 0


def test_dynamic_quantisation(rng):
    module, data = module_of(small_spec()), images(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, torch.qint8)
    assert isinstance(hidden(quantised), torch.ao.nn.quantized.dynamic.Linear)
    with torch.no_grad():
        error = (quantised(data) - module(data)).abs().max()
    assert 0 < error < 0.1 * module(data).abs().max()
    with pytest.raises(WeightsError, match="Merge or remove that first"):
        quantised.weights()


def test_layers_are_torchs():
    module = module_of(language_spec())
    assert type(hidden(module)) is nn.Linear
    assert type(module.input.embedding) is nn.Embedding
    assert isinstance(module.decoder.cross_attention.query_norm, nn.LayerNorm)


def test_states_of_wrapped_modules_and_former_names_are_loaded(rng):
    module, data = module_of(language_spec(), seed=1), tokens(rng)
    state = {name: weight.clone() for name, weight in module.state_dict().items()}
    former = {name.replace("embedding.weight", "embedding"): w for name, w in state.items()}
    for prefix in ("", "module.", "_orig_mod.", "module._orig_mod."):
        other = module_of(language_spec())
        other.load_state_dict({prefix + name: weight for name, weight in former.items()})
        assert torch.equal(other(data), module(data))


@pytest.mark.parametrize(
    ("stem", "part", "shape"),
    [
        *(
            (stem, part, (2, 4, 7, 9))
            for stem in ("convolution", "centred_convolution")
            for part in ("convolution", "batch_norm")
        ),
        ("two_convolutions", "convolution_1", (2, 4, 7, 9)),
    ],
)
def test_parts_of_an_image_stem_are_called_alone(stem, part, shape, rng):
    module = module_of(small_spec(stem=stem, stem_dim=4), seed=2)
    with torch.no_grad():
        if stem != "two_convolutions":
            module.input.batch_norm.mean.normal_()
            module.input.batch_norm.variance.uniform_(0.5, 2)
    data = torch.from_numpy(rng.standard_normal((2, 14, 17, 3), np.float32))
    before, seen = module(data), []
    pure = PerceiverIOCore(module.spec)(module.weights(), data)
    torch.testing.assert_close(pure, before, atol=1e-5, rtol=1e-4)
    layer = module.input.get_submodule(part)
    hook = layer.register_forward_hook(lambda part, x, y: seen.append(y.shape))
    torch.testing.assert_close(module(data), before, atol=1e-5, rtol=1e-4)
    assert seen == [shape]
    hook.remove()
    layer.register_forward_hook(lambda part, x, y: torch.zeros_like(y))
    assert not torch.allclose(module(data), before)


def test_lora_of_a_convolution(rng):
    module = module_of(small_spec(stem="convolution", stem_dim=4))
    data = torch.from_numpy(rng.standard_normal((2, 14, 17, 3), np.float32))
    before = module(data)
    adapted = peft.inject_adapter_in_model(
        peft.LoraConfig(r=2, target_modules=["convolution"]), module
    )
    torch.testing.assert_close(adapted(data), before, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.add_(0.1)
    assert not torch.allclose(adapted(data), before, atol=1e-3)


@pytest.mark.parametrize("kind", [nn.Linear, nn.LayerNorm])
@pytest.mark.parametrize("name", ["forward", "__call__"])
def test_replaced_methods_of_layer_classes_run(kind, name, rng, monkeypatch):
    module, data = module_of(small_spec()), images(rng)
    before, method = module(data), getattr(kind, name)
    monkeypatch.setattr(kind, name, lambda layer, x: 2 * method(layer, x))
    assert not torch.allclose(module(data), before, atol=1e-3)
    monkeypatch.undo()
    torch.testing.assert_close(module(data), before)


def test_copies_keep_their_hooks(rng):
    module, fired = module_of(small_spec()), []
    hidden(module).register_forward_hook(lambda *_: fired.append(1))
    copy.deepcopy(module)(images(rng))
    assert fired


@pytest.mark.slow
def test_changes_after_compilation_take_effect(rng):
    module, x = module_of(small_spec()), images(rng)
    torch.compiler.reset()
    compiled = torch.compile(module, backend="eager")
    plain = compiled(x)

    def double(layer, *call):
        return 2 * call[-1] if layer in (hidden(module), module.decoder) else None

    def changed():
        given = compiled(x)
        torch.testing.assert_close(given, module(x))
        return not torch.equal(given, plain)

    for register in (
        hidden(module).register_forward_hook,
        module.decoder.register_forward_hook,
        nn.modules.module.register_module_forward_hook,
    ):
        handle = register(double)
        assert changed()
        handle.remove()
        assert not changed()
    hidden(module).forward = lambda x: 2 * nn.Linear.forward(hidden(module), x)
    assert changed()
    del hidden(module).forward
    assert not changed()


def test_parts_of_other_models_are_made_on_the_device_of_the_context():
    with torch.device("meta"):
        parts = GridCrossAttention(8, 3, num_bands=2), Resampler(published("flamingo"))
    for part in parts:
        assert all(parameter.is_meta for parameter in part.parameters())


def test_grid_attention_refuses_arguments_it_would_ignore():
    layer = GridCrossAttention(8, 3, num_bands=2)
    layer.attention.query.register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="never calls them"):
        layer(torch.zeros(1, 2, 8), torch.zeros(1, 4, 4, 3))
