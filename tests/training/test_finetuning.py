"""Layer-wise learning rates, positions for other sizes, rematerialisation, mixed precision."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.chunks import set_scores_per_chunk
from helpers.specs import (
    arguments_for,
    flow_spec,
    language_spec,
    multimodal_data,
    multimodal_spec,
    small_spec,
)

from ivy_models import create_model
from ivy_models.errors import SpecError
from ivy_models.layers.parameters import flatten, map_tree, unflatten
from ivy_models.ops import ops_named
from ivy_models.training.finetuning import layer_wise_scales, resize_positions, tree_name
from ivy_models.transformers.perceiver_io import (
    InputModality,
    PerceiverIO,
    PerceiverIOCore,
    initialise,
)
import ivy


def needs(backend):
    return pytest.mark.skipif(backend not in CHOSEN, reason=f"{backend} was not chosen")


@pytest.mark.parametrize("tied", [True, False])
def test_scales_get_smaller_towards_the_input(tied):
    spec = small_spec(weight_tie_layers=tied)  # two layers of two
    scales = layer_wise_scales(spec, 0.5)
    assert list(scales) == [name for name, _ in flatten(PerceiverIO(spec).core.parameters())]
    layers = [
        {scale for name, scale in scales.items() if name.startswith(f"processor/{layer}/")}
        for layer in (f"layer_{i}/self_attention_{j}" for i in range(2) for j in range(2))
    ]
    if tied:
        assert layers == [{0.25}, {0.5}, set(), set()]
    else:
        assert layers == [{0.0625}, {0.125}, {0.25}, {0.5}]
    lowest = 0.125 if tied else 0.03125
    assert scales["decoder/head/weight"] == scales["queries"] == 1
    assert scales["latents"] == scales["reader/layer_0/attention/key/weight"] == lowest


@needs("torch")
def test_scales_have_the_names_of_a_module():
    text = InputModality("type", 8, 1, vocabulary_size=5, learned_position_shape=[4])
    multimodal = small_spec(
        input_dim=16, num_input_axes=1, fourier_encode_input=False, input_modalities=[text]
    )
    for spec in (small_spec(), multimodal):  # modules have a method called type
        module = PerceiverIO(spec).to_torch_module()
        names = {tree_name(name) for name, _ in module.named_parameters()}
        assert names == set(layer_wise_scales(module.spec, 0.5))


@pytest.mark.parametrize("decay", [0, -1, 1.5, float("nan")])
def test_decay_is_a_factor(decay):
    with pytest.raises(SpecError, match=r"decay must be in \(0, 1\]"):
        layer_wise_scales(small_spec(), decay)


LEARNED = {"fourier_encode_input": False, "learned_position_dim": 6}


def test_positions_of_larger_images(backend, rng):
    model = create_model(
        "perceiver_io_imagenet_learned", learned_position_shape=(2, 3), num_latents=4, latent_dim=8
    )
    # Interpolation keeps a plane, except where it is clamped at the border.
    plane = np.add.outer(10 * np.arange(2.0), np.arange(3.0))[..., None] + np.arange(256) / 256
    weights = dict(flatten(model.v)) | {"input/positions": plane.reshape(6, 256).astype("f4")}
    model = model.with_weights(weights)
    resized = resize_positions(model, (4, 6))
    got = ivy.to_numpy(resized.v["input"]["positions"]).reshape(4, 6, 256)
    rows, columns = np.clip([[-0.25, 0.25, 0.75, 1.25]], 0, 1), (np.arange(6) + 0.5) / 2 - 0.5
    expected = np.add.outer(10 * rows[0], np.clip(columns, 0, 2))[..., None] + np.arange(256) / 256
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert resized.preprocessing.size == (4, 6)
    assert resized.labels == model.labels
    assert resized(rng.random((4, 6, 3), np.float32)).shape == (1, 1000)
    same = resize_positions(model, (2, 3))
    np.testing.assert_array_equal(
        ivy.to_numpy(same.v["input"]["positions"]), weights["input/positions"]
    )


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (small_spec(), (4, 4), "no learned positions"),
        (language_spec(), (30,), "no learned positions"),
        (small_spec(learned_position_shape=(2, 3), **LEARNED), (4,), "learned_position_shape"),
        (small_spec(learned_position_shape=(2, 3), **LEARNED), (0, 3), "learned_position_shape"),
    ],
)
def test_positions_that_cannot_be_resized(spec, shape, message):
    with pytest.raises(SpecError, match=message):
        resize_positions(PerceiverIO(spec), shape)


# Rematerialisation

DROPOUT = {"attn_dropout": 0.2, "fc_dropout": 0.3}
SPECS = {
    "tied": small_spec(),
    "untied": small_spec(weight_tie_layers=False, cross_attend_in_every_layer=True),
    "dropout": small_spec(**DROPOUT),
    "flow": flow_spec(),
    "multimodal": multimodal_spec(),
}


@pytest.fixture(params=SPECS)
def model_and_data(request, monkeypatch, always_streaming, rng):
    set_scores_per_chunk(monkeypatch, 60)  # several chunks and a rest
    spec = SPECS[request.param]
    if spec.input_modalities is not None:
        return PerceiverIO(spec), multimodal_data(rng)
    if spec.stem == "frame_pair":
        return PerceiverIO(spec), rng.standard_normal((1, 2, 9, 11, 3), dtype=np.float32)
    return PerceiverIO(spec), arguments_for(spec, rng)[0]


def outputs_of(outputs):
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


@needs("torch")
def test_rematerialised_gradients_in_torch(model_and_data, monkeypatch):
    import torch

    from ivy_models.ops.torch_ops import TorchOps

    model, data = model_and_data
    data = (
        {k: torch.from_numpy(v) for k, v in data.items()}
        if isinstance(data, dict)
        else (torch.from_numpy(data))
    )

    def gradients(rematerialise):
        kept = []
        torch.manual_seed(0)
        module = model.to_torch_module(rematerialise).train()
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
            loss = sum((output**2).sum() for output in outputs_of(module(data)))
        loss.backward()
        return {n: w.grad for n, w in module.named_parameters()}, len(kept)

    got, few_kept = gradients(True)
    chunks_got, some_kept = gradients(False)
    monkeypatch.setattr(TorchOps, "rematerialise_chunks", lambda self, function: function)
    expected, all_kept = gradients(False)
    assert few_kept < 0.8 * some_kept
    if not model.spec.attn_dropout:  # this computes all weights of the reader at once
        assert some_kept < 0.9 * all_kept
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, msg=name)
        torch.testing.assert_close(chunks_got[name], gradient, msg=name)


@needs("torch")
def test_functions_of_functions_in_torch(monkeypatch, always_streaming, rng):
    """torch.func has no checkpoints; gradients within it go over the same chunks."""
    import torch

    set_scores_per_chunk(monkeypatch, 60)
    module = PerceiverIO(small_spec()).to_torch_module().double()
    data = torch.from_numpy(arguments_for(module.spec, rng)[0]).double()

    def loss(params):
        return (torch.func.functional_call(module, params, (data,)) ** 2).sum()

    params = dict(module.named_parameters())
    expected = torch.autograd.grad(loss(params), list(params.values()))
    got = torch.func.grad(loss)(params)
    for (name, gradient), other in zip(got.items(), expected, strict=True):
        torch.testing.assert_close(gradient, other, msg=name)


@pytest.mark.slow
@needs("jax")
@pytest.mark.parametrize("model_and_data", ["untied", "dropout"], indirect=True)
def test_rematerialised_gradients_in_jax(model_and_data, monkeypatch):
    import jax

    from ivy_models.ops.jax_ops import JaxOps

    model, data = model_and_data
    key = jax.random.key(0) if model.spec.fc_dropout else None

    def gradients(rematerialise):
        apply, params = model.to_jax(rematerialise)

        def loss(params):
            return sum((output**2).sum() for output in outputs_of(apply(params, data, key=key)))

        kept = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
        return jax.jit(jax.grad(loss))(params), sum(x.size for x in jax.tree.leaves(kept))

    (products, some_kept), (inputs, few_kept) = gradients(False), gradients(True)
    monkeypatch.setattr(JaxOps, "keep_products", lambda self, function: function)
    expected, all_kept = gradients(False)
    assert few_kept < 0.7 * all_kept
    assert few_kept < some_kept < 0.8 * all_kept
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for got in (products, inputs):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * largest), got, expected
        )


@pytest.mark.slow
@needs("tensorflow")
@pytest.mark.parametrize("model_and_data", ["tied", "dropout"], indirect=True)
def test_rematerialised_gradients_in_tensorflow(model_and_data):
    import tensorflow as tf

    model, data = model_and_data
    ops = ops_named("tensorflow")
    weights = map_tree(ops.asarray, initialise(model.core.parameters()))
    key = [0, 0] if model.spec.fc_dropout else None
    names, leaves = zip(*flatten(weights), strict=True)

    @tf.function(autograph=False)
    def gradients(rematerialise):
        core = PerceiverIOCore(model.spec, rematerialise=rematerialise)
        with tf.GradientTape() as tape:
            tape.watch(leaves)
            params = unflatten(dict(zip(names, leaves, strict=True)))
            loss = tf.reduce_sum(core(params, tf.constant(data), dropout_key=key) ** 2)
        return tape.gradient(loss, leaves)

    for name, expected, got in zip(names, gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4, err_msg=name)


# Mixed precision


@needs("torch")
def test_mixed_precision_in_torch(rng):
    """Weights, gradients and the reader stay in float32, the processor's products do not."""
    import torch

    model = create_model("perceiver_io_digits", pretrained=True)
    module = model.to_torch_module().train()
    images = torch.from_numpy(rng.standard_normal((8, 8, 8, 1), dtype=np.float32))
    expected = module(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = module(images)
    torch.nn.functional.cross_entropy(logits[:, 0].float(), torch.arange(8)).backward()
    assert {weight.grad.dtype for weight in module.parameters()} == {torch.float32}
    error = ((logits - expected) ** 2).mean().sqrt() / expected.std()
    assert 1e-4 < error < 0.05  # bfloat16 rounds by up to 0.004, in each of 15 layers


@needs("jax")
def test_mixed_precision_in_jax(rng):
    import jax
    import jax.numpy as jnp

    apply, params = create_model("perceiver_io_digits", pretrained=True).to_jax()
    images = rng.standard_normal((8, 8, 8, 1), dtype=np.float32)

    @jax.value_and_grad
    def loss(params):
        half = jax.tree.map(lambda weight: weight.astype(jnp.bfloat16), params)
        logits = apply(half, images)
        assert logits.dtype == jnp.bfloat16
        return (logits.astype(jnp.float32) ** 2).mean()

    value, gradients = jax.jit(loss)(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(value, (apply(params, images) ** 2).mean(), rtol=0.05)
