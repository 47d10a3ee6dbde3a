"""``query_shape=[]``: one query, whose output has no axis for queries."""

import numpy as np
import pytest
from helpers import CHOSEN, ROOT
from helpers.arrays import numpy_of
from helpers.specs import multimodal_data, multimodal_spec, small_spec

from ivy_models import (
    attention_maps,
    attention_rollout,
    classify,
    create_model,
)
from ivy_models.errors import SpecError, WeightsError
from ivy_models.transformers.perceiver_io import (
    OutputModality,
    PerceiverIO,
    PerceiverIOSpec,
    model_costs,
)
import ivy

SEVEN = ROOT / "examples" / "seven.png"
WITH_AXIS, WITHOUT = small_spec(query_shape=[1]), small_spec(query_shape=[])


def close(actual, expected):
    np.testing.assert_allclose(numpy_of(actual), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def data(rng):
    return rng.standard_normal((2, 6, 5, 3), np.float32)


@pytest.mark.slow
def test_outputs_and_weights_are_the_same(backend, data):
    one, none = PerceiverIO(WITH_AXIS), PerceiverIO(WITHOUT)
    assert tuple(none(data).shape) == (2, 5)
    close(none(data), numpy_of(one(data))[:, 0])
    close(none(data[0]), numpy_of(one(data))[0, 0])
    none.compile()
    assert tuple(none(data).shape) == (2, 5)


def test_queries_of_each_call(backend, data, rng):
    model = PerceiverIO(WITHOUT.replace(learn_query=False))
    queries = rng.standard_normal((2, 14), np.float32)
    each = numpy_of(model(data, queries=queries))
    assert each.shape == (2, 5)
    close(model(data, queries=queries[0])[0], each[0])


@pytest.mark.slow
def test_a_class_among_modalities(backend, rng):
    label = OutputModality("label", 11, (), learned_query_dim=13)
    others = tuple(m for m in multimodal_spec().output_modalities if m.name != "label")
    with_axis = PerceiverIO(multimodal_spec())
    without = PerceiverIO(multimodal_spec(output_modalities=(*others, label)))
    clip = multimodal_data(rng)
    expected = numpy_of(with_axis(clip)["label"])[:, 0]
    close(without(clip)["label"], expected)
    with pytest.raises(SpecError, match="label: without axes"):
        OutputModality("label", 11, (), num_fourier_freq_bands=2)


def test_attention(backend, data):
    maps = attention_maps(PerceiverIO(WITHOUT), data)
    expected = attention_maps(PerceiverIO(WITH_AXIS), data)
    close(maps.decoder, numpy_of(expected.decoder)[:, :, 0])
    rollout = numpy_of(attention_rollout(expected))[:, 0]
    close(attention_rollout(maps), rollout)


def test_costs_and_json():
    assert model_costs(WITHOUT, (6, 5, 3)) == model_costs(WITH_AXIS, (6, 5, 3))
    assert PerceiverIOSpec.from_json(WITHOUT.to_json()) == WITHOUT


def test_published_weights_fit(tmp_path):
    with_axis = create_model("perceiver_io_digits", pretrained=True)
    without = create_model("perceiver_io_digits", pretrained=True, query_shape=[])
    assert classify(without, SEVEN) == classify(with_axis, SEVEN)
    without.save_pretrained(tmp_path / "model")
    assert PerceiverIO.from_pretrained(tmp_path / "model").spec.query_shape == ()
    with pytest.raises(WeightsError, match="query_shape"):
        create_model("perceiver_io_digits", pretrained=True, query_shape=[2])


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_torch_loss(data):
    import torch

    ivy.set_backend("torch")
    module = PerceiverIO(WITHOUT).to_torch_module()
    loss = torch.nn.functional.cross_entropy(module(torch.from_numpy(data)), torch.tensor([1, 3]))
    loss.backward()
    assert module(torch.from_numpy(data)).shape == (2, 5)


@pytest.mark.skipif("jax" not in CHOSEN, reason="needs JAX")
def test_jax_function(data):
    import jax

    ivy.set_backend("jax")
    apply, params = PerceiverIO(WITHOUT).to_jax()
    assert jax.jit(apply)(params, data).shape == (2, 5)


@pytest.mark.skipif("tensorflow" not in CHOSEN, reason="needs TensorFlow")
def test_keras_fit(data):
    import keras

    ivy.set_backend("tensorflow")
    model = PerceiverIO(WITHOUT).to_keras_model()
    assert tuple(model.compute_output_shape((None, 6, 5, 3))) == (None, 5)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data, np.array([1, 3]), verbose=0)
    assert model.predict(data, verbose=0).shape == (2, 5)
