"""Programs that are compiled, and the calls that compile them."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import image, numpy_of
from helpers.specs import columns_data, columns_spec, small_spec

from ivy_models.ops import ops_named
from ivy_models.shells import compilation
from ivy_models.transformers.perceiver_io import PerceiverIO


@pytest.fixture
def programs(ops, monkeypatch):
    """Counts compiled programs."""
    made = []
    compile_ = type(ops).compile

    def counted(self, function):
        made.append(function)
        return compile_(self, function)

    monkeypatch.setattr(type(ops), "compile", counted)
    return made


@pytest.mark.slow
def test_compile_changes_no_result(backend, rng):
    data = image(rng, 3, 6, 5, 3)
    plain = numpy_of(PerceiverIO(small_spec())(data))
    model = PerceiverIO(small_spec())
    assert model.compile() is model
    for _ in range(2):
        np.testing.assert_allclose(numpy_of(model(data)), plain, atol=1e-5)


def test_a_category_is_split_with_its_batch(backend, rng):
    """Its data have no other axis than the batch's."""
    model = PerceiverIO(columns_spec(network_depth=1, num_lat_att_per_layer=1))
    data, mask = columns_data(rng, (3,))
    whole = numpy_of(model(data, mask))
    for i in range(3):
        alone = ({name: part[i] for name, part in tree.items()} for tree in (data, mask))
        np.testing.assert_allclose(whole[i], numpy_of(model(*alone)), atol=1e-5)


def test_batches_of_any_size_need_few_programs(ops, rng, programs):
    model, data = PerceiverIO(small_spec()), image(rng, 13, 6, 5, 3)
    whole = numpy_of(model(data))
    for batch in range(1, 14):
        part = numpy_of(model(data[:batch]))
        np.testing.assert_allclose(part, whole[:batch], atol=1e-5)
    assert len(programs) == (4 if ops.traces_loops else 0)  # 1, 2, 4 and 8


@pytest.mark.skipif("tensorflow" not in CHOSEN, reason="needs tensorflow")
def test_tensorflow_does_not_warn_of_programs_for_other_shapes(rng, monkeypatch, caplog):
    import tensorflow as tf

    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    model = PerceiverIO(small_spec(network_depth=1, num_lat_att_per_layer=1))
    model(tf.constant(image(rng, 31, 2, 2, 3)))  # 5 programs
    assert "retracing" not in caplog.text


def test_masks_and_queries_are_split_with_the_batch(backend, rng):
    model = PerceiverIO(small_spec(learn_query=False, query_shape=None))
    data, mask = image(rng, 3, 6, 5, 3), rng.random((3, 6, 5)) < 0.5
    for queries in (image(rng, 3, 4, 14), image(rng, 4, 14)):
        whole = numpy_of(model(data, mask, queries))
        for i in range(3):
            own = queries if queries.ndim == 2 else queries[i]
            np.testing.assert_allclose(numpy_of(model(data[i], mask[i], own)), whole[i], atol=1e-5)


def test_programs_are_bounded_and_reused(ops, rng, programs, monkeypatch):
    monkeypatch.setattr(compilation, "MAX_PROGRAMS", 2)
    model = PerceiverIO(small_spec(max_fourier_freq=4))
    for size in (3, 4, 3, 5, 3):
        model(image(rng, size, 2, 3))
        assert len(model._compiled._programs) <= 2
    assert len(programs) == (3 if ops.traces_loops else 0)


@pytest.mark.parametrize("backend", [b for b in CHOSEN if b == "torch"], indirect=True)
def test_torch_compiles_a_block_once_whatever_the_depth(ops, rng, programs):
    model = PerceiverIO(small_spec(network_depth=5)).compile()
    for size in (3, 4):
        model(image(rng, size, 2, 3))
    assert len(programs) == 1


@pytest.mark.slow
@pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
def test_the_users_own_jax_transformations_see_the_model(rng, transform):
    jax = pytest.importorskip("jax")
    import ivy

    ivy.set_backend("jax")
    # Of one layer, because JAX compiles each operation of the transformed call.
    spec = small_spec(network_depth=1, num_lat_att_per_layer=1)
    model, data = PerceiverIO(spec), image(rng, 3, 6, 5, 3)
    expected = numpy_of(model(data))

    def call(x):
        return model(x).data

    if transform == "jit":
        np.testing.assert_allclose(jax.jit(call)(data), expected, atol=1e-5)
    elif transform == "vmap":
        np.testing.assert_allclose(jax.vmap(call)(data), expected, atol=1e-5)
    else:
        gradient = jax.grad(lambda x: call(x).sum())(data)
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0
    ivy.unset_backend()


def test_the_users_own_tf_function_sees_the_model(rng):
    tf = pytest.importorskip("tensorflow")
    import ivy

    ivy.set_backend("tensorflow")
    model, data = PerceiverIO(small_spec()), image(rng, 3, 6, 5, 3)
    compiled = tf.function(lambda x: model(x).data)
    np.testing.assert_allclose(compiled(tf.constant(data)), numpy_of(model(data)), atol=1e-5)
    ivy.unset_backend()


def test_only_tracing_frameworks_compile_by_default():
    traced = {name for name in CHOSEN if ops_named(name).traces_loops}
    assert traced == {"jax", "tensorflow"} & set(CHOSEN)
