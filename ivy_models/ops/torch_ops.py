"""PyTorch: eager kernels, or compiled by torch.compile."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import (
    _disable_current_modes,
    _get_current_dispatch_mode,
    is_traceable_wrapper_subclass,
)
from torch.utils.checkpoint import checkpoint

from ivy_models.base.devices import parse_device
from ivy_models.errors import BackendError, InputError
from ivy_models.ops import numpy_grid_sums
from ivy_models.ops.base import LAYER_NORM_EPSILON, Ops, same_padding
from ivy_models.ops.torch_attention import twice_differentiable
from ivy_models.ops.torch_constants import constant
from ivy_models.ops.torch_linear import (
    autocasts,
    is_tracing,
    is_transformed,
    linear,
    makes_program,
    needs_gradient,
    recomputable,
    takes_hooks,
)

if hasattr(os, "register_at_fork"):
    # A forked process lacks the threads of its parent, for which torch would wait forever.
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))

FUSED_READER = "IVY_MODELS_FUSED_READER"
"""Environment variable: 0 reads grids on NVIDIA's GPUs in chunks, not by a Triton kernel."""

HEAD_UNIT = 8
"""CUDA's fused attention takes heads of a multiple of 8 channels, in float32 of 4. Without it the
matrix of scores is in memory."""

_OF_NUMPY = (torch.float16, torch.float32, torch.float64)


def _check_numbers(x: torch.Tensor, like: torch.Tensor) -> None:
    """Refuse data without numbers for weights that have them."""
    if x.device.type == "meta" and like.device.type != "meta":
        raise InputError(
            "An array on torch's device meta has a shape but no numbers. Pass an array on another "
            'device, or make the module under torch.device("meta") too.'
        )


