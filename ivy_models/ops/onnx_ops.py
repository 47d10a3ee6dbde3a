"""ONNX: each operation adds nodes to a graph that a runtime executes later."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v20 as onnx  # the first with Gelu
from spox import Var
from spox._future import initializer

from ivy_models.base.devices import Device, parse_device
from ivy_models.errors import BackendError, InputError
from ivy_models.ops import register_type
from ivy_models.ops.base import LAYER_NORM_EPSILON, MASKED_SCORE, Ops

_END = np.iinfo(np.int64).max


class OnnxArray:
    """A value of a graph and its shape.

    ONNX's own shape inference loses sizes that are computed, so each operation says the shape of
    its result. Sizes that the graph leaves open are scalars of the graph.
    """

    def __init__(self, var: Var, shape: Sequence[int | OnnxArray | None]):
        self.var = var
        self.shape = tuple(self._size(i) if size is None else size for i, size in enumerate(shape))

    def _size(self, axis: int) -> OnnxArray:
        return OnnxArray(onnx.gather(onnx.shape(self.var), _whole(axis)), ())

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.var.unwrap_tensor().dtype)

    def _with(self, function, other, swapped=False):
        a, b = self, _as_array(other, self.dtype)
        a, b = (b, a) if swapped else (a, b)
        return OnnxArray(function(a.var, b.var), _broadcast(a.shape, b.shape))

    def __add__(self, other):
        return self._with(onnx.add, other)

    def __radd__(self, other):
        return self._with(onnx.add, other, swapped=True)

    def __sub__(self, other):
        return self._with(onnx.sub, other)

    def __rsub__(self, other):
        return self._with(onnx.sub, other, swapped=True)

    def __mul__(self, other):
        return self._with(onnx.mul, other)

    def __rmul__(self, other):
        return self._with(onnx.mul, other, swapped=True)

    def __truediv__(self, other):
        return self._with(onnx.div, other)

    def __rtruediv__(self, other):
        return self._with(onnx.div, other, swapped=True)

    def __floordiv__(self, other):
        # Div rounds whole numbers towards zero. Mod has the sign of the divisor.
        return (self - self._with(onnx.mod, other)) / other

    def __gt__(self, other):
        return self._with(onnx.greater, other)

    def __neg__(self):
        return OnnxArray(onnx.neg(self.var), self.shape)

    def __getitem__(self, index):
        """Slices, None and numbers, as in NumPy."""
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index:
            at = index.index(Ellipsis)
            missing = len(self.shape) - sum(i is not None for i in index) + 1
            index = (*index[:at], *[slice(None)] * missing, *index[at + 1 :])
        x, axis = self, 0
        for i in index:
            if i is None:
                var = onnx.unsqueeze(x.var, _whole([axis]))
                x = OnnxArray(var, (*x.shape[:axis], 1, *x.shape[axis:]))
            elif isinstance(i, slice):
                x = x if i == slice(None) else x._sliced(i, axis)
            else:
                var = onnx.gather(x.var, _whole(i), axis=axis)
                x = OnnxArray(var, (*x.shape[:axis], *x.shape[axis + 1 :]))
                continue
            axis += 1
        return x

    def _sliced(self, part: slice, axis: int) -> OnnxArray:
        size, step = self.shape[axis], part.step or 1
        start, stop = part.start or 0, _END if part.stop is None else part.stop
        var = onnx.slice(self.var, _whole([start]), _whole([stop]), _whole([axis]), _whole([step]))
        left = len(range(*part.indices(size))) if isinstance(size, int) else None
        return OnnxArray(var, (*self.shape[:axis], left, *self.shape[axis + 1 :]))


class OnnxOps(Ops):
    """Build a graph in float32, without gradients."""

    name = "onnx"
    traces_loops = True

    def is_traced(self, x):
        return True

    def is_array(self, x):
        return isinstance(x, OnnxArray)

    def asarray(self, x, dtype=None, device=None):
        x = np.asarray(x, dtype)
        return OnnxArray(initializer(np.ascontiguousarray(x)), x.shape)

    def constant(self, x, like):
        return self.asarray(x, like.dtype)

    def to_numpy(self, x):
        raise InputError("An ONNX graph has no values until it runs.")

    def check_device(self, device):
        if device is not None and parse_device(device) != Device("cpu"):
            raise BackendError(f"An ONNX graph has no device, got {device!r}. Use device=None.")

    def cast(self, x, dtype):
        if self.dtype(x) == dtype:
            return x
        return OnnxArray(onnx.cast(x.var, to=np.dtype(dtype)), x.shape)

    def arange(self, size, like):
        numbers = onnx.range(_whole(0), _as_array(size, np.dtype(np.int64)).var, _whole(1))
        return self.cast(OnnxArray(numbers, (size,)), "float32")

    def reshape(self, x, shape):
        if _same(x.shape, shape):
            return x
        shape = [_rest(x.shape, shape) if _is(size, -1) else size for size in shape]
        # The runtime computes one size: that which is unknown, else the only open one.
        unknown = [i for i, size in enumerate(shape) if size is None]
        left = unknown or [i for i, size in enumerate(shape) if not isinstance(size, int)]
        target = list(shape)
        if len(left) == 1:
            target[left[0]] = -1
        return OnnxArray(onnx.reshape(x.var, _shape_var(target)), shape)

    def transpose(self, x, axes):
        var = onnx.transpose(x.var, perm=list(axes))
        return OnnxArray(var, [x.shape[axis] for axis in axes])

    def concat(self, arrays, axis):
        axis %= len(arrays[0].shape)
        shape = list(arrays[0].shape)
        shape[axis] = sum((x.shape[axis] for x in arrays[1:]), shape[axis])
        return OnnxArray(onnx.concat([x.var for x in arrays], axis=axis), shape)

    def broadcast_to(self, x, shape):
        shape = tuple(shape)
        if _same(shape, x.shape):
            return x
        own = (1,) * (len(shape) - len(x.shape)) + x.shape
        # Where Expand is given 1, the axis keeps its size.
        target = [1 if _same([a], [b]) else a for a, b in zip(shape, own, strict=True)]
        return OnnxArray(onnx.expand(x.var, _shape_var(target)), shape)

    def take(self, x, indices, axis):
        axis %= len(x.shape)
        indices = np.asarray(indices, np.int64)
        var = onnx.gather(x.var, _whole(indices), axis=axis)
        return OnnxArray(var, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def look_up(self, table, indices):
        return OnnxArray(onnx.gather(table.var, indices.var), (*indices.shape, *table.shape[1:]))

    def slice(self, x, start, size, axis):
        axis %= len(x.shape)
        stop = start + size
        var = onnx.slice(x.var, _shape_var([start]), _shape_var([stop]), _whole([axis]))
        return OnnxArray(var, (*x.shape[:axis], size, *x.shape[axis + 1 :]))

    def matmul(self, a, b):
        shape = (*_broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        return OnnxArray(onnx.matmul(a.var, b.var), shape)

    def exp(self, x):
        return OnnxArray(onnx.exp(x.var), x.shape)

    def log(self, x):
        return OnnxArray(onnx.log(x.var), x.shape)

    def sin(self, x):
        return OnnxArray(onnx.sin(x.var), x.shape)

    def cos(self, x):
        return OnnxArray(onnx.cos(x.var), x.shape)

    def tanh(self, x):
        return OnnxArray(onnx.tanh(x.var), x.shape)

    def erf(self, x):
        return OnnxArray(onnx.erf(x.var), x.shape)

    def sqrt(self, x):
        return OnnxArray(onnx.sqrt(x.var), x.shape)

    def sum(self, x, axis, keepdims=False):
        return self._reduced(onnx.reduce_sum, x, axis, keepdims)

    def max(self, x, axis, keepdims=False):
        return self._reduced(onnx.reduce_max, x, axis, keepdims)

    def mean(self, x, axis, keepdims=False):
        return self._reduced(onnx.reduce_mean, x, axis, keepdims)

    @staticmethod
    def _reduced(function, x, axis, keepdims):
        axis %= len(x.shape)
        kept = (1,) if keepdims else ()
        shape = (*x.shape[:axis], *kept, *x.shape[axis + 1 :])
        return OnnxArray(function(x.var, _whole([axis]), keepdims=int(keepdims)), shape)

    def maximum(self, a, b):
        b = _as_array(b, a.dtype)
        return OnnxArray(onnx.max([a.var, b.var]), _broadcast(a.shape, b.shape))

    def where(self, condition, a, b):
        like: Any = a if isinstance(a, OnnxArray) else b
        a, b = _as_array(a, like.dtype), _as_array(b, like.dtype)
        shape = _broadcast(condition.shape, _broadcast(a.shape, b.shape))
        return OnnxArray(onnx.where(condition.var, a.var, b.var), shape)

    def layer_norm(self, x, scale, offset):
        normed = onnx.layer_normalization(
            x.var, scale.var, offset.var, axis=-1, epsilon=LAYER_NORM_EPSILON
        )
        return OnnxArray(normed[0], x.shape)

    def gelu(self, x, exact=False):
        return OnnxArray(onnx.gelu(x.var, approximate="none" if exact else "tanh"), x.shape)

    def relu(self, x):
        return OnnxArray(onnx.relu(x.var), x.shape)

    def silu(self, x):
        return x * OnnxArray(onnx.sigmoid(x.var), x.shape)

    def attention(self, q, k, v, key_mask=None, drop=None):
        scores = self.matmul(q * q.shape[-1] ** -0.5, self.transpose(k, (0, 1, 3, 2)))
        if key_mask is not None:
            scores = self.where(key_mask[:, None, None, :], scores, MASKED_SCORE)
        weights = OnnxArray(onnx.softmax(scores.var, axis=-1), scores.shape)
        attended = self.matmul(weights, v)
        if key_mask is None:
            return attended
        has_key = self.max(self.cast(key_mask, self.dtype(v)), -1)
        return attended * has_key[:, None, None, None]

    def conv2d(self, x, weight, stride):
        strides = (stride, stride)
        var = onnx.conv(
            onnx.transpose(x.var, perm=[0, 3, 1, 2]),
            onnx.transpose(weight.var, perm=[3, 2, 0, 1]),
            strides=strides,
            auto_pad="SAME_UPPER",
        )
        return self._channels_last(var, x, weight.shape[-1], stride)

    def max_pool2d(self, x, window, stride):
        var, _ = onnx.max_pool(
            onnx.transpose(x.var, perm=[0, 3, 1, 2]),
            kernel_shape=(window, window),
            strides=(stride, stride),
            auto_pad="SAME_UPPER",
        )
        return self._channels_last(var, x, x.shape[-1], stride)

    @staticmethod
    def _channels_last(var, x, channels, stride):
        batch, height, width, _ = x.shape
        sizes = (-(-size // stride) for size in (height, width))
        return OnnxArray(onnx.transpose(var, perm=[0, 2, 3, 1]), (batch, *sizes, channels))

    def loop(self, times, body, carry):
        if times == 1:
            return body(0, carry)
        initial = _flat(carry)

        def step(i, _, *variables):
            arrays = (OnnxArray(v, x.shape) for v, x in zip(variables, initial, strict=True))
            results = _flat(body(OnnxArray(i, ()), _like(carry, arrays)))
            return [onnx.const(True), *(x.var for x in results)]

        results = onnx.loop(_whole(times), v_initial=[x.var for x in initial], body=step)
        pairs = zip(results, initial, strict=True)
        return _like(carry, (OnnxArray(var, x.shape) for var, x in pairs))

    def map_steps(self, function, times, dtype):
        if times == 1:
            return function(0)
        shape: Any = ()

        def step(i, _):
            nonlocal shape
            result = function(OnnxArray(i, ()))
            shape = result.shape
            return [onnx.const(True), result.var]

        (steps,) = onnx.loop(_whole(times), body=step)
        batch, rows, channels = shape
        joined = self.transpose(OnnxArray(steps, (times, *shape)), (1, 0, 2, 3))
        return self.reshape(joined, (batch, times * rows, channels))


register_type(OnnxArray, OnnxOps())


def _whole(numbers: Any) -> Var:
    return onnx.const(np.asarray(numbers, np.int64))


def _as_array(x: Any, dtype: np.dtype) -> OnnxArray:
    if isinstance(x, OnnxArray):
        return x
    x = np.asarray(x, dtype)
    return OnnxArray(onnx.const(x), x.shape)


def _shape_var(sizes: Sequence[Any]) -> Var:
    """Sizes, some of them scalars of the graph, as one vector of the graph."""
    if all(isinstance(size, int) for size in sizes):
        return _whole(sizes)
    scalars = [size.var if isinstance(size, OnnxArray) else _whole(size) for size in sizes]
    return onnx.concat([onnx.reshape(scalar, _whole([1])) for scalar in scalars], axis=0)


def _is(size: Any, number: Any) -> bool:
    return isinstance(size, int) and isinstance(number, int) and size == number


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two shapes are known to be the same."""
    return len(a) == len(b) and all(x is y or _is(x, y) for x, y in zip(a, b, strict=True))


