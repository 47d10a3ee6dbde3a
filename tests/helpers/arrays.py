"""Conversion of arrays in tests."""

import numpy as np

from ivy_models.arrays import to_native
from ivy_models.layers.parameters import flatten
from ivy_models.ops import ops_named


def numpy_of(x):
    return to_native(ops_named("numpy"), x, "output")


def image(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def compiled(ops, function):
    """The function as one program on JAX, which would otherwise compile each operation of it."""
    return ops.compile(function) if ops.name == "jax" else function


def assert_close(outputs, expected, tolerance=1e-4):
    assert outputs.keys() == expected.keys()
    for name in expected:
        assert outputs[name].shape == expected[name].shape
        difference = np.abs(outputs[name] - expected[name]).max()
        assert difference <= tolerance * expected[name].std(), name


def same_weights(a, b):
    a, b = (dict(flatten(model.v)) for model in (a, b))
    return a.keys() == b.keys() and all(np.array_equal(numpy_of(a[n]), numpy_of(b[n])) for n in a)
