"""The module of Paddle: equal to the model, and trained, saved and loaded by Paddle's own tools."""

import copy
import functools

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import image, numpy_of, same_weights
from helpers.chunks import set_scores_per_chunk
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

from ivy_models.errors import BackendError, InputError
from ivy_models.layers.parameters import map_tree
from ivy_models.transformers.perceiver_io import InputModality, PerceiverIO

if "paddle" not in CHOSEN:
    pytest.skip("paddle was not chosen", allow_module_level=True)

import paddle


@pytest.fixture
def model():
    return PerceiverIO(small_spec())


@pytest.fixture
def data(rng):
    return image(rng, 2, 6, 5, 3)


def test_it_computes_what_the_model_computes(model, data, rng):
    output = model.to_paddle_module()(paddle.to_tensor(data))
    np.testing.assert_allclose(output.detach().numpy(), numpy_of(model(data)), atol=1e-5)
    tokens = rng.integers(0, 262, (2, 23), np.int32)
    language = PerceiverIO(language_spec())
    mask = rng.random((2, 23)) < 0.5
    output = language.to_paddle_module()(paddle.to_tensor(tokens), mask=paddle.to_tensor(mask))
    np.testing.assert_allclose(
        output.detach().numpy(), numpy_of(language(tokens, mask=mask)), atol=1e-4
    )


@given(spec=specs(), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_random_models(spec, seed):
    rng = np.random.default_rng(seed)
    arguments = arguments_for(spec, rng)
    model = PerceiverIO(spec, seed=seed)
    tensors = [None if x is None else paddle.to_tensor(x) for x in arguments]
    with paddle.no_grad():
        output = model.to_paddle_module()(*tensors)
    np.testing.assert_allclose(output.numpy(), numpy_of(model(*arguments)), atol=1e-5, rtol=1e-4)


def test_optical_flow(rng):
    model, frames = PerceiverIO(flow_spec()), image(rng, 1, 2, 9, 11, 3)
    output = model.to_paddle_module()(paddle.to_tensor(frames))
    np.testing.assert_allclose(output.detach().numpy(), numpy_of(model(frames)), atol=1e-5)


def test_several_modalities(rng):
    model, data = PerceiverIO(multimodal_spec()), multimodal_data(rng)
    outputs = model.to_paddle_module()(data)
    for name, expected in model(data).items():
        np.testing.assert_allclose(outputs[name].detach().numpy(), numpy_of(expected), atol=1e-4)
    model, (data, mask) = PerceiverIO(columns_spec()), columns_data(rng)
    tensors, seen = (map_tree(paddle.to_tensor, x) for x in (data, mask))
    outputs = model.to_paddle_module()(tensors, seen)
    np.testing.assert_allclose(outputs.detach().numpy(), numpy_of(model(data, mask)), atol=1e-4)


def test_modalities_may_be_called_like_attributes_of_a_layer(rng):
    names = ("float", "float_", "training", "weights")
    spec = columns_spec(input_modalities=[InputModality(name, 1, 1) for name in names])
    data = {name: image(rng, 2, 3, 1) for name in names}
    model = PerceiverIO(spec, seed=3)
    layer = model.to_paddle_module()
    layer.train()
    layer.eval()
    expected = numpy_of(model(data))
    output = layer(map_tree(paddle.to_tensor, data))
    np.testing.assert_allclose(output.numpy(), expected, atol=1e-4)
    loaded = PerceiverIO(spec, seed=4).with_weights(layer.state_dict())
    np.testing.assert_allclose(numpy_of(loaded(data)), expected, atol=1e-4)


def test_every_weight_is_a_parameter_by_its_name(model):
    module = model.to_paddle_module()
    assert sum(int(np.prod(p.shape)) for p in module.parameters()) == model.num_parameters
    assert "processor.layer_0.self_attention_0.mlp.hidden.weight" in module.state_dict()
    assert not any(p.stop_gradient for p in module.parameters())


def test_statistics_of_a_stem_are_buffers():
    module = PerceiverIO(small_spec(stem="convolution", stem_dim=4)).to_paddle_module()
    assert len(module.state_dict()) > len(module.parameters())
    assert not any("mean" in name for name, _ in module.named_parameters())


@pytest.mark.parametrize("rematerialise", [False, True])
def test_it_trains_with_an_optimizer_of_paddle(model, data, rematerialise):
    module = model.to_paddle_module(rematerialise)
    module.train()
    optimizer = paddle.optimizer.AdamW(1e-2, parameters=module.parameters())
    losses = []
    for _ in range(20):
        logits = module(paddle.to_tensor(data))[:, 0]
        loss = paddle.nn.functional.cross_entropy(logits, paddle.to_tensor([1, 3]))
        loss.backward()
        if not losses:
            assert all(p.grad is not None for p in module.parameters())
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]
    module.eval()
    trained = model.with_weights(module)
    expected = module(paddle.to_tensor(data)).detach().numpy()
    np.testing.assert_allclose(numpy_of(trained(data)), expected, atol=1e-4)
    assert not same_weights(trained, model)


