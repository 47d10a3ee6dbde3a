"""A scalar loss of a core's outputs, and its gradients in each framework."""

import contextlib

import numpy as np

from helpers import CHOSEN
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.ops import ops_named

TRAINED = [name for name in CHOSEN if name != "numpy"]


def loss_of(ops, core, arguments):
    """The function to differentiate, of a core's floats by name, and these floats (NumPy).

    ``arguments`` are the core's NumPy arrays by name: ``params``, ``data``, and ``input_mask``
    and ``queries`` if any. The loss is a weighted sum of all outputs.
    """
    arguments = dict(flatten({name: x for name, x in arguments.items() if x is not None}))
    floats = {name: x for name, x in arguments.items() if x.dtype.kind == "f"}
    fixed = {name: ops.asarray(x) for name, x in arguments.items() if name not in floats}

    def forward(floats):
        outputs = core(**unflatten(floats | fixed))
        outputs = dict(sorted(outputs.items())) if isinstance(outputs, dict) else {"": outputs}
        return outputs, sum(_weighted_sum(ops, output) for output in outputs.values())

    return forward, floats


def _weighted_sum(ops, output):
    size = int(np.prod(output.shape))
    factors = ops.constant(np.cos(np.arange(size)), like=output)
    return ops.sum(ops.reshape(output, (size,)) * factors, 0)


def value_and_gradients(name, core, arguments, dtype):
    """Outputs and gradients of the loss, by name, as NumPy arrays."""
    ops = ops_named(name)
    with _floats_of(name, dtype):
        forward, floats = loss_of(ops, core, arguments)
        floats = {key: ops.asarray(leaf, dtype) for key, leaf in floats.items()}
        outputs, gradients = GRADIENTS[name](forward, floats)
        outputs = {key: ops.to_numpy(output) for key, output in outputs.items()}
        zero = {key: np.zeros(tuple(leaf.shape), dtype) for key, leaf in floats.items()}
        return outputs, {
            key: zero[key] if g is None else ops.to_numpy(g) for key, g in gradients.items()
        }


def _floats_of(name, dtype):
    if name != "jax" or dtype != "float64":
        return contextlib.nullcontext()
    try:
        from jax import enable_x64
    except ImportError:  # older releases
        from jax.experimental import enable_x64

    return enable_x64(True)


def _torch_gradients(forward, leaves):
    for leaf in leaves.values():
        leaf.requires_grad_()
    outputs, loss = forward(leaves)
    loss.backward()
    outputs = {key: output.detach() for key, output in outputs.items()}
    return outputs, {key: leaf.grad for key, leaf in leaves.items()}


def _jax_gradients(forward, leaves):
    import jax

    def loss(leaves):
        outputs, value = forward(leaves)
        return value, outputs

    # Optimizing a program that runs once takes longer than it saves.
    compiled = jax.jit(
        jax.grad(loss, has_aux=True), compiler_options={"xla_backend_optimization_level": 0}
    )
    gradients, outputs = compiled(leaves)
    return outputs, gradients


def _tensorflow_gradients(forward, leaves):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(leaves)
        outputs, loss = forward(leaves)
    gradients = tape.gradient(
        loss, leaves
    )  # an embedding's gradient has only the rows that were used
    return outputs, {
        key: None if g is None else tf.convert_to_tensor(g) for key, g in gradients.items()
    }


def _paddle_gradients(forward, leaves):
    for leaf in leaves.values():
        leaf.stop_gradient = False
    outputs, loss = forward(leaves)
    loss.backward()
    outputs = {key: output.detach() for key, output in outputs.items()}
    gradients = {key: leaf.grad for key, leaf in leaves.items()}
    return outputs, {key: None if g is None else g.detach() for key, g in gradients.items()}


GRADIENTS = {
    "torch": _torch_gradients,
    "jax": _jax_gradients,
    "tensorflow": _tensorflow_gradients,
    "paddle": _paddle_gradients,
}
"""Functions of ``leaves -> (outputs, loss)`` and leaves that return outputs and gradients."""


def directional_derivatives(core, arguments, step, seed=0):
    """A random direction by name, and the loss's derivative along it by central differences.

    NumPy computes it in float64.
    """
    forward, floats = loss_of(ops_named("numpy"), core, arguments)
    rng = np.random.default_rng(seed)
    derivatives = {}
    for name, leaf in floats.items():
        direction = rng.standard_normal(leaf.shape)
        after, before = (
            forward(floats | {name: leaf + distance * direction})[1] for distance in (step, -step)
        )
        derivatives[name] = direction, (after - before) / (2 * step)
    return derivatives
