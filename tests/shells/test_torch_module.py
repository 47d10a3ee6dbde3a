"""The torch module: the model's outputs, and torch's usual operations on modules."""

import copy
import io

import numpy as np
import onnxruntime
import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from helpers import CHOSEN, unset_backends
from helpers.specs import (
    arguments_for,
    columns_data,
    columns_spec,
    flow_spec,
    language_spec,
    multimodal_data,
    multimodal_spec,
    small_spec,
    specs,
)
from hypothesis import given, settings, strategies as st

from ivy_models import create_model
from ivy_models.errors import InputError, WeightsError
from ivy_models.layers.parameters import flatten, map_tree
from ivy_models.ops import torch_linear
from ivy_models.shells.torch import PerceiverIO as TorchModule
from ivy_models.transformers.perceiver_io import (
    InputModality,
    PerceiverIO,
    PerceiverIOCore,
    initialise,
)
import ivy

pytestmark = pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")


def module_of(spec, seed=0):
    weights = initialise(PerceiverIOCore(spec).parameters(), seed)
    return TorchModule(spec, map_tree(torch.from_numpy, weights))


def images(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape, np.float32))


def test_any_backends_model_gives_the_same_as_a_module(backend, rng):
    model, data = PerceiverIO(small_spec()), images(rng, 2, 6, 5, 3)
    with torch.no_grad():
        output = model.to_torch_module()(data)
    np.testing.assert_allclose(output.cpu(), ivy.to_numpy(model(data.numpy())), atol=1e-5)
    assert ivy.current_backend_str() == backend


@given(spec=specs(), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_random_models(spec, seed):
    rng = np.random.default_rng(seed)
    arguments = [None if a is None else torch.from_numpy(a) for a in arguments_for(spec, rng)]
    with torch.no_grad():
        output = module_of(spec, seed)(*arguments)
    ivy.set_backend("torch")
    try:
        expected = PerceiverIO(spec, seed=seed)(*arguments).data
    finally:
        ivy.unset_backend()
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-4)


def test_kinds_of_data(rng):
    tokens = torch.from_numpy(rng.integers(0, 262, (2, 9)))
    data = map_tree(torch.from_numpy, multimodal_data(rng))
    assert module_of(language_spec())(tokens).shape == (2, 9, 262)
    assert module_of(flow_spec())(images(rng, 1, 2, 9, 11, 3)).shape == (1, 9, 11, 2)
    outputs = module_of(multimodal_spec())(data, queries={"image": torch.tensor([3, 4])})
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {"image": (2, 2, 3)}


def test_tokens_and_other_columns(rng):
    model, (data, mask) = PerceiverIO(columns_spec()), columns_data(rng)
    module = model.to_torch_module()
    arguments = tuple(map_tree(torch.from_numpy, x) for x in (data, mask))
    output = module(*arguments)
    np.testing.assert_allclose(output.detach(), ivy.to_numpy(model(data, mask)), atol=1e-4)
    exported = torch.export.export(module, arguments).module()
    torch.testing.assert_close(exported(*arguments), output, atol=1e-4, rtol=1e-4)
    embedding = module.get_submodule("input.a comment.embedding")
    seen = []
    embedding.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0]))
    torch.testing.assert_close(module(*arguments), output, atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(seen[0], data["a comment"])


def test_modalities_may_be_called_like_attributes_of_a_module(rng):
    """Neither torch nor Paddle lets a part of a module replace one of its attributes."""
    names = ("type", "type_", "training", "weights", "_parameters")
    spec = columns_spec(input_modalities=[InputModality(name, 1, 1) for name in names])
    data = {name: rng.standard_normal((2, 3, 1), np.float32) for name in names}
    model = PerceiverIO(spec, seed=3)
    expected = ivy.to_numpy(model(data))
    module = model.to_torch_module().train().eval()
    arguments = (map_tree(torch.from_numpy, data),)
    exported = torch.export.export(module, arguments).module()
    for output in (module(*arguments), exported(*arguments)):
        np.testing.assert_allclose(output.detach(), expected, atol=1e-4)
    for weights in (module.state_dict(), module.weights()):
        loaded = PerceiverIO(spec, seed=4).with_weights(weights)
        np.testing.assert_allclose(ivy.to_numpy(loaded(data)), expected, atol=1e-4)


def test_parameters_are_torchs():
    model = PerceiverIO(small_spec(stem="convolution", stem_dim=4))
    module = model.to_torch_module()
    assert not module.training
    names = [name.replace("/", ".") for name, _ in flatten(model.core.parameters())]
    assert sorted(module.state_dict()) == sorted(names)
    assert sum(p.numel() for p in module.parameters()) == model.num_parameters
    assert {name for name, _ in module.named_buffers()} == {
        "input.batch_norm.mean",
        "input.batch_norm.variance",
    }
    assert module.decoder.head.weight.shape == (5, 14)  # (C_out, C_in)
    assert all(weight.is_contiguous() for weight in module.state_dict().values())


def test_weights_are_copies_that_come_back(rng):
    ivy.set_backend("torch")
    model, data = PerceiverIO(small_spec(), seed=3), images(rng, 2, 6, 5, 3)
    model.labels = ("a", "b", "c", "d", "e")
    before = model(data).data
    module = model.to_torch_module()
    with torch.no_grad():
        module.latents.mul_(2)
        after = module(data)
    assert torch.equal(model(data).data, before)
    trained = model.with_weights(module.weights())
    torch.testing.assert_close(trained(data).data, after)
    assert not torch.allclose(after, before)
    assert trained.labels == model.labels
    with torch.no_grad():
        module.latents.mul_(2)
    torch.testing.assert_close(trained(data).data, after)
    ivy.unset_backend()


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_fsdp_wrapped_module.",
        "_checkpoint_wrapped_module.",
    ],
)
@pytest.mark.parametrize("spec", [small_spec(stem="convolution", stem_dim=4), language_spec()])
def test_with_weights_takes_the_state_of_a_module(spec, prefix, backend):
    module = module_of(spec, seed=1)
    state = {prefix + name: weight for name, weight in module.state_dict().items()}
    trained = PerceiverIO(spec).with_weights(state)
    expected = dict(flatten(module.weights()))
    for name, weight in flatten(trained.v):
        np.testing.assert_array_equal(ivy.to_numpy(weight), expected[name].detach().numpy())


