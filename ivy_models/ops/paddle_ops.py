"""Paddle: eager kernels, or a program where the caller makes one by paddle.jit.to_static."""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle.nn.functional as F
from paddle.base.dygraph.base import in_to_static_mode
from paddle.distributed.fleet.utils import recompute

from ivy_models.base.devices import Device, parse_device
from ivy_models.base.paddle_import import use_avx2_on_amd
from ivy_models.errors import BackendError, InputError
from ivy_models.ops.base import (
    HALF_TYPES,
    LAYER_NORM_EPSILON,
    Ops,
    broadcast_batch,
    same_padding,
)
from ivy_models.ops.numpy_ops import NumpyOps

use_avx2_on_amd()  # where Paddle was imported before this library
paddle: Any = importlib.import_module("paddle")  # its annotations lack public names

_NUMPY = NumpyOps()


class PaddleOps(Ops):
    name = "paddle"

    def is_array(self, x):
        return isinstance(x, (paddle.Tensor, paddle.pir.Value))

    def is_traced(self, x):
        return not paddle.in_dynamic_mode()

    def more_than_numbers(self, x):
        _check_mode()
        if isinstance(x, paddle.Tensor) and x.is_sparse():
            return "is a sparse paddle tensor. Pass x.to_dense()."
        return None

    def asarray(self, x, dtype=None, device=None):
        place = _place(device)
        on_cpu = place.is_cpu_place() if place else "cpu" in paddle.get_device()
        if dtype in HALF_TYPES and on_cpu:
            raise BackendError(
                f'On a CPU Paddle computes in "float32" or "float64", got dtype {dtype!r}. '
                "Use a GPU, or another backend for half precision."
            )
        if x.dtype.kind == "u" and x.dtype.itemsize > 1:  # Paddle reads uint16 as bfloat16
            x = x.astype(np.int64)
        return _tensor(x, dtype, place)

    def constant(self, x, like):
        return self.match(_tensor(x), like)

    def move(self, x, like):
        if self.is_traced(x) or x.place == like.place:
            return x
        return x.to(like.place)

    def detach(self, x):
        return x.detach()

    def to_numpy(self, x):
        _check_mode()
        if not paddle.in_dynamic_mode():
            raise InputError(
                "A paddle tensor inside paddle.jit.to_static cannot leave paddle. "
                "Set the paddle backend before the program calls the model."
            )
        if not x.stop_gradient:
            raise InputError(
                "A paddle tensor that requires gradients cannot leave paddle without losing them. "
                "Set the paddle backend, or pass tensor.detach()."
            )
        return self.widen(x).numpy()  # NumPy has no bfloat16

    def check_device(self, device):
        _place(device)

    def dtype(self, x):
        return str(x.dtype).removeprefix("paddle.")

    def cast(self, x, dtype):
        return x if self.dtype(x) == dtype else paddle.cast(x, dtype)

    def shape(self, x):
        sizes = tuple(x.shape)
        return tuple(paddle.shape(x)[i] if size == -1 else size for i, size in enumerate(sizes))

    def known_shape(self, x, channels=None):
        return tuple(None if size == -1 else size for size in x.shape)

    def arange(self, size, like):
        return self.move(paddle.arange(size, dtype="float64"), like)

    def reshape(self, x, shape):
        return paddle.reshape(x, list(shape))

    def transpose(self, x, axes):
        return paddle.transpose(x, list(axes))

    def concat(self, arrays, axis):
        return paddle.concat(list(arrays), axis)

    def broadcast_to(self, x, shape):
        return paddle.expand(x, list(shape))

    def take(self, x, indices, axis):
        return paddle.index_select(x, self.move(_tensor(indices), x), axis)

    def look_up(self, table, indices):
        return F.embedding(self.cast(indices, "int64"), table)

    def slice(self, x, start, size, axis):
        return paddle.slice(x, [axis], [start], [start + size])

    def matmul(self, a, b):
        # The gradient of paddle.matmul fails for some broadcast batches, such as
        # (3, 1, 6, 25) @ (1, 25, 25), so batches are broadcast here first.
        a_batch, b_batch = tuple(a.shape[:-2]), tuple(b.shape[:-2])
        if a_batch == b_batch or not b_batch:
            return paddle.matmul(a, b)
        if all(size == 1 for size in b_batch) and len(b_batch) <= len(a_batch):
            return paddle.matmul(a, paddle.reshape(b, b.shape[-2:]))
        batch = broadcast_batch(self.shape(a)[:-2], self.shape(b)[:-2])
        a, b = (paddle.expand(x, [*batch, *self.shape(x)[-2:]]) for x in (a, b))
        return paddle.matmul(a, b)

    def exp(self, x):
        return paddle.exp(x)

    def log(self, x):
        return paddle.log(x)

    def sin(self, x):
        return paddle.sin(x)

    def cos(self, x):
        return paddle.cos(x)

    def tanh(self, x):
        return paddle.tanh(x)

    def erf(self, x):
        return paddle.erf(x)

    def sqrt(self, x):
        return paddle.sqrt(x)

    def sum(self, x, axis, keepdims=False):
        axis = axis % len(x.shape) - len(x.shape)
        is_matrix = len(x.shape) > 1 and axis >= -2 and self.is_float(x)
        if not is_matrix or self.is_traced(x) or not x.place.is_cpu_place():
            return paddle.sum(x, axis, keepdim=keepdims)
        # On a CPU, a product with ones takes less than half the time, and along rows a tenth.
        if axis == -1:
            out = paddle.matmul(x, paddle.ones([x.shape[-1], 1], x.dtype))
        else:
            out = paddle.matmul(paddle.ones([*x.shape[:-2], 1, x.shape[-2]], x.dtype), x)
        return out if keepdims else paddle.squeeze(out, axis)

    def max(self, x, axis, keepdims=False):
        x = x.detach()
        if _takes_numpy(x):  # which needs less than half the time
            return _by_numpy(functools.partial(_NUMPY.max, axis=axis, keepdims=keepdims), x)
        return paddle.max(x, axis, keepdim=keepdims)

    def maximum(self, a, b):
        return paddle.clip(a, min=b) if isinstance(b, (int, float)) else paddle.maximum(a, b)

    def where(self, condition, a, b):
        # Paddle takes numbers as float32.
        like: Any = b if isinstance(a, (int, float)) else a
        a, b = (
            paddle.full([], x, like.dtype) if isinstance(x, (int, float)) else x for x in (a, b)
        )
        return paddle.where(condition, a, b)

    # On a CPU, NumPy computes these in the memory of Paddle's arrays in half of Paddle's time.

    def add_into(self, x, y):
        if _takes_numpy(x, y):
            return _by_numpy(_NUMPY.add_into, x, y)
        return operator.add(*_spread(x, y))

    def multiply_into(self, x, y):
        if _takes_numpy(x, y):
            return _by_numpy(_NUMPY.multiply_into, x, y)
        return operator.mul(*_spread(x, y))

    def exp_of_difference(self, x, y):
        if _takes_numpy(x, y):
            return _by_numpy(_NUMPY.exp_of_difference, x, y)
        return paddle.exp(operator.sub(*_spread(x, y)))

    def has_grid_sums(self, x, *sources):
        return _takes_numpy(x, *sources) and _NUMPY.has_grid_sums(x)

    def grid_sums(self, x, inverse, query, outer_scores, inner_scores, mask):
        sources = x, inverse, query, outer_scores, inner_scores
        views = [None if array is None else _view(array) for array in (*sources, mask)]
        with np.errstate(all="ignore"):
            return tuple(map(_tensor, _NUMPY.grid_sums(*views)))

    def linear(self, x, weight, bias):
        return F.linear(x, weight, bias)

    def layer_norm(self, x, scale, offset):
        if x.dtype == paddle.float64:  # Paddle's own rounds epsilon to float32
            return super().layer_norm(x, scale, offset)
        return F.layer_norm(x, x.shape[-1:], scale, offset, LAYER_NORM_EPSILON)

    def gelu(self, x, exact=False):
        return F.gelu(x, approximate=not exact)

    def attention(self, q, k, v, key_mask=None, drop=None):
        if drop is not None or self.dtype(q) in HALF_TYPES:
            return super().attention(q, k, v, key_mask, drop)
        scores = paddle.matmul(q * q.shape[-1] ** -0.5, k, transpose_y=True)
        return self._attention_by(F.softmax, scores, v, key_mask)

    def fold_in(self, key, number):
        return key

    def dropout(self, x, rate, key):
        # Paddle's own generator (paddle.seed). The key is only a flag here: dropout is on.
        return F.dropout(x, rate)

    def rematerialise(self, function):
        if not (paddle.in_dynamic_mode() and paddle.is_grad_enabled()):
            return function
        # Whether the function needs gradients depends on arrays that it closes over. Paddle looks
        # at the arguments alone, and warns at each call if none needs one.
        needs_gradient = paddle.zeros([])
        needs_gradient.stop_gradient = False

        def call(_, *arguments):
            return function(*arguments)

        return functools.partial(recompute, call, needs_gradient, use_reentrant=False)

    def is_on_cpu(self, like):
        return "cpu" in paddle.get_device() if self.is_traced(like) else like.place.is_cpu_place()

    def conv2d(self, x, weight, stride):
        x = self._padded(x, weight.shape[:2], stride, 0.0)
        out = F.conv2d(x, paddle.transpose(weight, [3, 2, 0, 1]), stride=stride)
        return paddle.transpose(out, [0, 2, 3, 1])

    def max_pool2d(self, x, window, stride):
        x = self._padded(x, (window, window), stride, -float("inf"))
        return paddle.transpose(F.max_pool2d(x, window, stride), [0, 2, 3, 1])

    @staticmethod
    def _padded(x, window, stride, value):
        """(B, Y, X, C) -> (B, C, Y', X'), padded."""
        sizes = zip(x.shape[1:3], window, strict=True)
        rows, columns = (same_padding(size, w, stride) for size, w in sizes)
        return F.pad(paddle.transpose(x, [0, 3, 1, 2]), [*columns, *rows], value=value)


