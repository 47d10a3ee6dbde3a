"""Count the operations of the latents' matrix products, and measure a framework's speed."""

from __future__ import annotations

import statistics
import time

import numpy as np

from ivy_models.ops import Array, Ops
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

ROWS, INNER, COLUMNS = 512, 1024, 1024  # the size of a projection of the latents
SAMPLES, IN_A_ROW = 10, 4


def latent_gflop(spec: PerceiverIOSpec) -> float:
    """GFLOP of the matrix products in all self-attention layers, for a batch of one."""
    latents, channels = spec.num_latents, spec.latent_dim
    settings = spec.processor().settings
    qk_dim, v_dim = settings.qk_dim, settings.v_dim
    # Queries, keys, values and output of attention, and two layers of the MLP.
    projections = latents * channels * (2 * qk_dim + 2 * v_dim + 2 * channels)
    attention = latents * latents * (qk_dim + v_dim)  # scores, and the weighted sum of values
    layers = spec.network_depth * spec.num_lat_att_per_layer
    return 2e-9 * layers * (projections + attention)  # each is a multiplication and an addition


def gemm_gflop_per_second(ops: Ops, dtype: str, device: str) -> float:
    """Measure the rate of a 512x1024 by 1024x1024 product with the framework's defaults."""
    rng = np.random.default_rng(0)
    a = ops.asarray(rng.standard_normal((ROWS, INNER)), dtype, device)
    b = ops.asarray(rng.standard_normal((INNER, COLUMNS)), dtype, device)
    _finish(ops, ops.matmul(a, b))
    seconds = []
    for _ in range(SAMPLES):
        start = time.perf_counter()
        for _ in range(IN_A_ROW):  # so that a GPU is not idle between products
            product = ops.matmul(a, b)
        _finish(ops, product)
        seconds.append((time.perf_counter() - start) / IN_A_ROW)
    return 2e-9 * ROWS * INNER * COLUMNS / statistics.median(seconds)


def _finish(ops: Ops, x: Array) -> None:
    """Wait for ``x`` without copying it, because the copy would be timed too."""
    if ops.name == "torch" and x.is_cuda:
        import torch

        torch.cuda.synchronize(x.device)
    elif ops.name == "jax":
        x.block_until_ready()
    elif ops.name == "tensorflow":
        import tensorflow as tf

        tf.test.experimental.sync_devices()
