"""Tools of torch and of other packages have the same effect on an accelerated model as before."""

import copy
import io

import pytest
from helpers import CHOSEN
from helpers.huggingface import huggingface_model

if "torch" not in CHOSEN:
    pytest.skip("torch was not chosen", allow_module_level=True)

import accelerate as hf_accelerate
import torch
from torch import nn

from ivy_models import accelerate
from ivy_models.transformers.perceiver_io import PerceiverIOCore

IMAGES = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))


def logits(model, images=IMAGES):
    return model(images).logits


def first_layer(model):
    return model.perceiver.encoder.self_attends[0].mlp.dense1


def gradient(model, output):
    output.sum().backward()
    return first_layer(model).weight.grad


def in_type(dtype):
    return lambda model: logits(model.to(dtype), IMAGES.to(dtype))


def under_autocast(model):
    with torch.autocast("cpu", torch.bfloat16):
        return logits(model)


def saved_on_cpu(model):
    with torch.autograd.graph.save_on_cpu():
        output = logits(model)
    return gradient(model, output)


def checkpointed(model):
    return gradient(model, torch.utils.checkpoint.checkpoint(model, IMAGES, use_reentrant=False)[0])


def from_a_file(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return logits(torch.load(file, weights_only=False))


def offloaded_to_cpu(model):
    return logits(hf_accelerate.cpu_offload(model, execution_device=torch.device("cpu")))


def tied_weights(model):
    layers = model.perceiver.encoder.self_attends
    layers[1].mlp.dense1.weight = layers[0].mlp.dense1.weight
    return gradient(model, logits(model))


def tied_layers(model):
    layers = model.perceiver.encoder.self_attends
    layers[1] = layers[0]
    return gradient(model, logits(model))


def hook_of_a_weight(model):
    first_layer(model).weight.register_hook(lambda gradient: 2 * gradient)
    return gradient(model, logits(model))


def averaged(model):
    return logits(torch.optim.swa_utils.AveragedModel(model))


def hessian_of_autograd(model):
    zoomed = lambda scale: logits(model, scale * IMAGES).sum()  # noqa: E731
    return torch.autograd.functional.hessian(zoomed, torch.tensor(1.0))


CORE = {
    "float16": in_type(torch.float16),
    "bfloat16": in_type(torch.bfloat16),
    "autocast": under_autocast,
    "save_on_cpu": saved_on_cpu,
    "checkpoint": checkpointed,
    "DataParallel": lambda model: logits(nn.DataParallel(model)),
    "file": from_a_file,
    "tied weights": tied_weights,
    "tied layers": tied_layers,
    "hook of a weight": hook_of_a_weight,
    "AveragedModel": averaged,
    "torch.autograd.functional.hessian": hessian_of_autograd,
}
"""Tools beside which the core runs."""


def weights_of(model, factor=1.0):
    return {name: factor * weight.detach() for name, weight in model.named_parameters()}


def called_functionally(model):
    return torch.func.functional_call(model, weights_of(model, 1.1), (IMAGES,)).logits


def gradient_of_func(model):
    def loss(weights):
        return torch.func.functional_call(model, weights, (IMAGES,)).logits.square().sum()

    return torch.func.grad(loss)(weights_of(model))["perceiver.embeddings.latents"]


def of_zoom(transform):
    def transformed(model):
        return transform(lambda scale: logits(model, scale * IMAGES))(torch.ones(()))

    return transformed


def with_a_subclass_of_tensor(model):
    class Own(torch.Tensor):
        pass

    layer = first_layer(model)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Own))
    return logits(model).as_subclass(torch.Tensor)


def with_a_forward_of_its_own(model):
    layer = first_layer(model)
    layer.forward = lambda x: nn.functional.linear(x, 2 * layer.weight)
    return logits(model)


def quantised(model):
    with pytest.warns(DeprecationWarning, match="quantization"):
        return logits(torch.ao.quantization.quantize_dynamic(model, {nn.Linear}))


OWN_CODE = {
    "functional_call": called_functionally,
    "torch.func.grad": gradient_of_func,
    "torch.func.hessian": of_zoom(torch.func.hessian),
    "torch.func.jacrev": of_zoom(torch.func.jacrev),
    "torch.func.vmap": lambda model: torch.vmap(lambda s: logits(model, s * IMAGES))(torch.ones(2)),
    "torch.export": lambda model: torch.export.export(model, (IMAGES,)).module()(IMAGES).logits,
    "offloading to the CPU": offloaded_to_cpu,
    "a subclass of Tensor": with_a_subclass_of_tensor,
    "a forward of a layer": with_a_forward_of_its_own,
    "quantize_dynamic": quantised,
}
"""Tools for which transformers' own code runs."""


@pytest.mark.parametrize("tool", CORE | OWN_CODE)
def test_results_stay_the_same(tool, monkeypatch):
    calls, run = [], PerceiverIOCore.run
    monkeypatch.setattr(PerceiverIOCore, "run", lambda *a: calls.append(a) or run(*a))
    slow = huggingface_model("ImageClassificationFourier")
    fast = accelerate(copy.deepcopy(slow))
    use = (CORE | OWN_CODE)[tool]
    expected = use(slow)
    assert not calls
    got = use(fast)
    assert bool(calls) == (tool in CORE)
    assert got.dtype == expected.dtype
    precise = got.dtype not in (torch.float16, torch.bfloat16)
    scale = expected.abs().max().item()
    torch.testing.assert_close(got, expected, atol=(1e-4 if precise else 2e-2) * scale, rtol=0)


def test_weights_on_disk(tmp_path):
    slow = huggingface_model("ImageClassificationFourier")
    fast = accelerate(copy.deepcopy(slow))
    hf_accelerate.disk_offload(fast, tmp_path, execution_device=torch.device("cpu"))
    assert {weight.device.type for weight in fast.parameters()} == {"meta"}
    with torch.no_grad():
        torch.testing.assert_close(logits(fast), logits(slow))


def test_counters_see_the_operations_of_transformers():
    slow = huggingface_model("ImageClassificationFourier")
    flops = []
    for model in (slow, accelerate(copy.deepcopy(slow))):
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            logits(model)
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1] > 0
