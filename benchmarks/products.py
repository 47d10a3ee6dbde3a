"""Matrix products: how many the latents need, and how fast a framework computes them."""

from __future__ import annotations

import statistics
import time

import numpy as np

from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

ROWS, INNER, COLUMNS = 512, 1024, 1024  # a projection of the latents
SAMPLES, IN_A_ROW = 10, 4


def latent_gflop(spec: PerceiverIOSpec) -> float:
    """10^9 operations of the matrix products in all self-attention layers, for one image."""
    latents, channels = spec.num_latents, spec.latent_dim
    projections = 6 * latents * channels * channels  # four of attention, two of the MLP
    attention = 2 * latents * latents * channels  # scores, and the weighted sum of values
    layers = spec.network_depth * spec.num_lat_att_per_layer
    return 2e-9 * layers * (projections + attention)  # a multiplication and an addition each


def gemm_gflop_per_second(ops: Ops, dtype: str, device: str) -> float:
    """Rate of 512x1024 by 1024x1024, as the framework multiplies by default."""
    rng = np.random.default_rng(0)
    a = ops.asarray(rng.standard_normal((ROWS, INNER)), dtype, device)
    b = ops.asarray(rng.standard_normal((INNER, COLUMNS)), dtype, device)
    _finish(ops, ops.matmul(a, b))
    seconds = []
    for _ in range(SAMPLES):
        start = time.perf_counter()
        for _ in range(IN_A_ROW):  # a GPU is not left idle between them
            product = ops.matmul(a, b)
        _finish(ops, product)
        seconds.append((time.perf_counter() - start) / IN_A_ROW)
    return 2e-9 * ROWS * INNER * COLUMNS / statistics.median(seconds)


def _finish(ops: Ops, x: Array) -> None:
    """Wait for ``x`` without copying it, which would be timed too."""
    if ops.name == "torch" and x.is_cuda:
        import torch

        torch.cuda.synchronize(x.device)
    elif ops.name == "jax":
        x.block_until_ready()
    elif ops.name == "tensorflow":
        import tensorflow as tf

        tf.test.experimental.sync_devices()
