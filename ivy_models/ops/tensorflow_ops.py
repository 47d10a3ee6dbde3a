"""TensorFlow: eager, or compiled as a graph by tf.function."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import tensorflow as tf

from ivy_models.base.devices import parse_device
from ivy_models.errors import BackendError, InputError
from ivy_models.ops.base import HALF_TYPES, Ops, broadcast_batch


class TensorflowOps(Ops):
    name = "tensorflow"
    traces_loops = True

    def is_traced(self, x):
        return not tf.executing_eagerly()

    def is_array(self, x):
        return isinstance(x, (tf.Tensor, tf.Variable))

    def asarray(self, x, dtype=None, device=None):
        with tf.device(_device(device)):
            # tf.identity copies, because tf.constant may share the NumPy array's memory on CPU.
            x = tf.constant(x)
            return tf.identity(x if dtype is None else tf.cast(x, dtype))

    def constant(self, x, like):
        return tf.cast(tf.constant(x), like.dtype)

    def on_device_of(self, like):
        # A tensor that is being traced may have no device yet.
        return tf.device(like.device) if like.device else contextlib.nullcontext()

    def detach(self, x):
        return tf.stop_gradient(x)

    def to_numpy(self, x):
        if not hasattr(x, "numpy"):
            raise InputError(
                "A tensorflow tensor inside tf.function cannot leave tensorflow. "
                "Set the tensorflow backend before tf.function calls the model."
            )
        return self.widen(x).numpy()  # NumPy has no bfloat16

    def check_device(self, device):
        _device(device)

    def dtype(self, x):
        return x.dtype.name

    def cast(self, x, dtype):
        return tf.cast(x, dtype)

    def shape(self, x):
        sizes = tuple(x.shape)
        return tuple(tf.shape(x)[i] if size is None else size for i, size in enumerate(sizes))

    def known_shape(self, x, channels=None):
        if x.shape.rank is None:
            raise InputError(
                "An argument has an unknown number of axes. Name them in the input_signature of "
                "tf.function, with None for an open size, such as (None, None, None, 3)."
            )
        return super().known_shape(x, channels)

    def arange(self, size, like):
        return tf.cast(tf.range(size), tf.float64)

    def reshape(self, x, shape):
        return tf.reshape(x, shape)

    def transpose(self, x, axes):
        return tf.transpose(x, axes)

    def concat(self, arrays, axis):
        return tf.concat(arrays, axis)

    def broadcast_to(self, x, shape):
        return tf.broadcast_to(x, shape)

    def take(self, x, indices, axis):
        return tf.gather(x, indices, axis=axis)

    def look_up(self, table, indices):
        return tf.gather(table, indices)

    def slice(self, x, start, size, axis):
        begin, sizes = [0] * len(x.shape), [-1 if n is None else n for n in x.shape]
        begin[axis], sizes[axis] = start, size
        return tf.slice(x, begin, sizes)

    def matmul(self, a, b):
        # tensorflow-cpu 2.21 returns garbage for some broadcast batches, such as
        # (3, 1, 6, 25) @ (1, 25, 25), so batches are broadcast here first.
        a_batch, b_batch = tuple(a.shape[:-2]), tuple(b.shape[:-2])
        if a_batch == b_batch:
            return tf.matmul(a, b)
        if all(size == 1 for size in b_batch) and len(b_batch) <= len(a_batch):
            rows, columns = b.shape[-2:]
            product = tf.matmul(tf.reshape(a, (-1, rows)), tf.reshape(b, (rows, columns)))
            return tf.reshape(product, (*self.shape(a)[:-1], columns))
        batch = broadcast_batch(self.shape(a)[:-2], self.shape(b)[:-2])
        a, b = (tf.broadcast_to(x, (*batch, *self.shape(x)[-2:])) for x in (a, b))
        return tf.matmul(a, b)

    def exp(self, x):
        return tf.exp(x)

    def log(self, x):
        return tf.math.log(x)

    def sin(self, x):
        return tf.sin(x)

    def cos(self, x):
        return tf.cos(x)

    def tanh(self, x):
        return tf.tanh(x)

    def erf(self, x):
        return tf.math.erf(x)

    def sqrt(self, x):
        return tf.sqrt(x)

    def sum(self, x, axis, keepdims=False):
        return tf.reduce_sum(x, axis, keepdims=keepdims)

    def mean(self, x, axis, keepdims=False):
        return tf.reduce_mean(x, axis, keepdims=keepdims)  # of open sizes too

    def max(self, x, axis, keepdims=False):
        return tf.reduce_max(tf.stop_gradient(x), axis, keepdims=keepdims)

    def maximum(self, a, b):
        return tf.maximum(a, b)

    def where(self, condition, a, b):
        return tf.where(condition, a, b)

    def gelu(self, x, exact=False):
        if not exact and x.dtype == tf.float64:  # TensorFlow's own uses a float32 constant
            return super().gelu(x)
        return tf.cast(tf.nn.gelu(self.widen(x), approximate=not exact), x.dtype)

    def relu(self, x):
        return tf.nn.relu(x)

    def silu(self, x):
        wide = self.widen(x)
        return tf.cast(wide * tf.sigmoid(wide), x.dtype)

    def fold_in(self, key, number):
        return tf.random.fold_in(key, number)

    def dropout(self, x, rate, key):
        return tf.nn.experimental.stateless_dropout(x, rate, key)

    def conv2d(self, x, weight, stride):
        return tf.nn.conv2d(x, weight, stride, "SAME")

    def max_pool2d(self, x, window, stride):
        return tf.nn.max_pool2d(x, window, stride, "SAME")

    def is_on_cpu(self, like):
        # A traced tensor without a device runs on a GPU if there is one.
        device = like.device or "".join(d.name for d in tf.config.list_logical_devices("GPU"))
        return "GPU" not in device and "TPU" not in device

    def loop(self, times, body, carry):
        if tf.executing_eagerly():
            return super().loop(times, body, carry)
        carry = tf.while_loop(
            lambda i, _: i < times,
            lambda i, carry: (i + 1, body(i, carry)),
            (tf.constant(0), carry),
            parallel_iterations=1,
            maximum_iterations=times,  # needed for gradients if the caller compiles with XLA
        )
        return carry[1]

    def map_steps(self, function, times, dtype):
        if tf.executing_eagerly():
            return super().map_steps(function, times, dtype)
        # The step is traced once, whatever the number of steps.
        steps = tf.map_fn(
            function, tf.range(times), parallel_iterations=1, fn_output_signature=tf.as_dtype(dtype)
        )
        joined = tf.transpose(steps, (1, 0, 2, 3))
        _, _, rows, channels = joined.shape
        return tf.reshape(joined, (-1, times * rows, channels))

    def attention(self, q, k, v, key_mask=None, drop=None):
        if drop is not None or self.dtype(q) in HALF_TYPES:
            return super().attention(q, k, v, key_mask, drop)
        scores = self.matmul(q * q.shape[-1] ** -0.5, self.transpose(k, (0, 1, 3, 2)))
        return self._attention_by(tf.nn.softmax, scores, v, key_mask)

    def rematerialise(self, function):
        return tf.recompute_grad(function)

    def rematerialise_chunks(self, function):
        return function  # recompute_grad gives no gradients for arrays that a function closes over

    def as_written(self, function):
        # Loops here are TensorFlow's own. autograph takes seconds and finds nothing to translate.
        return tf.autograph.experimental.do_not_convert(function)

    def compile(self, function):
        # XLA would be faster, but gradients cannot pass through a loop that it compiled.
        # Each program has one shape of arguments. TensorFlow counts the tracings of a Python
        # function and would warn of too many, but a partial is not the same function.
        program = tf.function(functools.partial(function), autograph=False)

        def call(*arguments):
            # Loops refer to the variables that they were traced with, which may be gone by now.
            return program(*tf.nest.map_structure(_value, arguments))

        return call


def _value(x: Any) -> Any:
    return tf.convert_to_tensor(x) if isinstance(x, tf.Variable) else x


def _device(device: str | None) -> str | None:
    if device is None:
        return None
    parsed = parse_device(device)
    kind = "GPU" if parsed.kind == "cuda" else parsed.kind.upper()
    try:
        return tf.config.list_logical_devices(kind)[parsed.index or 0].name
    except IndexError as error:
        here = [d.name for d in tf.config.list_logical_devices()]
        raise BackendError(
            f"Device {device!r} was asked for, but tensorflow has {here}. "
            'Use device="cpu", or install tensorflow for the device.'
        ) from error