def _broadcast(a: Sequence[Any], b: Sequence[Any]) -> tuple:
    pairs = zip_longest(reversed(a), reversed(b), fillvalue=1)
    sizes = [n if _is(m, 1) or (isinstance(n, int) and n != 1) else m for m, n in pairs]
    return tuple(reversed(sizes))


def _rest(given: Sequence[Any], shape: Sequence[Any]) -> Any:
    """The size that -1 stands for in the new shape; None if it has to be computed."""
    given_open = [size for size in given if not isinstance(size, int)]
    shape_open = [size for size in shape if not isinstance(size, int)]
    left = [size for size in given_open if not any(size is other for other in shape_open)]
    if len(left) > 1 or len(given_open) - len(left) < len(shape_open):
        return None
    known = math.prod(size for size in given if isinstance(size, int))
    factor = known // -math.prod(size for size in shape if isinstance(size, int))
    if not left:
        return factor
    return left[0] if factor == 1 else left[0] * factor


def _flat(carry: Any) -> list[OnnxArray]:
    if isinstance(carry, OnnxArray):
        return [carry]
    return [array for part in carry for array in _flat(part)]


def _like(carry: Any, arrays: Iterator[OnnxArray]) -> Any:
    """Arrays in the structure of ``carry``."""
    if isinstance(carry, OnnxArray):
        return next(arrays)
    return tuple(_like(part, arrays) for part in carry)
