"""The interface of a framework's operations.

The core of every model is written once against this interface, as functions of native arrays.
Elementwise arithmetic (``+ - * /``) is the arrays' own.

Shapes use one set of letters: B batch, M inputs, N latents (or queries), C channels,
H heads, K channels of one head.
"""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ivy_models.errors import BackendError

Array = Any
"""A native array of the framework at hand."""

MASKED_SCORE = -1e30
"""Score of a masked key: finite, so that a fully masked row gives no NaN."""

LAYER_NORM_EPSILON = 1e-5

SCORES_ON_CPUS = 2**20
"""Scores of a chunk: 4 MB in float32, which fit the caches of current CPUs."""

SCORES_ON_ACCELERATORS = 2**24
"""Scores of a chunk: an operation on 64 MB takes several times as long as its launch on a GPU."""

HALF_TYPES = ("bfloat16", "float16")
"""Data types for which layer norm and attention are computed in float32."""


def is_known(*sizes: Any) -> bool:
    """Whether all sizes are numbers; a program that is being traced may leave some open."""
    return all(isinstance(size, int) for size in sizes)


def is_shape(shape: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Whether shapes are the same, as far as their sizes are known in a traced program."""
    known = [
        (a, b) for a, b in zip(shape, expected, strict=False) if type(a) is int and type(b) is int
    ]
    return len(shape) == len(expected) and all(a == b for a, b in known)


class Ops(ABC):
    """One framework's implementation. It is stateless, with one instance per framework.

    A new backend implements the abstract methods and overrides the composed ones
    (``layer_norm``, ``gelu``, ``attention``) where the framework has a faster kernel.
    """

    name: str
    """The name that ``ivy.set_backend`` knows the framework by."""

    traces_loops = False
    """Whether :meth:`loop` is compiled as a loop, so that compile time does not grow with the
    model's depth or its input. If so, models are compiled by default."""

    open_size_errors: tuple[type[Exception], ...] = ()
    """Raised where a computation depends on a size that the program leaves open."""

    def is_traced(self, x: Array) -> bool:
        """Whether ``x`` is traced: a placeholder in a program that the caller is compiling."""
        return False

    def lacks_numbers(self, x: Array) -> bool:
        """Whether ``x`` is a shape and a type alone, outside any program."""
        return False

    def waits_for(self, x: Array) -> bool:
        """Whether reading the numbers of ``x`` would wait for a device that works on its own.

        False if ``x`` is traced.
        """
        return False

    # Arrays in and out

    @abstractmethod
    def is_array(self, x: Any) -> bool:
        """Whether ``x`` is a native array of this framework."""

    def more_than_numbers(self, x: Array) -> str | None:
        """Why ``x`` is not just dense real numbers: the rest of a sentence that begins with its
        name. None if it is."""
        return None

    @abstractmethod
    def asarray(self, x: np.ndarray, dtype: str | None = None, device: str | None = None) -> Array:
        """Copy a NumPy array to a native array on ``device`` (None: the framework's default)."""

    def matrix(self, x: np.ndarray, dtype: str | None, device: str | None) -> Array:
        """Copy the weight (C_in, C_out) of :meth:`linear`, in the fastest memory layout."""
        return self.asarray(x, dtype, device)

    @abstractmethod
    def constant(self, x: np.ndarray, like: Array) -> Array:
        """``x`` with the data type and device of ``like``; may be traced into a program.

        A backend may keep the copy of an array that is ``read_only`` for later calls.
        """

    def full(self, shape: Sequence[int], value: float, like: Array) -> Array:
        """An array of one number, with the data type and device of ``like``."""
        return self.constant(np.full(shape, value, np.float32), like)

    def is_float(self, x: Array) -> bool:
        """Whether ``x`` holds floating point numbers."""
        return "float" in self.dtype(x)

    def move(self, x: Array, like: Array) -> Array:
        """``x`` on the device of ``like``."""
        return x

    def on_device_of(self, like: Array) -> contextlib.AbstractContextManager[Any]:
        """Context in which all operations run on the device of ``like``.

        The default does nothing: most frameworks compute where the arguments are.
        """
        return contextlib.nullcontext()

    def as_written(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose Python code a compiler that calls it does not translate."""
        return function

    def match(self, x: Array, like: Array) -> Array:
        """``x`` with the data type and device of ``like``."""
        return self.move(self.cast(x, self.dtype(like)), like)

    def detach(self, x: Array) -> Array:
        """``x`` without gradients through it."""
        return x

    @abstractmethod
    def to_numpy(self, x: Array) -> np.ndarray:
        """Copy a native array to a NumPy array; refuse one that requires a gradient."""

    @abstractmethod
    def check_device(self, device: str | None) -> None:
        """Raise BackendError if ``device`` ("cpu", "cuda", "cuda:0", "gpu:0") does not exist."""

    def dtype(self, x: Array) -> str:
        """Name of the data type, such as ``"float32"``."""
        return str(x.dtype)

    @abstractmethod
    def cast(self, x: Array, dtype: str) -> Array:
        """Convert to the data type of that name; return ``x`` if it already has it."""

    def widen(self, x: Array) -> Array:
        """``x`` in float32 if it has half precision, otherwise unchanged."""
        return self.cast(x, "float32") if self.dtype(x) in HALF_TYPES else x

    # Shapes

    def shape(self, x: Array) -> tuple[Any, ...]:
        """Size of each axis: an integer, or a traced scalar if the program leaves it open."""
        return tuple(x.shape)

    def known_shape(self, x: Array, channels: int | None = None) -> tuple[int | None, ...]:
        """Size of each axis, None where a traced program leaves it open.

        An open last axis becomes ``channels`` if the program can be made for that size alone.
        """
        sizes = tuple(x.shape)
        if sizes and channels is not None and sizes[-1] == channels:
            sizes = (*sizes[:-1], channels)
        return tuple(size if is_known(size) else None for size in sizes)

    @abstractmethod
    def arange(self, size: Any, like: Array) -> Array:
        """Whole numbers 0 .. size - 1 as floats on the device of ``like``.

        They are float64 where the framework has it. A traced program may leave ``size`` open.
        """

    @abstractmethod
    def reshape(self, x: Array, shape: Sequence[int]) -> Array: ...

    @abstractmethod
    def transpose(self, x: Array, axes: Sequence[int]) -> Array: ...

    @abstractmethod
    def concat(self, arrays: Sequence[Array], axis: int) -> Array: ...

    @abstractmethod
    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array: ...

    @abstractmethod
    def take(self, x: Array, indices: np.ndarray, axis: int) -> Array:
        """Select constant ``indices`` along ``axis``; kept like a :meth:`constant`."""

    @abstractmethod
    def look_up(self, table: Array, indices: Array) -> Array:
        """Rows of a table: (V, K) at whole numbers (...) -> (..., K)."""

    @abstractmethod
    def slice(self, x: Array, start: Any, size: int, axis: int) -> Array:
        """``size`` elements from ``start`` (which may be a traced integer) along ``axis``."""

    # Arithmetic

    @abstractmethod
    def matmul(self, a: Array, b: Array) -> Array: ...

    @abstractmethod
    def exp(self, x: Array) -> Array: ...

    @abstractmethod
    def log(self, x: Array) -> Array: ...

    @abstractmethod
    def sin(self, x: Array) -> Array: ...

    @abstractmethod
    def cos(self, x: Array) -> Array: ...

    def waves(self, positions: Array, frequencies: np.ndarray) -> tuple[Array, Array]:
        """Sines and cosines of positions (..., A) times the frequencies (A, n) of their axis.

        Returns
        -------
        tuple of Array
            Both (..., A * n).
        """
        angles = positions[..., None] * self.constant(frequencies, like=positions)
        angles = self.reshape(angles, (*self.shape(positions)[:-1], frequencies.size))
        return self.sin(angles), self.cos(angles)

    @abstractmethod
    def tanh(self, x: Array) -> Array: ...

    @abstractmethod
    def erf(self, x: Array) -> Array: ...

    @abstractmethod
    def sqrt(self, x: Array) -> Array: ...

    @abstractmethod
    def sum(self, x: Array, axis: int, keepdims: bool = False) -> Array: ...

    @abstractmethod
    def max(self, x: Array, axis: int, keepdims: bool = False) -> Array:
        """Largest value, for softmax shifts only: gradient and NaN behaviour are undefined."""

    @abstractmethod
    def maximum(self, a: Array, b: Array | float) -> Array: ...

    @abstractmethod
    def where(self, condition: Array, a: Array | float, b: Array | float) -> Array: ...

    def mean(self, x: Array, axis: int, keepdims: bool = False) -> Array:
        return self.sum(x, axis, keepdims) / x.shape[axis]

    # Arithmetic in the memory of ``x``, which nothing else reads, where the framework can

    def add_into(self, x: Array, y: Array) -> Array:
        """``x + y``."""
        return x + y

    def multiply_into(self, x: Array, y: Array) -> Array:
        """``x * y``."""
        return x * y

    def exp_of_difference(self, x: Array, y: Array) -> Array:
        """``exp(x - y)``."""
        return self.exp(x - y)

    # Layers

    def pick(self, x: Array, indices: Array) -> Array:
        """One number of each row: (..., V) at whole numbers (...) -> (...)."""
        one_hot = self.constant(np.eye(x.shape[-1], dtype=np.float32), like=x)
        return self.sum(x * self.look_up(one_hot, indices), -1)

    def linear(self, x: Array, weight: Array, bias: Array | None) -> Array:
        """``x @ weight + bias``: (..., C_in), (C_in, C_out), (C_out,) -> (..., C_out)."""
        product = self.matmul(x, weight)
        return product if bias is None else product + bias

    def layer_norm(self, x: Array, scale: Array, offset: Array) -> Array:
        """Normalise the last axis to mean 0 and variance 1 (epsilon 1e-5), then scale and shift."""
        wide = self.widen(x)
        centred = wide - self.mean(wide, -1, keepdims=True)
        variance = self.mean(centred * centred, -1, keepdims=True)
        normed = centred / self.sqrt(variance + LAYER_NORM_EPSILON)
        normed = normed * self.widen(scale) + self.widen(offset)
        return self.cast(normed, self.dtype(x))

    def rms_norm(self, x: Array, scale: Array, epsilon: float) -> Array:
        """Divide by the root of the last axis' mean square plus epsilon, then scale."""
        wide = self.widen(x)
        normed = wide / self.sqrt(self.mean(wide * wide, -1, keepdims=True) + epsilon)
        return self.cast(normed * self.widen(scale), self.dtype(x))

    def gelu(self, x: Array, exact: bool = False) -> Array:
        """Gaussian error linear unit (arXiv 1606.08415, section 2), by tanh, or exact by erf."""
        wide = self.widen(x)
        if exact:
            return self.cast(0.5 * wide * (1 + self.erf(wide * 0.5**0.5)), self.dtype(x))
        inner = np.sqrt(2 / np.pi).item() * (wide + 0.044715 * (wide * wide * wide))
        return self.cast(0.5 * wide * (1 + self.tanh(inner)), self.dtype(x))

    def relu(self, x: Array) -> Array:
        """0 where ``x`` is at most 0, otherwise ``x``."""
        return self.where(x <= 0, 0.0, x)

    def silu(self, x: Array) -> Array:
        """Sigmoid linear unit (arXiv 1606.08415, section 4): ``x`` times its sigmoid."""
        wide = self.widen(x)
        shrunk = self.exp(0.0 - self.maximum(wide, 0.0 - wide))  # at most 1, so it never overflows
        sigmoid = self.where(wide < 0, shrunk, 1.0) / (1 + shrunk)
        return self.cast(wide * sigmoid, self.dtype(x))

    def attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        key_mask: Array | None = None,
        drop: Callable[[Array], Array] | None = None,
    ) -> Array:
        """Scaled dot-product attention (arXiv 1706.03762, section 3.2.1).

        Parameters
        ----------
        q, k, v
            Queries (B, H, N, K), keys (B, H, M, K) and values (B, H, M, K').
        key_mask
            Booleans (B, M), True for keys to attend to. A query without such a key gets zeros.
        drop
            Changes the attention weights (B, H, N, M) before they are divided by their sum, as
            dropout does.

        Returns
        -------
        Array
            (B, H, N, K').
        """
        dtype = self.dtype(q)
        q, k, v = self.widen(q), self.widen(k), self.widen(v)
        scores = self.matmul(q * q.shape[-1] ** -0.5, self.transpose(k, (0, 1, 3, 2)))
        if key_mask is not None:
            key_mask = key_mask[:, None, None, :]
            scores = self.where(key_mask, scores, MASKED_SCORE)
        weights = self.exp_of_difference(scores, self.max(scores, -1, keepdims=True))
        if key_mask is not None:
            weights = self.where(key_mask, weights, 0.0)
        total = self.sum(weights, -1, keepdims=True)
        if key_mask is not None:
            total = self.where(total > 0, total, 1.0)
        if drop is not None:
            weights = drop(weights)
        return self.cast(self.matmul(weights, v) / total, dtype)

    def _attention_by(
        self,
        softmax: Callable[[Array], Array],
        scores: Array,
        v: Array,
        key_mask: Array | None,
    ) -> Array:
        """The same from scores (B, H, N, M) by a framework's softmax over their last axis."""
        if key_mask is None:
            return self.matmul(softmax(scores), v)
        keys = key_mask[:, None, None, :]
        weights = softmax(self.where(keys, scores, MASKED_SCORE))
        return self.matmul(self.where(keys, weights, 0.0), v)

    def has_grid_sums(self, x: Array, *sources: Array) -> bool:
        """Whether :meth:`grid_sums` takes ``x`` (B, M, K), and others made of ``sources``."""
        return False

    def grid_sums(
        self,
        x: Array,
        inverse: Array,
        query: Array,
        outer_scores: Array,
        inner_scores: Array,
        mask: Array | None,
    ) -> tuple[Array, ...]:
        """The reader's sums over a grid by a kernel that keeps its scores in registers or caches.

        A framework without such a kernel computes them in chunks.

        Parameters
        ----------
        x
            (B, M, K), the own channels of the inputs, M = outer * inner.
        inverse
            1 / sigma of the inputs, (B, outer, inner).
        query, outer_scores, inner_scores
            (B, R, K), (B, R, outer) and (B, R, inner), or with 1 in place of B. The score of an
            input is the product of query and x, plus the scores of its outer and its inner index,
            times inverse.
        mask
            Booleans (B, M), True for inputs that take part; others have ``MASKED_SCORE``.

        Returns
        -------
        tuple
            A score near the highest, and the sum of the weights, exp(score - that), (B, R); the
            sums of weights * inverse times x, (B, R, K), over inner, (B, R, outer), and over
            outer, (B, R, inner).
        """
        raise NotImplementedError

    # Randomness. The caller passes the key of each draw.

    def fold_in(self, key: Any, number: Any) -> Any:
        """Derive the key of one of several draws; ``number`` may be a traced integer."""
        raise BackendError(f"The {self.name} backend cannot train, so it has no dropout.")

    def dropout(self, x: Array, rate: float, key: Any) -> Array:
        """Set a share ``rate`` of ``x`` to zero, and divide the rest by 1 - ``rate``."""
        raise BackendError(f"The {self.name} backend cannot train, so it has no dropout.")

    @abstractmethod
    def conv2d(self, x: Array, weight: Array, stride: int) -> Array:
        """Convolve (B, Y, X, C_in) with (Y, X, C_in, C_out), padding "SAME" as TensorFlow does."""

    @abstractmethod
    def max_pool2d(self, x: Array, window: int, stride: int) -> Array:
        """Largest value of each window of (B, Y, X, C), padding "SAME" as TensorFlow does."""

    # Control flow

    def scores_per_chunk(self, like: Array) -> int:
        """Scores of cross-attention that one chunk holds, on the device of ``like``."""
        return SCORES_ON_CPUS if self.is_on_cpu(like) else SCORES_ON_ACCELERATORS

    def is_on_cpu(self, like: Array) -> bool:
        """Whether operations on ``like`` run on a CPU, as far as a traced array shows.

        The default is true, which also gives the fastest chunks in engines that run on CPUs.
        """
        return True

    def loop(self, times: int, body: Callable[[Any, Any], Any], carry: Any) -> Any:
        """``carry = body(i, carry)`` for i in 0 .. times - 1. Compilers trace the body once.

        ``carry`` is an array or a (nested) tuple of arrays whose shapes stay the same.
        """
        for i in range(times):
            carry = body(i, carry)
        return carry

    def map_chunks(
        self, function: Callable[..., Array], arrays: Sequence[Array], size: int, dtype: str
    ) -> Array:
        """Apply a function to chunks of arrays along axis 1, and join its results.

        (B, S, ...), (B, S, ...) -> (B', S, K') becomes (B, M, ...), (B, M, ...) -> (B', M, K').
        Chunks have ``size`` rows, the last one the rest. Results are of the type ``dtype``.
        """
        times, rest = divmod(arrays[0].shape[1], size)
        if times + (rest > 0) == 1:
            return function(*arrays)
        outputs = self.map_steps(
            lambda i: function(*(self.slice(x, i * size, size, 1) for x in arrays)),
            times,
            dtype,
        )
        if not rest:
            return outputs
        last = function(*(self.slice(x, times * size, rest, 1) for x in arrays))
        return self.concat([outputs, last], 1)

    def map_steps(self, function: Callable[[Any], Array], times: int, dtype: str) -> Array:
        """Join ``function(i)``, (B, S, K) of ``dtype``, for i in 0 .. times - 1 along axis 1."""
        return self.concat([function(i) for i in range(times)], 1)

    def rematerialise(self, function: Callable) -> Callable:
        """Recompute intermediate results in the backward pass instead of storing them."""
        return function

    def rematerialise_chunks(self, function: Callable) -> Callable:
        """Do the same for a function that is called chunk by chunk, if the framework can.

        The function may close over arrays.
        """
        return self.rematerialise(function)

    def keep_products(self, function: Callable) -> Callable:
        """Store only products with weights for the backward pass, if recomputing the rest is cheap.

        The default stores what the framework stores. The function's last argument is an array.
        """
        return function

    def compile(self, function: Callable) -> Callable:
        """Compile a function of nested dicts of native arrays. The default returns it unchanged."""
        return function


def read_only(x: np.ndarray) -> np.ndarray:
    """Make ``x`` read-only and return it, because calls share it."""
    x.setflags(write=False)
    return x


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of ``size`` so that ceil(size / stride) windows fit."""
    # ONNX rounds negative quotients up, so the dividend must not be negative.
    total = (size - 1) // stride * stride + window - size
    if window < stride:  # only then can it be negative; an open size cannot be compared
        total = max(total, 0)
    return total // 2, total - total // 2


def broadcast_batch(a: tuple, b: tuple) -> list:
    """The shape that two shapes broadcast to. Sizes may be traced scalars."""
    pairs = itertools.zip_longest(reversed(a), reversed(b), fillvalue=1)
    return [y if isinstance(x, int) and x == 1 else x for x, y in pairs][::-1]