def test_with_weights_takes_wrapped_modules():
    module = module_of(small_spec(), seed=1)
    for wrapped in (torch.nn.DataParallel(module), torch.compile(module)):
        trained = PerceiverIO(small_spec()).with_weights(wrapped)
        latents = ivy.to_numpy(trained.v["latents"])
        np.testing.assert_array_equal(latents, module.latents.detach().cpu().numpy())


def test_with_weights_refuses_weights_that_do_not_fit():
    model = PerceiverIO(small_spec())
    state = model.to_torch_module().state_dict()
    del state["latents"]
    with pytest.raises(WeightsError, match=r"(?s)not a state of this model: .*latents"):
        model.with_weights(state)
    weights = dict(model.to_torch_module().weights())
    with pytest.raises(WeightsError, match="1 missing:\n    latents"):
        model.with_weights({name: w for name, w in weights.items() if name != "latents"})


def test_training_is_that_of_the_ivy_module(rng):
    data, target = images(rng, 8, 6, 5, 3), torch.from_numpy(rng.integers(0, 5, 8))
    module = module_of(small_spec()).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(module(data)[:, 0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # With 5 seeds of weights and data: 1.6 to 2.5 at first, at most 0.002 at last.
    assert losses[-1] < 0.1 < 1 < losses[0]


@pytest.mark.usefixtures("always_streaming")
def test_every_parameter_has_a_gradient(rng):
    module = module_of(small_spec())
    module(images(rng, 2, 6, 5, 3)).sum().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


def test_state_copies_and_types(rng):
    module, other = module_of(small_spec()), module_of(small_spec(), seed=1)
    data = images(rng, 2, 6, 5, 3)
    with torch.no_grad():
        other.load_state_dict(module.state_dict())
        assert torch.equal(other(data), module(data))
        twin = copy.deepcopy(module)
        twin.latents.mul_(2)
        assert not torch.allclose(twin(data), module(data))
        double = copy.deepcopy(module).double()(data)
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), module(data), atol=1e-5, rtol=1e-4)
        half = copy.deepcopy(module).bfloat16()(data)
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), module(data), atol=0.1, rtol=0.1)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = module(data)
        torch.testing.assert_close(mixed.float(), module(data), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("plain_reader", [False, True])
def test_both_readers_take_mixed_precision(rng, plain_reader):
    core = PerceiverIOCore(small_spec(), plain_reader)
    params = map_tree(
        lambda weight: torch.tensor(weight, requires_grad=True), initialise(core.parameters())
    )
    data = images(rng, 2, 6, 5, 3)
    expected = core(params, data)
    with torch.autocast("cpu", torch.bfloat16):
        logits = core(params, data)
    torch.testing.assert_close(logits.float(), expected, atol=0.1, rtol=0.1)
    logits.float().sum().backward()
    assert {weight.grad.dtype for _, weight in flatten(params)} == {torch.float32}


def test_replicas_and_parametrisations(rng):
    module, data = module_of(small_spec()), images(rng, 2, 6, 5, 3)
    before = module(data)
    replica = module._replicate_for_data_parallel()  # there, parameters are plain tensors
    for name, parameter in module.named_parameters(recurse=False):
        setattr(replica, name, 2 * parameter)
    for name, branch in module.named_children():
        setattr(replica, name, branch)
    assert not torch.allclose(replica(data), before)
    torch.nn.utils.parametrizations.weight_norm(module.decoder.head)
    torch.testing.assert_close(module(data), before)


def test_moves_to_another_device(rng):
    module = module_of(small_spec()).to("meta")
    assert module(torch.empty(2, 6, 5, 3, device="meta")).shape == (2, 1, 5)
    module = module_of(language_spec()).to("meta")
    mask = torch.ones(2, 9, dtype=torch.bool, device="meta")
    tokens = torch.zeros(2, 9, dtype=torch.long, device="meta")
    assert module(tokens, mask).shape == (2, 9, 262)
    data = map_tree(lambda x: torch.from_numpy(x).to("meta"), multimodal_data(rng))
    module = module_of(multimodal_spec()).to("meta")
    queries = {"image": torch.zeros(2, dtype=torch.long, device="meta")}
    assert module(data, queries=queries)["image"].shape == (2, 2, 3)


def test_shapes_alone_are_streamed(always_streaming):
    module = module_of(small_spec()).to("meta")
    assert module(torch.empty(2, 6, 5, 3, device="meta")).shape == (2, 1, 5)


def test_wrong_arguments_are_refused():
    module = module_of(small_spec())
    with pytest.raises(InputError, match="channels go last"):
        module(torch.zeros(2, 3, 6, 5))


def case(kind, rng):
    """A module, and data (3, ...) for it."""
    if kind == "text":
        return module_of(language_spec()), torch.from_numpy(rng.integers(0, 262, (3, 9)))
    return module_of(small_spec()), images(rng, 3, 6, 5, 3)


def parameters_of(module):
    return {name: p.detach() for name, p in module.named_parameters()}


def loss_of(module, parameters, data):
    return torch.func.functional_call(module, parameters, (data,)).square().sum()


@pytest.fixture
def kernels_of_any_size(monkeypatch):
    """Use oneDNN's linear layers, which have no gradient, for small products too."""
    monkeypatch.setattr(torch_linear, "ONEDNN_MIN_PRODUCTS", 0)


@pytest.mark.usefixtures("kernels_of_any_size")
@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("with_gradients", [False, True])
def test_vmap_is_a_loop(kind, with_gradients, rng):
    module, data = case(kind, rng)
    with torch.set_grad_enabled(with_gradients):
        got = torch.vmap(lambda x: module(x[None])[0])(data)
        torch.testing.assert_close(got, module(data), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("streams", [False, True])
def test_gradients_per_sample_are_those_of_a_loop(kind, streams, rng, request):
    if streams:
        request.getfixturevalue("always_streaming")
    module, data = case(kind, rng)

    def loss(parameters, row):
        return loss_of(module, parameters, row[None])

    found = torch.vmap(torch.func.grad(loss), (None, 0))(parameters_of(module), data)
    for i in range(len(data)):
        module.zero_grad()
        module(data[i : i + 1]).square().sum().backward()
        for name, parameter in module.named_parameters():
            # Rounding errors, relative to the largest gradient of the parameter.
            scale = max(1.0, parameter.grad.abs().max().item())
            torch.testing.assert_close(
                found[name][i], parameter.grad, atol=1e-4 * scale, rtol=1e-3, msg=name
            )


@pytest.mark.usefixtures("kernels_of_any_size")
@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_forward_mode_gives_the_product_with_the_gradient(kind, requires_grad, rng):
    module, data = case(kind, rng)
    module.requires_grad_(requires_grad)
    parameters = parameters_of(module)
    step = {name: images(rng, *p.shape) for name, p in parameters.items()}

    def loss(parameters):
        return loss_of(module, parameters, data)

    gradient = torch.func.grad(loss)(parameters)
    expected = sum((gradient[name] * step[name]).sum() for name in parameters)
    _, derivative = torch.func.jvp(loss, (parameters,), (step,))
    torch.testing.assert_close(derivative, expected, atol=1e-3, rtol=1e-3)
    with forward_ad.dual_level():
        dual = {name: forward_ad.make_dual(p, step[name]) for name, p in parameters.items()}
        derivative = forward_ad.unpack_dual(loss(dual)).tangent
    torch.testing.assert_close(derivative, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("rematerialise", [False, True])
def test_second_derivatives_are_those_of_the_formula(kind, rematerialise, rng):
    """torch.func computes attention by the formula; a graph of gradients by fused kernels."""
    module, data = case(kind, rng)
    module = module.double()
    module.rematerialise = rematerialise
    data = data.double() if data.is_floating_point() else data
    mask = torch.arange(9) < torch.tensor([[9], [4], [0]]) if kind == "text" else None
    parameters = parameters_of(module)
    step = {name: torch.from_numpy(rng.standard_normal(p.shape)) for name, p in parameters.items()}

    def along(gradients):
        return sum((gradients[name] * step[name]).sum() for name in step)

    def loss(parameters):
        return torch.func.functional_call(module, parameters, (data, mask)).square().sum()

    names, trained = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad(module(data, mask).square().sum(), trained, create_graph=True)
    along(dict(zip(names, gradients, strict=True))).backward()
    expected = torch.func.grad(lambda p: along(torch.func.grad(loss)(p)))(parameters)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)


def test_gradient_penalty(rng):
    module, data = module_of(small_spec()), images(rng, 2, 6, 5, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(module(data).sum(), data, create_graph=True)
    gradient.square().sum().backward()
    assert module.latents.grad.abs().sum() > 0


@pytest.mark.parametrize("spec", [small_spec(network_depth=1), language_spec(network_depth=1)])
def test_torch_compile_takes_the_whole_module(spec, rng):
    torch.compiler.reset()
    module = module_of(spec)
    data = images(rng, 2, 6, 5, 3)
    if spec.vocabulary_size:
        data = torch.from_numpy(rng.integers(0, 262, (2, 9)))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(data), module(data), atol=1e-5, rtol=1e-4)
    compiled(data).sum().backward()
    assert module.latents.grad.abs().sum() > 0


def exported(module, data):
    batch = {0: torch.export.Dim("batch")}
    return torch.export.export(module, (data,), dynamic_shapes={"data": batch})


@pytest.mark.parametrize("streams", [False, True])
def test_torch_export_takes_any_batch(streams, rng, request):
    if streams:
        request.getfixturevalue("always_streaming")
    module, data = module_of(small_spec()), images(rng, 3, 6, 5, 3)
    program = exported(module, data)
    assert not any("ivy_models" in str(node.target) for node in program.graph.nodes)
    for batch in (2, 7):
        data = images(rng, batch, 6, 5, 3)
        torch.testing.assert_close(program.module()(data), module(data))


@pytest.mark.slow
@pytest.mark.usefixtures("always_streaming")
def test_onnx_gives_the_same_as_every_backend(rng, tmp_path):
    model = PerceiverIO(small_spec(query_shape=[]))
    with torch.no_grad():
        torch.onnx.export(
            model.to_torch_module(),
            (images(rng, 3, 6, 5, 3),),
            tmp_path / "model.onnx",
            dynamo=True,
            external_data=False,
            output_names=["logits"],
            dynamic_shapes={"data": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    data = images(rng, 2, 6, 5, 3).numpy()
    (output,) = session.run(["logits"], {"data": data})
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    for backend in CHOSEN:
        ivy.set_backend(backend)
        np.testing.assert_allclose(output, ivy.to_numpy(model(data)), atol=1e-4)
    unset_backends()


def test_the_digits(rng):
    model = create_model("perceiver_io_digits", pretrained=True)
    with torch.inference_mode():
        logits = model.to_torch_module()(model.preprocessing([np.zeros((8, 8), np.uint8)]))
    assert logits.shape == (1, 1, 10)


@pytest.mark.filterwarnings("ignore")  # the exporter is deprecated, and warns of what it traces
def test_the_torchscript_exporter_of_onnx(rng):
    module, pixels, file = module_of(small_spec()), images(rng, 2, 6, 5, 3), io.BytesIO()
    torch.onnx.export(module, (pixels,), file, dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue())
    (output,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    np.testing.assert_allclose(output, module(pixels).detach(), atol=1e-5)
