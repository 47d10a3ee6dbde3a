"""JAX: every operation can be traced, so a whole model compiles under jax.jit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from ivy_models.base.devices import parse_device
from ivy_models.errors import BackendError, InputError
from ivy_models.ops.jax_waves import sin_and_cos
from ivy_models.ops.numpy_ops import NumpyLikeOps

try:
    from jax.errors import InconclusiveDimensionOperation
except ImportError:  # before JAX 0.9
    from jax.core import InconclusiveDimensionOperation


class JaxOps(NumpyLikeOps):
    xp = jnp
    name = "jax"
    traces_loops = True
    open_size_errors = (InconclusiveDimensionOperation,)

    def is_traced(self, x):
        return isinstance(x, Tracer)

    def is_array(self, x):
        return isinstance(x, jax.Array)

    def asarray(self, x, dtype=None, device=None):
        if dtype == "float64" and not jax.config.jax_enable_x64:
            raise BackendError(
                "jax has float64 switched off. Call "
                'jax.config.update("jax_enable_x64", True) first.'
            )
        return jnp.array(x, dtype, device=_device(device))

    def constant(self, x, like):
        return jnp.asarray(x, like.dtype)

    def move(self, x, like):
        traced = isinstance(x, Tracer) or isinstance(like, Tracer)
        if traced or x.devices() == like.devices():
            return x
        place = like.sharding
        if isinstance(place, NamedSharding):  # how a weight is sharded does not fit the data
            place = NamedSharding(place.mesh, PartitionSpec())
        return jax.device_put(x, place)

    def detach(self, x):
        return lax.stop_gradient(x)

    def to_numpy(self, x):
        if isinstance(x, Tracer):
            raise InputError(
                "A jax array that is being traced cannot leave jax. "
                "Set the jax backend before jax.jit or jax.grad calls the model."
            )
        return np.array(self.widen(x))  # NumPy has no bfloat16

    def check_device(self, device):
        _device(device)

    def cast(self, x, dtype):
        return x.astype(dtype)

    def take(self, x, indices, axis):
        return jnp.take(x, indices, axis, mode="clip")

    def look_up(self, table, indices):
        return jnp.take(table, indices, 0, mode="clip")

    def slice(self, x, start, size, axis):
        return lax.dynamic_slice_in_dim(x, start, size, axis)

    def waves(self, positions, frequencies):
        if positions.dtype != jnp.float32:
            return super().waves(positions, frequencies)
        half_turns = positions[..., None] * self.constant(frequencies / np.pi, like=positions)
        return sin_and_cos(half_turns.reshape(*positions.shape[:-1], frequencies.size))

    def erf(self, x):
        return lax.erf(x)

    def relu(self, x):
        return jax.nn.relu(x)

    def silu(self, x):
        return jax.nn.silu(self.widen(x)).astype(x.dtype)

    def max(self, x, axis, keepdims=False):
        # jnp.max propagates NaN, which makes XLA on CPU 25 times slower. This generic reduction
        # has no gradient.
        axis %= x.ndim
        lowest = jnp.asarray(jnp.finfo(x.dtype).min)  # -inf would stop jax_debug_infs
        largest = lax.reduce(lax.stop_gradient(x), lowest, _larger, (axis,))
        return jnp.expand_dims(largest, axis) if keepdims else largest

    def fold_in(self, key, number):
        return jax.random.fold_in(key, number)

    def dropout(self, x, rate, key):
        kept = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)

    def conv2d(self, x, weight, stride):
        return lax.conv_general_dilated(
            x, weight, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def max_pool2d(self, x, window, stride):
        return lax.reduce_window(
            x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), "SAME"
        )

    def is_on_cpu(self, like):
        # A traced array may run on any device, most likely on the default one.
        traced = isinstance(like, Tracer)
        kind = jax.default_backend() if traced else next(iter(like.devices())).platform
        return kind == "cpu"

    def loop(self, times, body, carry):
        return lax.fori_loop(0, times, body, carry)

    def map_steps(self, function, times, dtype):
        # The step is traced once, whatever the number of steps.
        steps = lax.map(function, jnp.arange(times))
        joined = jnp.moveaxis(steps, 0, 1)
        return joined.reshape(joined.shape[0], -1, joined.shape[-1])

    def rematerialise(self, function):
        return jax.checkpoint(function)

    def keep_products(self, function):
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        lighter = jax.checkpoint(function, policy=policy)

        def chosen(*arguments):  # an untraced call has no gradient
            return (lighter if self.is_traced(arguments[-1]) else function)(*arguments)

        return chosen

    def compile(self, function):
        # A new function, because equal callables share one cache, which would never shrink.
        return jax.jit(lambda *arguments: function(*arguments))


def _larger(a, b):  # module-level, so that JAX's trace cache does not grow with every call
    return lax.select(a > b, a, b)


def _device(device: str | None) -> jax.Device | None:
    if device is None:
        return None
    parsed = parse_device(device)
    try:
        return jax.devices("gpu" if parsed.kind == "cuda" else parsed.kind)[parsed.index or 0]
    except (RuntimeError, IndexError) as error:
        raise BackendError(
            f"Device {device!r} was asked for, but jax has {jax.devices()}. "
            'Use device="cpu", or install jax for the device.'
        ) from error
