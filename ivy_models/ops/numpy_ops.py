"""NumPy, and the operations that JAX has by the same names."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ivy_models.base.devices import Device, parse_device
from ivy_models.errors import BackendError
from ivy_models.ops import numpy_grid_sums
from ivy_models.ops.base import HALF_TYPES, LAYER_NORM_EPSILON, MASKED_SCORE, Ops, same_padding


class NumpyLikeOps(Ops):
    """Operations of a module of functions with NumPy's names and arguments."""

    xp: ClassVar[Any]
    """The module, such as ``numpy``."""

    def arange(self, size, like):
        return self.xp.arange(size, dtype=float)

    def reshape(self, x, shape):
        return self.xp.reshape(x, shape)

    def transpose(self, x, axes):
        return self.xp.transpose(x, axes)

    def concat(self, arrays, axis):
        return self.xp.concatenate(arrays, axis)

    def broadcast_to(self, x, shape):
        return self.xp.broadcast_to(x, shape)

    def matmul(self, a, b):
        return self.xp.matmul(a, b)

    def exp(self, x):
        return self.xp.exp(x)

    def log(self, x):
        return self.xp.log(x)

    def sin(self, x):
        return self.xp.sin(x)

    def cos(self, x):
        return self.xp.cos(x)

    def tanh(self, x):
        return self.xp.tanh(x)

    def sqrt(self, x):
        return self.xp.sqrt(x)

    def sum(self, x, axis, keepdims=False):
        return self.xp.sum(x, axis, keepdims=keepdims)

    def maximum(self, a, b):
        return self.xp.maximum(a, b)

    def where(self, condition, a, b):
        return self.xp.where(condition, a, b)


class NumpyOps(NumpyLikeOps):
    """NumPy compiles nothing, so the hot operations work in place to save memory traffic."""

    xp = np
    name = "numpy"

    def is_array(self, x):
        return isinstance(x, (np.ndarray, np.generic))

    def more_than_numbers(self, x):
        # Other libraries have masked arrays too, such as astropy's Masked.
        if type(x) is not np.ndarray and np.any(getattr(x, "mask", False)):
            return (
                "is a masked array, whose mask would be lost. Pass x.filled(value), and "
                "mask=~x.mask where the model takes a mask."
            )
        return None

    def asarray(self, x, dtype=None, device=None):
        self.check_device(device)
        if dtype in HALF_TYPES:
            raise BackendError(
                f'The numpy backend computes in "float32" or "float64", got dtype {dtype!r}. '
                "Use another backend for half precision."
            )
        return np.array(x, dtype=dtype)

    def constant(self, x, like):
        return x.astype(like.dtype, copy=False)

    def to_numpy(self, x):
        return np.asarray(x)

    def check_device(self, device):
        if device is not None and parse_device(device) != Device("cpu"):
            raise BackendError(
                f'The numpy backend runs on "cpu" only, got device {device!r}. '
                "Use another backend, or device=None."
            )

    def cast(self, x, dtype):
        return x.astype(dtype, copy=False)

    def take(self, x, indices, axis):
        return np.take(x, indices, axis)

    def look_up(self, table, indices):
        return table[indices]

    def slice(self, x, start, size, axis):
        index = [slice(None)] * x.ndim
        index[axis] = slice(start, start + size)
        return x[tuple(index)]

    def erf(self, x):
        try:
            from scipy.special import erf
        except ImportError:  # forty times slower
            erf = np.frompyfunc(math.erf, 1, 1)
        return np.asarray(erf(x), x.dtype)

    def max(self, x, axis, keepdims=False):
        return np.max(x, axis, keepdims=keepdims)

    def add_into(self, x, y):
        return np.add(x, y, out=_room(x, y))

    def multiply_into(self, x, y):
        return np.multiply(x, y, out=_room(x, y))

    def exp_of_difference(self, x, y):
        difference = np.subtract(x, y, out=_room(x, y))
        return np.exp(difference, out=difference)

    def linear(self, x, weight, bias):
        out = np.matmul(x, weight)
        if bias is not None:
            out += bias
        return out

    def layer_norm(self, x, scale, offset):
        out = x - x.mean(-1, keepdims=True)
        variance = np.einsum("...c,...c->...", out, out)[..., None] / x.shape[-1]
        out /= np.sqrt(variance + LAYER_NORM_EPSILON)
        out *= scale
        out += offset
        return out

    def gelu(self, x, exact=False):
        if exact:
            return super().gelu(x, exact)
        out = x * x
        out *= 0.044715
        out += 1
        out *= x
        out *= np.sqrt(2 / np.pi).item()
        np.tanh(out, out=out)
        out += 1
        out *= x
        out *= 0.5
        return out

    def attention(self, q, k, v, key_mask=None, drop=None):
        if drop is not None:
            return super().attention(q, k, v, key_mask, drop)
        scores = np.matmul(q * q.shape[-1] ** -0.5, np.swapaxes(k, -1, -2))
        hidden = None if key_mask is None else ~key_mask[:, None, None, :]
        if hidden is not None:
            np.copyto(scores, MASKED_SCORE, where=hidden)
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        if hidden is not None:
            np.copyto(scores, 0, where=hidden)
        total = scores.sum(-1, keepdims=True)
        total[total == 0] = 1
        out = np.matmul(scores, v)
        out /= total
        return out

    def has_grid_sums(self, x, *sources):
        return x.shape[-1] <= numpy_grid_sums.MAX_CHANNELS

    def grid_sums(self, x, inverse, query, outer_scores, inner_scores, mask):
        sources = x, inverse, query, outer_scores, inner_scores
        return numpy_grid_sums.grid_sums(*sources, mask, numpy_grid_sums.num_threads())

    def conv2d(self, x, weight, stride):
        height, width, channels, out_channels = weight.shape
        patches = self._windows(x, (height, width), stride, 0.0)
        batch, rows, columns = patches.shape[:3]
        # (B, Y, X, C, y, x) -> (B, Y, X, y, x, C), the order of the weight's axes.
        patches = patches.transpose(0, 1, 2, 4, 5, 3).reshape(batch, rows, columns, -1)
        return patches @ weight.reshape(height * width * channels, out_channels)

    def max_pool2d(self, x, window, stride):
        return self._windows(x, (window, window), stride, -np.inf).max((-1, -2))

    @staticmethod
    def _windows(x, window, stride, fill):
        """(B, Y, X, C) -> views (B, Y', X', C, *window)."""
        padding = [same_padding(s, w, stride) for s, w in zip(x.shape[1:3], window, strict=True)]
        padded = np.pad(x, [(0, 0), *padding, (0, 0)], constant_values=fill)
        views = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(1, 2))
        return views[:, ::stride, ::stride]


def _room(x, y):
    """``x`` if it has the shape and type of the results of ``x`` and ``y``, otherwise None."""
    result = np.broadcast_shapes(x.shape, y.shape), np.result_type(x, y)
    return x if result == (x.shape, x.dtype) else None
