"""Masks of the queries that a call passes: sets of outputs of different sizes in one batch."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import numpy_of
from helpers.chunks import set_scores_per_chunk
from helpers.models import noisy
from helpers.specs import (
    FEW_LAYERS,
    field_spec,
    flow_spec,
    language_spec,
    multimodal_spec,
    small_spec,
)

from ivy_models import attention_maps
from ivy_models.errors import InputError
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

FIELD = field_spec(**FEW_LAYERS, position_range=(0, 1))
GIVEN = small_spec(**FEW_LAYERS, learn_query=False, query_shape=None)
MASK = np.array([[True, False, True, True, False], [True, True, True, False, False]])


def call_for(spec, rng):
    """The arguments of a call of two images, with five queries each."""
    width = spec.num_query_position_axes or spec.queries_dim
    return {
        "data": rng.standard_normal((2, 6, 5, 3), dtype=np.float32),
        "queries": rng.uniform(0, 1, (2, 5, width)).astype(np.float32),
    }


@pytest.mark.parametrize("spec", [FIELD, GIVEN], ids=["coordinates", "given"])
def test_masked_queries_may_be_anything(backend, rng, monkeypatch, spec):
    set_scores_per_chunk(monkeypatch, 2 * 7 * 2)  # several chunks of queries
    arguments, model = call_for(spec, rng), PerceiverIO(spec, v=noisy(spec))
    expected = numpy_of(model(**arguments))
    outputs = numpy_of(model(**arguments, query_mask=MASK))
    np.testing.assert_allclose(outputs[MASK], expected[MASK], atol=1e-4)
    padded = arguments["queries"].copy()
    padded[~MASK] = np.nan
    others = numpy_of(model(arguments["data"] + 1, queries=padded, query_mask=MASK))
    np.testing.assert_allclose(others[~MASK], outputs[~MASK], atol=1e-6)
    assert np.isfinite(others).all()
    latents = model.encode(arguments["data"])
    decoded = numpy_of(model.decode(latents, padded, query_mask=MASK))
    np.testing.assert_allclose(decoded, outputs, atol=1e-4)
    shared = numpy_of(model(arguments["data"], queries=padded[0], query_mask=MASK[0]))
    np.testing.assert_allclose(shared[0], outputs[0], atol=1e-4)


@pytest.fixture(scope="module")
def case():
    """A model, the arguments of a call by name, and its result."""
    ivy.set_backend("numpy")
    model, arguments = PerceiverIO(FIELD), call_for(FIELD, np.random.default_rng(3))
    arguments["queries"][~MASK] = 9
    arguments["query_mask"] = MASK
    yield model, arguments, numpy_of(model(**arguments))
    ivy.unset_backend()


def test_maps_of_masked_queries_are_zeros(case):
    model, arguments, _ = case
    maps = numpy_of(attention_maps(model, **arguments).decoder)
    np.testing.assert_allclose(maps.sum((1, -1)), MASK, atol=1e-5)


def test_torch(case):
    torch = pytest.importorskip("torch")
    model, arguments, expected = case
    module = model.to_torch_module()
    tensors = {name: torch.from_numpy(x) for name, x in arguments.items()}
    program = torch.export.export(module, (), tensors).module()
    for run in (module, program):
        np.testing.assert_allclose(run(**tensors).detach(), expected, atol=1e-5)
    queries = (tensors["queries"] * 0.9).requires_grad_()
    module(**tensors | {"queries": queries}).sum().backward()
    np.testing.assert_array_equal(queries.grad.abs().sum(-1) > 0, MASK)


def test_jax(case):
    jax = pytest.importorskip("jax")
    model, arguments, expected = case
    apply, params = model.to_jax()
    np.testing.assert_allclose(jax.jit(apply)(params, **arguments), expected, atol=1e-5)


def test_keras(case):
    pytest.importorskip("keras")
    model, arguments, expected = case
    network = model.to_keras_model()
    np.testing.assert_allclose(numpy_of(network(**arguments)), expected, atol=1e-4)
    np.testing.assert_allclose(network.predict(arguments, verbose=0), expected, atol=1e-4)


@pytest.mark.skipif("paddle" not in CHOSEN, reason="needs paddle")
def test_paddle(case):
    import paddle

    model, arguments, expected = case
    tensors = {name: paddle.to_tensor(x) for name, x in arguments.items()}
    np.testing.assert_allclose(model.to_paddle_module()(**tensors).numpy(), expected, atol=1e-5)


# Refusals


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (MASK[:, :4], r"query_mask has shape \(2, 4\); expected \(2, 5\).* a query takes part"),
        (np.ones((2, 5, 7), bool), r"query_mask has shape \(2, 5, 7\)"),  # one of the latents
        (MASK.astype(np.float32), "query_mask is of type float32"),
        (MASK * -9, "query_mask has integers from -9"),
    ],
)
def test_other_masks_are_refused(case, mask, match):
    model, arguments, _ = case
    with pytest.raises(InputError, match=match):
        model(**arguments | {"query_mask": mask})


@pytest.mark.parametrize(
    "spec",
    [
        small_spec(),
        small_spec(with_decoder=False),
        small_spec(pooling="mean", query_shape=None),
        language_spec(),
        flow_spec(),
        multimodal_spec(),
    ],
)
def test_models_whose_calls_pass_no_array_of_queries_refuse_a_mask(spec):
    with pytest.raises(InputError, match="query_mask is for queries that the call passes"):
        spec.queries().with_mask(None, np.ones(1, bool))