def _tensor(x: np.ndarray, dtype: str | None = None, place: Any = None) -> Any:
    """Copy a NumPy array. Paddle 3.3 never frees the argument names of paddle.to_tensor's calls."""
    _check_mode()
    if not paddle.in_dynamic_mode() or not x.size:
        return paddle.to_tensor(x, dtype, place)
    with paddle.no_grad():
        copy = paddle.empty(x.shape, x.dtype.name, device=place)
        copy.set_value(np.asarray(x, order="C"))
        return copy if dtype is None else paddle.cast(copy, dtype)


def _takes_numpy(*arrays: Any) -> bool:
    """Whether NumPy can compute on the memory of arrays: on a CPU, if no gradient needs them."""
    return paddle.in_dynamic_mode() and all(
        x.place.is_cpu_place()
        and x.dtype in (paddle.float32, paddle.float64)
        and (x.stop_gradient or not paddle.is_grad_enabled())
        for x in arrays
    )


def _view(x: Any) -> np.ndarray:
    return np.from_dlpack(x.detach())


@np.errstate(all="ignore")
def _by_numpy(function: Callable[..., np.ndarray], *arrays: Any) -> Any:
    """Apply a function of NumPy, which may write its results into the first array."""
    views = list(map(_view, arrays))
    out = function(*views)
    return arrays[0] if out is views[0] else _tensor(out)