class TorchOps(Ops):
    name = "torch"

    def is_array(self, x):
        return isinstance(x, torch.Tensor)

    def is_traced(self, x):
        return makes_program() or is_transformed() or self.lacks_numbers(x)

    def waits_for(self, x):
        return x.device.type != "cpu" and not self.is_traced(x)

    def lacks_numbers(self, x):
        return self.is_array(x) and (x.is_meta or isinstance(x, FakeTensor))

    def more_than_numbers(self, x):
        if type(x).__name__ == "MaskedTensor":
            return (
                "is a torch MaskedTensor, whose mask would be lost. Pass x.to_tensor(value), and "
                "mask=x.get_mask() where the model takes a mask."
            )
        if x.is_nested:
            return "is a nested torch tensor. Pass x.to_padded_tensor(0.0), and a mask of it."
        if x.is_quantized:
            return "is a quantized torch tensor. Pass x.dequantize()."
        if x.layout != torch.strided:
            return f"is a sparse torch tensor ({x.layout}). Pass x.to_dense()."
        return None

    def asarray(self, x, dtype=None, device=None):
        self.check_device(device)
        # torch.tensor copies, so that the tensor never shares memory with the caller's array.
        dtype = None if dtype is None else getattr(torch, dtype)
        try:
            return torch.tensor(x, dtype=dtype, device=_device(device))
        except TypeError as error:  # Apple's GPUs have no float64
            raise BackendError(f"The device {device!r} cannot hold {dtype}: {error}") from error

    def matrix(self, x, dtype, device):
        # Column-major, the layout of nn.Linear, with which oneDNN is fastest.
        return self.asarray(np.ascontiguousarray(x.T), dtype, device).t()

    def constant(self, x, like):
        return constant(x, like, like.dtype)

    def full(self, shape, value, like):
        return like.new_full(tuple(shape), value)

    def move(self, x, like):
        _check_numbers(x, like)
        return x.to(like.device)

    def match(self, x, like):
        _check_numbers(x, like)
        return x.to(like.device, like.dtype)

    def detach(self, x):
        return x.detach()

    def to_numpy(self, x):
        if x.requires_grad:
            raise InputError(
                "A torch tensor that requires gradients cannot leave torch without losing them. "
                "Set the torch backend, or pass tensor.detach()."
            )
        if x.is_meta:
            raise InputError(
                'A torch tensor on the device "meta" has no numbers, so it cannot leave torch. '
                'Give it some first, such as by module.to_empty(device="cpu") and load_state_dict.'
            )
        if x.dtype.is_floating_point and x.dtype not in _OF_NUMPY:
            x = x.float()
        return x.resolve_neg().cpu().numpy()

    def check_device(self, device):
        target = _device(device)
        if target is None or target.type == "meta":
            return
        if target.type == "cpu" and target.index:
            raise BackendError(
                f'Device {device!r} was asked for, but torch has one CPU device, "cpu".'
            )
        try:
            torch.empty(0, device=target)
        except Exception as error:  # of any class: builds and plugins differ
            raise BackendError(
                f"Device {device!r} was asked for, but torch cannot use it here. Use "
                'device="cpu", or install a build of torch for it on a machine that has one.'
            ) from error

    def dtype(self, x):
        return str(x.dtype).removeprefix("torch.")

    def cast(self, x, dtype):
        return x.to(getattr(torch, dtype))

    def known_shape(self, x, channels=None):
        # torch.jit.trace makes tensors of sizes; a check of those would be recorded.
        state = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)  # pyright: ignore[reportArgumentType]
        try:
            return super().known_shape(x, channels)
        finally:
            torch._C._set_tracing_state(state)

    def arange(self, size, like):
        dtype = torch.float32 if like.device.type == "mps" else torch.float64
        return torch.arange(size, device=like.device).to(dtype)

    def reshape(self, x, shape):
        return x.reshape(tuple(shape))

    def transpose(self, x, axes):
        return x.permute(tuple(axes))

    def concat(self, arrays, axis):
        return torch.cat(list(arrays), axis)

    def broadcast_to(self, x, shape):
        return x.expand(tuple(shape))

    def take(self, x, indices, axis):
        return x.index_select(axis, constant(indices, x))

    def look_up(self, table, indices):
        return F.embedding(indices, table)

    def slice(self, x, start, size, axis):
        return x.narrow(axis, start, size)

    def pick(self, x, indices):
        return x.gather(-1, indices.long()[..., None])[..., 0]

    def matmul(self, a, b):
        if not autocasts(a):
            return torch.matmul(a, b)
        # Autocast would narrow the reader's scores and sums; they stay in the wider type.
        dtype = torch.promote_types(a.dtype, b.dtype)
        with torch.autocast(a.device.type, enabled=False):
            return torch.matmul(a.to(dtype), b.to(dtype))

    def exp(self, x):
        return torch.exp(x)

    def log(self, x):
        return torch.log(x)

    def sin(self, x):
        return torch.sin(x)

    def cos(self, x):
        return torch.cos(x)

    def tanh(self, x):
        return torch.tanh(x)

    def erf(self, x):
        return torch.erf(x)

    def sqrt(self, x):
        return torch.sqrt(x)

    def sum(self, x, axis, keepdims=False):
        return torch.sum(x, axis, keepdim=keepdims)

    def max(self, x, axis, keepdims=False):
        return torch.amax(x.detach(), axis, keepdim=keepdims)

    def maximum(self, a, b):
        return torch.clamp(a, min=b) if isinstance(b, (int, float)) else torch.maximum(a, b)

    def where(self, condition, a, b):
        # torch would copy a number from the host, and wait for that.
        like: Any = a if isinstance(a, torch.Tensor) else b
        a, b = (x if isinstance(x, torch.Tensor) else like.new_full((), x) for x in (a, b))
        return torch.where(condition, a, b)

    def add_into(self, x, y):
        return x.add_(y) if _has_room(x, y) else x + y

    def multiply_into(self, x, y):
        return x.mul_(y) if _has_room(x, y) else x * y

    def exp_of_difference(self, x, y):
        return x.sub_(y).exp_() if _has_room(x, y) else torch.exp(x - y)

    def linear(self, x, weight, bias):
        if _is_slow_half(x):
            bias = None if bias is None else bias.float()
            return self.linear(x.float(), weight.float(), bias).to(x.dtype)
        return linear(x, weight, bias)

    def layer_norm(self, x, scale, offset):
        shape = x.shape[-1:]
        return recomputable(
            lambda x, *affine: F.layer_norm(x, shape, *affine, LAYER_NORM_EPSILON), x, scale, offset
        )

    def rms_norm(self, x, scale, epsilon):
        shape = x.shape[-1:]
        return recomputable(lambda x, scale: F.rms_norm(x, shape, scale, epsilon), x, scale)

    def gelu(self, x, exact=False):
        approximate = "none" if exact else "tanh"
        return recomputable(lambda x: F.gelu(x, approximate=approximate), x)

    def relu(self, x):
        return recomputable(F.relu, x)

    def silu(self, x):
        return recomputable(F.silu, x)

    def attention(self, q, k, v, key_mask=None, drop=None):
        if drop is not None or is_transformed():
            return super().attention(q, k, v, key_mask, drop)
        if _is_slow_half(q):
            return self.attention(q.float(), k.float(), v.float(), key_mask).to(q.dtype)
        unequal = q.shape[-1] != v.shape[-1]
        if key_mask is None and unequal and q.device.type == "cpu" and q.dtype.itemsize >= 4:
            # No fused kernel supports this, and torch's plain one also searches for masked rows.
            scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
            return torch.matmul(torch.softmax(scores, -1), v)
        formula = functools.partial(super().attention, key_mask=key_mask)
        return twice_differentiable(_fused_attention(q, k, v, key_mask), formula, q, k, v)

    def has_grid_sums(self, x, *sources):
        # Exported programs run without this library.
        if torch.compiler.is_exporting() or is_tracing() or is_transformed():
            return False
        if any(is_traceable_wrapper_subclass(source) for source in (x, *sources)):
            return False
        if _is_on_cpu(x):
            return x.shape[-1] <= numpy_grid_sums.MAX_CHANNELS and _takes_numpy(x, *sources)
        if any(source.dtype != torch.float32 for source in sources):
            return False
        if os.environ.get(FUSED_READER) == "0" or not _runs_triton(x.device):
            return False
        from ivy_models.ops.torch_grid_kernels import MAX_CHANNELS

        return x.shape[-1] <= MAX_CHANNELS

    def grid_sums(self, x, inverse, query, outer_scores, inner_scores, mask):
        sources = x, inverse, query, outer_scores, inner_scores, mask
        if _is_on_cpu(x):
            arrays: list[Any] = [s if s is None else self.to_numpy(s.detach()) for s in sources]
            with np.errstate(all="ignore"):
                sums = numpy_grid_sums.grid_sums(*arrays, threads=torch.get_num_threads())
            return tuple(map(torch.from_numpy, sums))
        from ivy_models.ops.torch_grid_sums import grid_sums  # needs Triton

        return grid_sums(*sources, self.scores_per_chunk(x))

    def is_on_cpu(self, like):
        return like.device.type in ("cpu", "meta")

    def fold_in(self, key, number):
        return key

    def dropout(self, x, rate, key):
        # torch's own generator (torch.manual_seed), because torch.compile, copies of a module and
        # checkpointing support no other. The key is only a flag here: dropout is on.
        return F.dropout(x, rate)

    def rematerialise(self, function):
        return self._rematerialised(function)

    def rematerialise_chunks(self, function):
        # A chunk draws no random numbers, whose state CUDA graphs forbid to read.
        rematerialised = self._rematerialised(function, preserve_rng_state=False)
        return function if rematerialised is function else _once_stored(function, rematerialised)

    def _rematerialised(self, function, **settings):
        # Compilers decide themselves what they store.
        if makes_program() or not (torch.is_grad_enabled() and takes_hooks()):
            return function
        return functools.partial(checkpoint, function, use_reentrant=False, **settings)

    def compile(self, function):
        return torch.compile(lambda *arguments: function(*arguments))

    def conv2d(self, x, weight, stride):
        x = F.pad(x.permute(0, 3, 1, 2), self._padding(x, weight.shape[:2], stride))
        return F.conv2d(x, weight.permute(3, 2, 0, 1), stride=stride).permute(0, 2, 3, 1)

    def max_pool2d(self, x, window, stride):
        data = x.permute(0, 3, 1, 2)
        if makes_program():  # max_pool2d needs numbers, which an open size does not give
            padding = self._padding(x, (window, window), stride)
            data = F.max_pool2d(F.pad(data, padding, value=-float("inf")), window, stride)
        else:  # no padded copy: ceil_mode lets the last window exceed the data
            before = [same_padding(size, window, stride)[0] for size in x.shape[1:3]]
            data = F.max_pool2d(data, window, stride, before, ceil_mode=True)
        return data.permute(0, 2, 3, 1)

    @staticmethod
    def _padding(x, window, stride):
        """Padding of (B, Y, X, C) in the order of F.pad: the last axis first."""
        sizes = zip(x.shape[1:3], window, strict=True)
        rows, columns = (same_padding(size, w, stride) for size, w in sizes)
        return (*columns, *rows)


