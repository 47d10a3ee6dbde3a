"""Operations that have the same names in NumPy and JAX."""

from __future__ import annotations

from typing import Any, ClassVar

from ivy_models.ops.base import Ops


class NamespaceOps(Ops):
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
