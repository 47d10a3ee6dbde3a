"""What is measured: the same three models, by this library and by transformers.

Every subject is a function from one NumPy batch of images to NumPy logits, so that each
pays for its copies, and has finished its work when it returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ivy_models.ops import BACKENDS, Ops, ops_named

HUGGINGFACE = "huggingface"
PLAIN = "-plain"
SUBJECTS = (HUGGINGFACE, *BACKENDS, *(name + PLAIN for name in BACKENDS))
MODELS = ("fourier", "learned", "conv")


@dataclass(frozen=True)
class Case:
    """One subject at one size: what a worker is told to load."""

    subject: str
    model: str
    size: int
    batch: int
    dtype: str
    device: str

    @property
    def framework(self) -> str:
        return "torch" if self.subject == HUGGINGFACE else self.subject.removesuffix(PLAIN)


@dataclass(frozen=True)
class Subject:
    """What a worker measures: ``call()`` runs the model once; ``ops`` are its framework's."""

    call: Callable[[], np.ndarray]
    ops: Ops


def load(case: Case) -> Subject:
    """Build the model, with random weights."""
    # One GPU is shared by all workers, so none may take all its memory at the start.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    os.environ["JAX_ENABLE_X64"] = str(int(case.dtype == "float64"))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((case.batch, case.size, case.size, 3)).astype(case.dtype)
    if case.subject == HUGGINGFACE:
        call = _huggingface(case, images)
    elif case.subject.endswith(PLAIN):
        call = _plain(case, images)
    else:
        call = _public(case, images)
    return Subject(call, ops_named(case.framework))


def _public(case: Case, images: np.ndarray) -> Callable[[], np.ndarray]:
    """This library, called as its users call it."""
    model = _create(case)
    return lambda: model(images).to_numpy()


def _plain(case: Case, images: np.ndarray) -> Callable[[], np.ndarray]:
    """The same weights, but the reader computes all attention scores at once."""
    from ivy_models.arrays import unwrap
    from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
    from ivy_models.transformers.perceiver_io.parameters import map_tree

    model, ops = _create(case), ops_named(case.framework)
    weights = map_tree(unwrap, model.v)
    core = PerceiverIOCore(model.spec, plain_reader=True)
    if case.framework != "torch":  # whose public call compiles only when asked to
        core = ops.compile(core)
    return lambda: ops.to_numpy(core(weights, ops.asarray(images, case.dtype, case.device)))


def _create(case: Case):
    import ivy

    from ivy_models import create_model

    ivy.set_backend(case.framework)
    name = f"perceiver_io_imagenet_{case.model}"
    return create_model(name, device=case.device, dtype=case.dtype)


def _huggingface(case: Case, images: np.ndarray) -> Callable[[], np.ndarray]:
    """The Perceiver of transformers, in the sizes of the published checkpoints."""
    import torch
    import transformers

    model_class, input_channels = {
        "fourier": (transformers.PerceiverForImageClassificationFourier, 261),
        "learned": (transformers.PerceiverForImageClassificationLearned, 512),
        "conv": (transformers.PerceiverForImageClassificationConvProcessing, 322),
    }[case.model]
    config = transformers.PerceiverConfig(
        num_labels=1000,
        num_latents=512,
        d_latents=1024,
        d_model=input_channels,
        num_blocks=8,
        num_self_attends_per_block=6,
        num_self_attention_heads=8,
        num_cross_attention_heads=1,
        image_size=224,  # of the learned positions
    )
    model = model_class(config).to(case.device, getattr(torch, case.dtype)).eval()
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def call():
        with torch.inference_mode():
            logits = model(inputs=torch.from_numpy(channels_first).to(case.device)).logits
            return logits.cpu().numpy()

    return call