def _has_room(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether ``x`` can hold the results of ``x`` and ``y``, and no gradient needs its numbers."""
    return (
        not (makes_program() or is_transformed() or needs_gradient(x, y))
        and torch.broadcast_shapes(x.shape, y.shape) == x.shape
        and torch.promote_types(x.dtype, y.dtype) == x.dtype
    )


def _takes_numpy(*arrays: torch.Tensor) -> bool:
    """Whether NumPy can compute in the memory of arrays, which no tool of torch would see."""
    return (
        not (makes_program() or needs_gradient(*arrays))
        and _get_current_dispatch_mode() is None
        and all(x.dtype in (torch.float32, torch.float64) for x in arrays)
    )


def _fused_attention(q, k, v, key_mask, scale=None):
    if q.device.type == "cuda" and (q.shape[-1] % HEAD_UNIT or v.shape[-1] % HEAD_UNIT):
        return _padded_attention(q, k, v, key_mask)
    if key_mask is None:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    any_key = key_mask.any(-1, keepdim=True)
    bias = torch.zeros(key_mask.shape, dtype=q.dtype, device=q.device)
    # No finite float16 is guaranteed to stay below score + bias, so use -inf.
    bias = bias.masked_fill(~key_mask & any_key, -float("inf"))[:, None, None, :]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return out * any_key[:, :, None, None]


def _padded_attention(q, k, v, key_mask):
    """The same, with zeros as further channels of each head."""
    scale, channels = q.shape[-1] ** -0.5, v.shape[-1]

    def padded(x):
        # Of four axes, pad would keep the order in memory, in which a single head or channel may
        # come last. The kernels take no stride of 1 but the channels'.
        return F.pad(x[None, None], (0, -x.shape[-1] % HEAD_UNIT))[0, 0]

    q, k, v = map(padded, (q, k, v))
    return _fused_attention(q, k, v, key_mask, scale)[..., :channels]


def _emulates_bfloat16() -> bool:
    """Whether this processor has no instructions for bfloat16, as far as torch tells."""
    found = getattr(torch.cpu, "get_capabilities", dict)()  # of recent releases
    has_any = found.get("avx512_bf16") or found.get("amx_bf16")
    return found.get("architecture") == "x86_64" and not has_any


SLOW_ON_CPUS = {torch.float16, *([torch.bfloat16] if _emulates_bfloat16() else [])}
"""Types whose products take a multiple of float32's time: 100 times in float16, 4 in bfloat16."""


def _is_slow_half(x: torch.Tensor) -> bool:
    return x.dtype in SLOW_ON_CPUS and x.device.type == "cpu"


@functools.cache
def _runs_triton(device: torch.device) -> bool:
    """Whether the device is one of NVIDIA's with tensor cores for float32, and Triton works."""
    if (
        device.type != "cuda"
        or torch.version.cuda is None
        or importlib.util.find_spec("triton") is None
        or torch.cuda.get_device_capability(device) < (8, 0)
    ):
        return False
    from ivy_models.ops.torch_grid_check import check_kernels

    try:
        with _disable_current_modes():  # which make tensors without numbers
            check_kernels(device)
    except Exception as error:  # of any class, by Triton
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(
            f"Grids are read in chunks on {device}, which takes longer, because Triton does not "
            f"work there: {type(error).__name__}: {reason}",
            stacklevel=2,
        )
        return False
    return True


def _device(device: str | None) -> torch.device | None:
    if device is None:
        return None
    try:
        return torch.device(str(parse_device(device)))
    except RuntimeError as error:
        raise BackendError(
            f'Unknown torch device {device!r}; use "cpu", "cuda" or "cuda:0".'
        ) from error


def _is_on_cpu(x):
    return x.device.type == "cpu"


class _StoredError(Exception):
    """A tensor would be stored for the backward pass."""


def _once_stored(function, rematerialised):
    """``function``, and from the first time that it would store a tensor, ``rematerialised``.

    torch's first checkpoint imports its compiler, for seconds and 80 MB. Nothing is stored if no
    gradient is needed, which the arguments do not show: the function may close over arrays.
    """
    stores = False

    def refuse(_):
        raise _StoredError

    def call(*arguments):
        nonlocal stores
        if not stores:
            try:
                with torch.autograd.graph.saved_tensors_hooks(refuse, refuse):
                    return function(*arguments)
            except _StoredError:
                stores = True
        return rematerialised(*arguments)

    return call
