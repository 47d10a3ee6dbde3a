"""Positions and queries as coordinates in native modules and in compiled programs."""

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import numpy_of
from helpers.specs import points, points_spec

from ivy_models.errors import InputError
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

SPEC = points_spec(
    network_depth=1,
    num_lat_att_per_layer=1,
    num_query_position_axes=2,
    learn_query=False,
    query_shape=None,
)


@pytest.fixture
def case(rng):
    """A model, the arguments of a call by name, and its result."""
    ivy.set_backend("numpy")
    model, (data, positions) = PerceiverIO(SPEC), points(rng, SPEC)
    queries = rng.uniform(-1, 1, (2, 6, 2)).astype(np.float32)
    arguments = {"data": data, "queries": queries, "positions": positions}
    yield model, arguments, numpy_of(model(**arguments))
    ivy.unset_backend()


def moved(arguments, name, by):
    return arguments | {name: arguments[name] + np.float32(by)}


def check_gradient(gradient, model, arguments, name):
    """Compare the gradient of the outputs' sum with a finite difference along all coordinates."""
    double = PerceiverIO(SPEC.replace(dtype="float64"), v=model.v)
    inner = {n: x * 0.9 for n, x in arguments.items()}  # so that a step stays in the range
    step = 1e-4
    after, before = (
        numpy_of(double(**inner | {name: inner[name].astype(np.float64) + by})).sum()
        for by in (step, -step)
    )
    np.testing.assert_allclose(gradient.sum(), (after - before) / (2 * step), rtol=1e-2)


# PyTorch


def test_torch(case):
    torch = pytest.importorskip("torch")
    model, arguments, expected = case
    module = model.to_torch_module()
    tensors = {name: torch.from_numpy(x) for name, x in arguments.items()}
    output = module(**tensors)
    np.testing.assert_allclose(output.detach(), expected, atol=1e-5)
    for name in ("positions", "queries"):
        inner = {n: x * 0.9 for n, x in tensors.items()}
        inner[name].requires_grad_()
        module(**inner).sum().backward()
        check_gradient(inner[name].grad.numpy(), model, arguments, name)


def test_a_hooked_projection_of_queries_is_called(case):
    torch = pytest.importorskip("torch")
    model, arguments, expected = case
    module, calls = model.to_torch_module(), []
    module.queries.projection.register_forward_hook(lambda *_: calls.append(1))
    output = module(**{n: torch.from_numpy(x) for n, x in arguments.items()})
    np.testing.assert_allclose(output.detach(), expected, atol=1e-5)
    assert len(calls) == 1


def test_compiled_and_exported_torch(case):
    torch = pytest.importorskip("torch")
    model, arguments, expected = case
    module = model.to_torch_module()
    tensors = {name: torch.from_numpy(x) for name, x in arguments.items()}
    torch.compiler.reset()
    open_axis = {1: torch.export.Dim.AUTO}
    sizes = {"data": open_axis, "queries": open_axis, "positions": open_axis}
    exported = torch.export.export(module, (), tensors, dynamic_shapes=sizes).module()
    more = {name: torch.cat([x, x], 1) for name, x in tensors.items()}
    with torch.no_grad():
        for program in (torch.compile(module, backend="eager"), exported):
            np.testing.assert_allclose(program(**tensors), expected, atol=1e-5)
            np.testing.assert_allclose(program(**more), module(**more), atol=1e-5)


@pytest.mark.parametrize("name", ["positions", "queries"])
def test_a_traced_program_gives_nan_where_coordinates_are_out_of_range(case, name):
    """It cannot raise an error, because values are not known while it is traced."""
    torch = pytest.importorskip("torch")
    model, arguments, expected = case
    module = model.to_torch_module()
    tensors = {n: torch.from_numpy(x) for n, x in arguments.items()}
    program = torch.export.export(module, (), tensors).module()
    wrong = {n: x.clone() for n, x in tensors.items()}
    wrong[name][1, 0, 0] = 1.01
    with torch.no_grad():
        output = program(**wrong).numpy()
    np.testing.assert_allclose(output[0], expected[0], atol=1e-5)
    assert np.isnan(output[1, 0]).all()
    with pytest.raises(InputError, match=f"{name} has coordinates from"):
        module(**wrong)


# JAX