def _spread(*arrays: Any) -> list[Any]:
    """Broadcast arrays with each other where Paddle's arithmetic would be slow at it.

    On a CPU, arithmetic that repeats rows takes some ten times as long as one that does not. An
    array of lower rank, or with axes of size 1 at the end, is fast.
    """
    if not (paddle.in_dynamic_mode() and arrays[0].place.is_cpu_place()):
        return list(arrays)
    shape = np.broadcast_shapes(*(tuple(x.shape) for x in arrays))

    def is_fast(x):
        repeated = [a != b for a, b in zip(x.shape, shape, strict=False)]
        return len(x.shape) < len(shape) or repeated == sorted(repeated)

    return [x if is_fast(x) else paddle.expand(x, list(shape)) for x in arrays]


def _check_mode() -> None:
    """Refuse Paddle's static mode, which ends the process where it meets the model's weights."""
    if not (paddle.in_dynamic_mode() or in_to_static_mode()):
        raise BackendError(
            "Paddle is in static mode (paddle.enable_static()), which cannot take the weights of a "
            "model. Call paddle.disable_static(), or make the program by paddle.jit.to_static."
        )


def _place(device: str | None) -> Any:
    if device is None:
        return None
    parsed = parse_device(device)
    if parsed == Device("cpu"):
        return paddle.CPUPlace()
    kind = "gpu" if parsed.kind == "cuda" else parsed.kind
    here = {"gpu": paddle.device.cuda.device_count, "xpu": paddle.device.xpu.device_count}
    count = here[kind]() if kind in here else 0
    if (parsed.index or 0) >= count:
        raise BackendError(
            f"Device {device!r} was asked for, but paddle finds {count} of this kind here. "
            'Use device="cpu", or install paddle for the device.'
        )
    place = paddle.CUDAPlace if kind == "gpu" else paddle.XPUPlace
    return place(parsed.index or 0)