def test_rematerialised_gradients_are_the_same(model, data):
    gradients = []
    for rematerialise in (False, True):
        module = model.to_paddle_module(rematerialise)
        module(paddle.to_tensor(data)).square().sum().backward()
        gradients.append({n: p.grad.numpy() for n, p in module.named_parameters()})
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], gradient, atol=1e-4, err_msg=name)


def test_attention_in_chunks_logs_nothing(data, monkeypatch, caplog):
    set_scores_per_chunk(monkeypatch, 100)
    logger = paddle.distributed.fleet.utils.log_util.logger
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    module = PerceiverIO(small_spec()).to_paddle_module()
    module(paddle.to_tensor(data)).sum().backward()
    for parameter in module.parameters():
        parameter.stop_gradient = True
    module(paddle.to_tensor(data))
    assert not caplog.records


def test_its_state_is_saved_and_loaded_by_paddle(model, data, tmp_path):
    module = model.to_paddle_module()
    paddle.save(module.state_dict(), str(tmp_path / "model.pdparams"))
    for source in (paddle.DataParallel(module), paddle.load(str(tmp_path / "model.pdparams"))):
        assert same_weights(PerceiverIO(small_spec(), seed=1).with_weights(source), model)
    other = PerceiverIO(small_spec(), seed=1).to_paddle_module()
    x = paddle.to_tensor(data)
    assert not np.allclose(other(x).detach().numpy(), module(x).detach().numpy())
    other.set_state_dict(paddle.load(str(tmp_path / "model.pdparams")))
    np.testing.assert_array_equal(other(x).detach().numpy(), module(x).detach().numpy())


def test_copies_are_independent(model, data):
    module = model.to_paddle_module()
    twin = copy.deepcopy(module)
    with paddle.no_grad():
        twin.latents.scale_(2.0)
    assert not np.allclose(twin.latents.numpy(), module.latents.numpy())
    assert same_weights(model.with_weights(module), model)


def test_dropout_follows_paddles_seed(data):
    module = PerceiverIO(small_spec(fc_dropout=0.3)).to_paddle_module()
    x = paddle.to_tensor(data)
    off = module(x).numpy()
    module.train()
    paddle.seed(0)
    first, second = module(x).numpy(), module(x).numpy()
    paddle.seed(0)
    np.testing.assert_array_equal(module(x).numpy(), first)
    assert not np.allclose(first, second)
    assert not np.allclose(first, off)


def test_a_program_of_paddle_with_an_open_batch(model, data, tmp_path):
    module = model.to_paddle_module()
    signature = [paddle.static.InputSpec([None, 6, 5, 3], "float32")]
    paddle.jit.save(module, str(tmp_path / "program"), input_spec=signature)
    program = paddle.jit.load(str(tmp_path / "program"))
    for batch in (1, 2):
        expected = numpy_of(model(data[:batch]))
        output = program(paddle.to_tensor(data[:batch]))
        np.testing.assert_allclose(output.numpy(), expected, atol=1e-5)


def test_hooks_and_replaced_parts_are_refused(model, data):
    module = model.to_paddle_module()
    handle = module.decoder.register_forward_post_hook(lambda *_: None)
    with pytest.raises(InputError, match="decoder of the model has a hook"):
        module(paddle.to_tensor(data))
    handle.remove()
    module.decoder.head = paddle.nn.Linear(14, 5)
    with pytest.raises(InputError, match="head of the model was replaced"):
        module(paddle.to_tensor(data))
    with pytest.raises(InputError, match="Call the whole model"):
        module.processor(paddle.to_tensor(data))


def test_wrong_data_are_refused(model):
    with pytest.raises(InputError, match="3 channels|input_dim|shape"):
        model.to_paddle_module()(paddle.ones([2, 6, 5, 4]))


def test_static_mode_is_refused(model, data, monkeypatch):
    tensor = paddle.to_tensor(data)
    layer, of_paddle = model.to_paddle_module(), PerceiverIO(small_spec())
    of_paddle(tensor)
    paddle.enable_static()
    try:
        value = paddle.static.data("data", [2, 6, 5, 3])
        calls = [
            functools.partial(f, x) for f in (layer, of_paddle, model) for x in (tensor, value)
        ]
        for call in (*calls, functools.partial(layer, data), model.to_paddle_module):
            monkeypatch.setattr("ivy_models.ops._ops_of_type", {})  # as in a new process
            with pytest.raises(BackendError, match=r"static mode .* paddle.disable_static\(\)"):
                call()
    finally:
        paddle.disable_static()
    assert isinstance(model.to_paddle_module()(data), paddle.Tensor)


def test_to_static_takes_the_whole_graph(model, data):
    module, x = model.to_paddle_module(), paddle.to_tensor(data)

    def loss(x):
        return module(x).square().mean()

    gradients = []
    for function in (loss, paddle.jit.to_static(loss, full_graph=True)):
        module.clear_gradients()
        function(x).backward()
        gradients.append([p.grad.numpy() for p in module.parameters()])
    for expected, got in zip(*gradients, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
