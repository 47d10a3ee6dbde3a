"""Operations by Ivy's public functions on ``ivy.Array``, in Ivy's current backend.

They are slow (milliseconds per call) but complete: the reference for the native operations.
Nothing that ``Ops`` composes is overridden, so native kernels are tested against the formulas.
"""

from __future__ import annotations

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
        # Pad here, because Ivy's backends differ in the meaning of "SAME".
        x = self._pad(x, weight.shape[:2], stride, 0.0)
        return ivy.conv2d(x, weight, stride, "VALID")

    def max_pool2d(self, x, window, stride):
        x = self._pad(x, (window, window), stride, float(np.finfo("float32").min))
        return ivy.max_pool2d(x, window, stride, "VALID")

    @staticmethod
    def _pad(x, window, stride, fill):
        sizes = zip(x.shape[1:3], window, strict=True)
        padding = [same_padding(size, w, stride) for size, w in sizes]
        return ivy.constant_pad(x, [(0, 0), *padding, (0, 0)], value=fill)


register_type(ivy.Array, IvyOps())
