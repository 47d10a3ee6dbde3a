"""Rotary positions: pairs of channels turn by angles that grow with the position."""

from __future__ import annotations

import functools

import numpy as np

from ivy_models.ops import Array, Ops
from ivy_models.ops.base import read_only
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec


def rotate(ops: Ops, spec: ResamplerSpec, x: Array, positions: Array) -> Array:
    """Rotate the first ``rotary_dim`` channels of each head by positions (arXiv 2104.09864).

    Parameters
    ----------
    x
        Heads (B, H, M, K).
    positions
        Numbers (B, M) or (1, M), at least float32.

    Returns
    -------
    Array
        (B, H, M, K).
    """
    dim = spec.rotary_dim
    assert dim is not None
    frequencies = ops.constant(_frequencies(float(spec.rotary_theta), dim), like=positions)
    angles = positions[:, None, :, None] * frequencies
    turned, rest = ops.widen(x[..., :dim]), x[..., dim:]
    pairs = ops.reshape(turned, (*ops.shape(x)[:-1], dim // 2, 2))
    a, b, cos, sin = pairs[..., 0], pairs[..., 1], ops.cos(angles), ops.sin(angles)
    pairs = ops.concat([(a * cos - b * sin)[..., None], (a * sin + b * cos)[..., None]], -1)
    turned = ops.cast(ops.reshape(pairs, ops.shape(turned)), ops.dtype(x))
    return turned if dim == spec.head_dim else ops.concat([turned, rest], -1)


@functools.lru_cache(maxsize=32)
def _frequencies(theta: float, dim: int) -> np.ndarray:
    return read_only(theta ** -(np.arange(0, dim, 2) / dim))
