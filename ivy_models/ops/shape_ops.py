"""Arrays that have a shape but no numbers. A model runs on them in milliseconds.

The operations count the FLOPs and the memory of the real ones. So the costs always follow the
code, unlike a formula.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ivy_models.ops import register_type
from ivy_models.ops.base import Ops

BYTES = {"float64": 8, "float32": 4, "int32": 4, "bfloat16": 2, "float16": 2, "bool": 1}
"""Bytes of a number, by its data type."""


class Tally:
    """Counts the costs of operations on shape arrays, by part of the model.

    Attributes
    ----------
    flops : Counter
        Floating-point operations of matrix products and convolutions. A multiply-add counts as
        two.
    peak : Counter
        Largest number of bytes in arrays that are alive at one time, if each operation allocates
        its result and views share memory. Temporary arrays within an operation are not known and
        not counted.
    """

    def __init__(self):
        self.flops: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._part, self._times, self._live = "", 1, 0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the operations in this context for the part."""
        outer, self._part = self._part, name
        yield
        self._part = outer

    @contextmanager
    def repeated(self, times: int) -> Iterator[None]:
        """Count the operations in this context as if they ran that often, one after the other."""
        outer, self._times = self._times, self._times * times
        yield
        self._times = outer

    def restart(self) -> None:
        """Start counting again; arrays that already exist are left out."""
        self.flops.clear()
        self.peak.clear()
        self._live = 0

    def add_products(self, number: int) -> None:
        self.flops[self._part] += 2 * number * self._times

    def allocate(self, num_bytes: int) -> None:
        self._live += num_bytes
        self.peak[self._part] = max(self.peak[self._part], self._live)

    def free(self, num_bytes: int) -> None:
        self._live -= num_bytes


class ShapeArray:
    """A shape and a data type.

    Parameters
    ----------
    shape, dtype
        As those of an array.
    tally
        Where its costs are counted.
    base
        The array whose memory it shares, if it is a view.
    packed
        Whether its numbers are contiguous, so that a reshape is a view.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: str,
        tally: Tally,
        base: ShapeArray | None = None,
        packed: bool = True,
    ):
        self.shape, self.dtype, self.tally = tuple(shape), dtype, tally
        self.base, self.packed = base, packed
        self._bytes = 0 if base is not None else math.prod(shape) * BYTES[dtype]
        tally.allocate(self._bytes)

    def __del__(self):
        self.tally.free(self._bytes)

    def new(self, *shape: int, dtype: str | None = None) -> ShapeArray:
        """Make another array with the same tally."""
        return ShapeArray(shape, dtype or self.dtype, self.tally)

    def view(self, *shape: int, packed: bool = True) -> ShapeArray:
        return ShapeArray(shape, self.dtype, self.tally, self, packed)

    def __getitem__(self, key: Any) -> ShapeArray:
        shape = np.broadcast_to(np.empty(()), self.shape)[key].shape
        return self.view(*shape, packed=self.packed and math.prod(shape) == math.prod(self.shape))

    def _elementwise(self, other: Any) -> ShapeArray:
        return self.new(*np.broadcast_shapes(self.shape, np.shape(other)))

    __add__ = __radd__ = __sub__ = __rsub__ = _elementwise
    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _elementwise


class ShapeOps(Ops):
    """Operations on shapes. They work in place and allocate where NumPy's do."""

    name = "shape"

    def is_array(self, x):
        return isinstance(x, ShapeArray)

    def asarray(self, x, dtype=None, device=None):
        raise TypeError("Make a shape array with ShapeArray(shape, dtype, tally).")

    def to_numpy(self, x):
        raise TypeError("A shape array holds no numbers.")

    def constant(self, x, like):
        return like.new(*x.shape)

    def check_device(self, device):
        pass

    def cast(self, x, dtype):
        return x if x.dtype == dtype else x.new(*x.shape, dtype=dtype)

    # Shapes

    def arange(self, size, like):
        return like.new(size, dtype="float64")

    def reshape(self, x, shape):
        known = math.prod(size for size in shape if size != -1)
        shape = [math.prod(x.shape) // known if size == -1 else size for size in shape]
        return x.view(*shape) if x.packed else x.new(*shape)

    def transpose(self, x, axes):
        return x.view(*(x.shape[axis] for axis in axes), packed=False)

    def concat(self, arrays, axis):
        shape = list(arrays[0].shape)
        shape[axis] = sum(array.shape[axis] for array in arrays)
        return arrays[0].new(*shape)

    def broadcast_to(self, x, shape):
        return x.view(*shape, packed=x.packed and tuple(shape) == x.shape)

    def take(self, x, indices, axis):
        shape = list(x.shape)
        shape[axis] = len(indices)
        return x.new(*shape)

    def look_up(self, table, indices):
        return table.new(*indices.shape, *table.shape[1:])

    def slice(self, x, start, size, axis):
        shape = list(x.shape)
        shape[axis] = size
        return x.view(*shape, packed=x.packed and math.prod(shape[:axis]) == 1)

    # Arithmetic

    def matmul(self, a, b):
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = a.new(*batch, a.shape[-2], b.shape[-1])
        a.tally.add_products(math.prod(out.shape) * a.shape[-1])
        return out

    def exp(self, x):
        return x.new(*x.shape)

    log = sin = cos = tanh = erf = sqrt = exp

    def sum(self, x, axis, keepdims=False):
        shape = list(x.shape)
        shape[axis] = 1
        if not keepdims:
            del shape[axis]
        return x.new(*shape)

    max = sum

    def maximum(self, a, b):
        return a + b

    def where(self, condition, a, b):
        shapes = (np.shape(x) for x in (condition, a, b))
        dtype = a.dtype if self.is_array(a) else b.dtype
        return condition.new(*np.broadcast_shapes(*shapes), dtype=dtype)

    # Layers

    def linear(self, x, weight, bias):
        return self.matmul(x, weight)

    def layer_norm(self, x, scale, offset):
        return x.new(*x.shape)

    def rms_norm(self, x, scale, epsilon):
        return x.new(*x.shape)

    def gelu(self, x, exact=False):
        return x.new(*x.shape)

    relu = silu = gelu

    def attention(self, q, k, v, key_mask=None, drop=None):
        scores = self.matmul(q * 1.0, self.transpose(k, (0, 1, 3, 2)))
        return self.matmul(scores, v)

    def conv2d(self, x, weight, stride):
        out = self.max_pool2d(x, 0, stride)
        out = x.new(*out.shape[:-1], weight.shape[-1])
        x.tally.add_products(math.prod(out.shape) * math.prod(weight.shape[:-1]))
        return out

    def max_pool2d(self, x, window, stride):
        batch, height, width, channels = x.shape
        return x.new(batch, -(-height // stride), -(-width // stride), channels)

    # Control flow: the body runs once, and a second time that counts for all further steps,
    # because arrays of the first step are then still alive.

    def loop(self, times, body, carry):
        carry = body(0, carry) if times else carry
        if times > 1:
            with _first(carry).tally.repeated(times - 1):
                carry = body(1, carry)
        return carry

    def map_steps(self, function, times, dtype):
        first = function(0)
        batch, rows, channels = first.shape
        joined = first.new(batch, times * rows, channels, dtype=dtype)
        if times > 1:
            with first.tally.repeated(times - 1):
                function(1)
        return joined


def _first(carry: Any) -> ShapeArray:
    """The first array of a (nested) tuple."""
    return _first(carry[0]) if isinstance(carry, tuple) else carry


register_type(ShapeArray, ShapeOps())