def test_jax(case):
    jax = pytest.importorskip("jax")
    model, arguments, expected = case
    apply, params = model.to_jax()
    np.testing.assert_allclose(jax.jit(apply)(params, **arguments), expected, atol=1e-5)
    inner = {name: x * np.float32(0.9) for name, x in arguments.items()}
    for name in ("positions", "queries"):
        gradient = jax.jit(jax.grad(lambda x, n=name: apply(params, **inner | {n: x}).sum()))
        check_gradient(np.asarray(gradient(inner[name])), model, arguments, name)


def test_vmap_over_any_of_the_arguments(case, rng):
    jax = pytest.importorskip("jax")
    model, arguments, expected = case
    apply, params = model.to_jax()
    arguments |= {"mask": rng.random((2, 11)) < 0.7, "query_mask": rng.random((2, 6)) < 0.7}
    expected = numpy_of(model(**arguments))
    shared = {name: x[0] for name, x in arguments.items()}
    mapped = jax.jit(jax.vmap(lambda named: apply(params, **named)))(arguments)
    np.testing.assert_allclose(mapped, expected, atol=1e-5)
    for name in arguments:
        one = jax.vmap(lambda x, n=name: apply(params, **shared | {n: x}))
        both = {n: np.stack([x[0], x[int(n == name)]]) for n, x in arguments.items()}
        np.testing.assert_allclose(
            jax.jit(one)(arguments[name]), numpy_of(model(**both)), atol=1e-5, err_msg=name
        )


def test_derivatives_at_one_point(case):
    """As of a field that a neural network represents: a function of one coordinate vector."""
    jax = pytest.importorskip("jax")
    model, arguments, _ = case
    apply, params = model.to_jax()
    fixed = {"data": arguments["data"][0], "positions": arguments["positions"][0]}

    def field(point):
        return apply(params, **fixed, queries=point[None])[0, 0]

    points = arguments["queries"][0] * np.float32(0.9)
    slopes = jax.jit(jax.vmap(jax.grad(field)))(points)
    forward = jax.jit(jax.vmap(jax.jacfwd(field)))(points)
    np.testing.assert_allclose(slopes, forward, rtol=1e-3, atol=1e-4)
    mixed, reverse = (
        jax.jit(jax.vmap(second(jax.jacrev(field))))(points) for second in (jax.jacfwd, jax.jacrev)
    )
    np.testing.assert_allclose(mixed, reverse, rtol=1e-3, atol=1e-2)


# Paddle


@pytest.mark.skipif("paddle" not in CHOSEN, reason="needs paddle")
def test_paddle(case):
    import paddle

    model, arguments, expected = case
    layer = model.to_paddle_module()
    tensors = {name: paddle.to_tensor(x) for name, x in arguments.items()}
    np.testing.assert_allclose(layer(**tensors).detach().numpy(), expected, atol=1e-5)
    for name in ("positions", "queries"):
        inner = {n: x * 0.9 for n, x in tensors.items()}
        inner[name].stop_gradient = False
        layer(**inner).sum().backward()
        check_gradient(inner[name].grad.numpy(), model, arguments, name)


# Keras


@pytest.fixture
def keras():
    return pytest.importorskip("keras")


def test_keras(case, keras, tmp_path):
    model, arguments, expected = case
    network = model.to_keras_model()
    np.testing.assert_allclose(numpy_of(network(**arguments)), expected, atol=1e-4)
    np.testing.assert_allclose(network.predict(arguments, verbose=0), expected, atol=1e-4)
    shapes = {name: x.shape for name, x in arguments.items()}
    assert network.compute_output_shape(shapes) == expected.shape
    network.compile("sgd", "mse")
    losses = network.fit(arguments, expected + 1, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    network.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(numpy_of(copy(arguments)), numpy_of(network(arguments)), atol=1e-4)
    with pytest.raises(InputError, match="each call passes positions"):
        network(arguments["data"], queries=arguments["queries"])


def test_a_functional_keras_model(case, keras):
    model, arguments, expected = case
    inputs = {name: keras.Input((None, x.shape[-1]), name=name) for name, x in arguments.items()}
    network = keras.Model(inputs, model.to_keras_model()(**inputs))
    np.testing.assert_allclose(network.predict(arguments, verbose=0), expected, atol=1e-4)
