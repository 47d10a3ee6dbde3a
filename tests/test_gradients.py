"""The streaming reader's gradients are those of plain attention, on every framework."""

import numpy as np
import pytest
from conftest import CHOSEN
from hypothesis import given, settings
from hypothesis import strategies as st
from specs import arguments_for, specs

from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import PerceiverIOCore, initialise, streaming_attention
from ivy_models.transformers.perceiver_io.adapters.grid import CONVOLUTIONS
from ivy_models.transformers.perceiver_io.parameters import flatten, map_tree, unflatten

TRAINED = [name for name in CHOSEN if name != "numpy"]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def value_and_gradients(name, core, weights, arguments, dtype):
    """Output and gradients, by name, of a weighted sum of the outputs."""
    ops = ops_named(name)
    leaves = {key: ops.asarray(leaf, dtype) for key, leaf in flatten(weights)}
    data, mask, queries = arguments
    leaves["data"] = ops.asarray(data, dtype)
    batch = data.shape[0]
    mask = None if mask is None else ops.asarray(mask.reshape(batch, -1))
    if queries is not None:
        leaves["explicit"] = ops.asarray(queries.reshape(batch, -1, core.spec.queries_dim), dtype)

    def forward(leaves):
        params = unflatten({k: v for k, v in leaves.items() if k not in ("data", "explicit")})
        output = core(params, leaves["data"], mask, leaves.get("explicit"))
        size = int(np.prod(output.shape))
        factors = ops.constant(np.cos(np.arange(size)).reshape(output.shape), like=output)
        return output, ops.sum(ops.reshape(output * factors, (size,)), 0)

    output, gradients = GRADIENTS[name](forward, leaves)
    zero = {key: np.zeros(tuple(leaf.shape)) for key, leaf in leaves.items()}
    return ops.to_numpy(output), {
        key: zero[key] if g is None else ops.to_numpy(g) for key, g in gradients.items()
    }


def _torch_gradients(forward, leaves):
    for leaf in leaves.values():
        leaf.requires_grad_()
    output, loss = forward(leaves)
    loss.backward()
    return output.detach(), {key: leaf.grad for key, leaf in leaves.items()}


def _jax_gradients(forward, leaves):
    import jax

    def loss(leaves):
        output, value = forward(leaves)
        return value, output

    gradients, output = jax.jit(jax.grad(loss, has_aux=True))(leaves)
    return output, gradients


def _tensorflow_gradients(forward, leaves):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(leaves)
        output, loss = forward(leaves)
    return output, tape.gradient(loss, leaves)


GRADIENTS = {
    "torch": _torch_gradients,
    "jax": _jax_gradients,
    "tensorflow": _tensorflow_gradients,
}
"""Functions of a function, leaves -> (output, loss), and leaves; give output and gradients."""


def check(name, spec, seed, dtype, chunk):
    # Shallow: what is compared is the reader, and compiling deep gradients takes minutes.
    depth = min(spec.network_depth, 2 if spec.cross_attend_in_every_layer else 1)
    spec = spec.replace(network_depth=depth, num_lat_att_per_layer=1)
    rng = np.random.default_rng(seed)
    arguments = arguments_for(spec, rng)
    weights = map_tree(
        lambda w: w + 0.2 * rng.standard_normal(w.shape),
        initialise(PerceiverIOCore(spec).parameters(), seed),
    )
    if spec.stem in CONVOLUTIONS:
        weights["input"]["batch_norm"]["variance"] **= 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming_attention, "SCORES_PER_CHUNK", chunk)
        fast, fast_gradients = value_and_gradients(
            name, PerceiverIOCore(spec, plain_reader=False), weights, arguments, dtype
        )
    plain, gradients = value_and_gradients(
        name, PerceiverIOCore(spec, plain_reader=True), weights, arguments, dtype
    )
    assert fast.dtype == dtype
    assert np.abs(fast - plain).max() <= TOLERANCE[dtype] * np.abs(plain).max()
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    for key, gradient in gradients.items():
        assert np.abs(fast_gradients[key] - gradient).max() <= TOLERANCE[dtype] * largest, key


CHUNKS = st.sampled_from([1, 60, 10**6])


@pytest.mark.parametrize("name", TRAINED)
@settings(max_examples=6)
@given(specs(), st.integers(0, 99), CHUNKS)
def test_in_float32(name, spec, seed, chunk):
    check(name, spec, seed, "float32", chunk)


@pytest.mark.parametrize("name", TRAINED)
@settings(max_examples=6)
@given(specs(), st.integers(0, 99), CHUNKS)
def test_in_float64(name, spec, seed, chunk):
    if name == "jax":
        from jax import enable_x64

        with enable_x64(True):
            check(name, spec, seed, "float64", chunk)
    else:
        check(name, spec, seed, "float64", chunk)
