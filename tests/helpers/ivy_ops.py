"""Operations by Ivy's public functions on ``ivy.Array``, in Ivy's current backend.

They are slow (milliseconds per call) but complete: the reference for the native operations.
Nothing that ``Ops`` composes is overridden, so native kernels are tested against the formulas.
"""

from __future__ import annotations

import functools

import numpy as np

from ivy_models.ops import register_type
from ivy_models.ops.base import Ops, same_padding
import ivy


class IvyOps(Ops):
    name = "ivy"

    def is_array(self, x):
        return isinstance(x, ivy.Array)

    def asarray(self, x, dtype=None, device=None):
        return ivy.array(x, dtype=dtype, device=device)

    def constant(self, x, like):
        return ivy.array(x, dtype=like.dtype, device=like.device)

    def to_numpy(self, x):
        return ivy.to_numpy(x)

    def check_device(self, device):
        pass

    def cast(self, x, dtype):
        return ivy.astype(x, dtype)

    def reshape(self, x, shape):
        return ivy.reshape(x, tuple(shape))

    def transpose(self, x, axes):
        return ivy.permute_dims(x, tuple(axes))

    def concat(self, arrays, axis):
        return ivy.concat(list(arrays), axis=axis)

    def broadcast_to(self, x, shape):
        return ivy.broadcast_to(x, tuple(shape))

    def take(self, x, indices, axis):
        return ivy.gather(x, ivy.array(indices.astype(np.int32)), axis=axis)

    def look_up(self, table, indices):
        return ivy.gather(table, indices, axis=0)

    def slice(self, x, start, size, axis):
        index = [slice(None)] * len(x.shape)
        index[axis] = slice(start, start + size)
        return x[tuple(index)]

    def matmul(self, a, b):
        # Broadcast here, because TensorFlow's broadcasting sometimes returns garbage.
        batch = np.broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
        a, b = (self.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b))
        return ivy.matmul(a, b)

    def exp(self, x):
        return ivy.exp(x)

    def log(self, x):
        return ivy.log(x)

    def tanh(self, x):
        return ivy.tanh(x)

    def erf(self, x):
        return ivy.erf(x)

    def sqrt(self, x):
        return ivy.sqrt(x)

    def sum(self, x, axis, keepdims=False):
        return ivy.sum(x, axis=axis, keepdims=keepdims)

    def max(self, x, axis, keepdims=False):
        return ivy.max(x, axis=axis, keepdims=keepdims)

    def maximum(self, a, b):
        return ivy.maximum(a, b)

    def where(self, condition, a, b):
        like = a if isinstance(a, ivy.Array) else b
        a, b = (x if isinstance(x, ivy.Array) else ivy.full_like(like, x) for x in (a, b))
        return ivy.where(condition, a, b)

    def arange(self, size, like):
        return ivy.arange(size, dtype="float64")

    def sin(self, x):
        return ivy.sin(x)

    def cos(self, x):
        return ivy.cos(x)

    def conv2d(self, x, weight, stride):
        places = self._places(x, weight.shape[:2], stride, 0.0)
        return sum(self.matmul(part, weight[i, j]) for (i, j), part in places.items())

    def max_pool2d(self, x, window, stride):
        places = self._places(x, (window, window), stride, float(np.finfo("float32").min))
        return functools.reduce(ivy.maximum, places.values())

    @staticmethod
    def _places(x, window, stride, fill):
        """What each place (i, j) of the window sees of (B, Y, X, C), padded: (B, Y', X', C).

        Ivy's own pad, conv2d and max_pool2d are not the same on all backends.
        """
        for axis, size in zip((1, 2), window, strict=True):
            for after, width in enumerate(same_padding(x.shape[axis], size, stride)):
                shape = [width if i == axis else n for i, n in enumerate(x.shape)]
                edge = ivy.full(tuple(shape), fill, dtype=x.dtype)
                x = ivy.concat([x, edge] if after else [edge, x], axis=axis)
        rows, columns = (n - size + 1 for n, size in zip(x.shape[1:3], window, strict=True))
        return {
            (i, j): x[:, i : i + rows : stride, j : j + columns : stride]
            for i, j in np.ndindex(*window)
        }


register_type(ivy.Array, IvyOps())
