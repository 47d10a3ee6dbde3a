"""What is measured: the same models, by this library and by transformers.

Every subject is a function from one NumPy batch of images to NumPy logits, so that each
pays for its copies, and has finished its work when it returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ivy_models.ops import BACKENDS, Ops, ops_named
from ivy_models.transformers.perceiver_io.presets import PRESETS
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

HUGGINGFACE = "huggingface"
PLAIN = "-plain"
SUBJECTS = (HUGGINGFACE, *BACKENDS, *(name + PLAIN for name in BACKENDS))
TINY = PerceiverIOSpec(
    input_dim=3,
    num_input_axes=2,
    output_dim=10,
    queries_dim=16,
    network_depth=8,
    num_latents=8,
    latent_dim=16,
    query_shape=[1],
    num_fourier_freq_bands=2,
)
"""All overhead: 8x6 layers, hardly any arithmetic."""

MODELS = {
    **{
        name: PRESETS[f"perceiver_io_imagenet_{name}"].spec
        for name in ("fourier", "learned", "conv")
    },
    "tiny": TINY,
}

ONLY_SIZE = {"learned": 224, "tiny": 8}
"""Models measured at one size: learned positions have theirs, overhead does not grow."""


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
    return lambda: np.asarray(model(images).data)


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

    from ivy_models.transformers.perceiver_io import PerceiverIO

    ivy.set_backend(case.framework)
    return PerceiverIO(MODELS[case.model].replace(device=case.device, dtype=case.dtype))


def _huggingface(case: Case, images: np.ndarray) -> Callable[[], np.ndarray]:
    """The Perceiver of transformers, in the sizes of the published checkpoints."""
    import torch

    if case.model == "tiny":
        model = _huggingface_tiny()
        encoded = TINY.adapter().num_channels  # its inputs come with their positions
        images = np.resize(images, (case.batch, case.size**2, encoded))
    else:
        model = _huggingface_classifier(case.model)
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    model = model.to(case.device, getattr(torch, case.dtype)).eval()

    def call():
        with torch.inference_mode():
            logits = model(inputs=torch.from_numpy(images).to(case.device)).logits
            return logits.cpu().numpy()

    return call


def _huggingface_classifier(name: str):
    import transformers

    model_class, input_channels = {
        "fourier": (transformers.PerceiverForImageClassificationFourier, 261),
        "learned": (transformers.PerceiverForImageClassificationLearned, 512),
        "conv": (transformers.PerceiverForImageClassificationConvProcessing, 322),
    }[name]
    config = _huggingface_config(MODELS[name], input_channels)
    config.image_size = ONLY_SIZE["learned"]
    return model_class(config)


def _huggingface_tiny():
    from transformers.models.perceiver import modeling_perceiver as perceiver

    config = _huggingface_config(TINY, TINY.adapter().num_channels)
    decoder = perceiver.PerceiverClassificationDecoder(
        config,
        num_channels=TINY.queries_dim,
        trainable_position_encoding_kwargs={"num_channels": TINY.queries_dim, "index_dims": 1},
        use_query_residual=True,
    )
    return perceiver.PerceiverModel(config, decoder=decoder)


def _huggingface_config(spec: PerceiverIOSpec, input_channels: int):
    import transformers

    return transformers.PerceiverConfig(
        num_labels=spec.output_dim,
        num_latents=spec.num_latents,
        d_latents=spec.latent_dim,
        d_model=input_channels,
        num_blocks=spec.network_depth,
        num_self_attends_per_block=spec.num_lat_att_per_layer,
        num_self_attention_heads=spec.num_self_att_heads,
        num_cross_attention_heads=spec.num_cross_att_heads,
    )
