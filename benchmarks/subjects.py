"""The subjects that are measured: the same models in this library and in transformers.

``inference.py`` and ``training.py`` make what a subject measures: its calls and its training steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ivy_models.models.presets import PRESETS
from ivy_models.ops import BACKENDS
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

HUGGINGFACE = "huggingface"
ACCELERATED = "accelerated"
DROPOUT = "huggingface-dropout"
PLAIN = "-plain"
REMATERIALISED = "-rematerialised"
COMPILED = "-compiled"
HALF = "-bfloat16"
ENGINES = ("onnxruntime", "openvino")
IN_ENGINES = (*ENGINES, "openvino" + HALF)
SUBJECTS = (
    HUGGINGFACE,
    HUGGINGFACE + COMPILED,
    HUGGINGFACE + HALF,
    *(f"{HUGGINGFACE}-{name}" for name in IN_ENGINES),
    ACCELERATED,
    *BACKENDS,
    "torch" + HALF,
    *IN_ENGINES,
    *(name + PLAIN for name in BACKENDS),
)
TRAINS = [name for name in BACKENDS if name != "numpy"]
TRAINING_SUBJECTS = (HUGGINGFACE, DROPOUT, *TRAINS, *(name + REMATERIALISED for name in TRAINS))
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
"""Measures overhead: 8x6 layers with very little arithmetic."""

MODELS = {
    "fourier": PRESETS["perceiver_io_imagenet_fourier"].spec,
    "learned": PRESETS["perceiver_io_imagenet_learned"].spec,
    "conv": PRESETS["perceiver_io_imagenet_conv"].spec,
    "language": PRESETS["perceiver_io_language"].spec,
    "flow": PRESETS["perceiver_io_optical_flow"].spec,
    "video": PRESETS["perceiver_io_video"].spec,
    "tiny": TINY,
}
DEPTHS = {
    f"fourier-depth-{depth}": MODELS["fourier"].replace(network_depth=depth) for depth in (1, 2, 4)
}
"""The Fourier model with fewer blocks than its 8: the memory of training grows with the depth."""
MODELS |= DEPTHS

ONLY_SHAPE = {
    "learned": (224, 224, 3),
    "language": (2048,),
    "flow": (2, 368, 496, 3),
    "video": (16, 224, 224, 3),
    "tiny": (8, 8, 3),
}
"""Data shapes of models that are measured at one size only: their positions have a fixed size, or
(tiny) their overhead does not depend on the size."""

VIDEO_CHUNK = {
    "image": np.arange(16 * 224 * 224 // 128),
    "audio": np.arange(1920 // 128),
    "label": None,
}
"""Indices of the outputs that one call decodes. The original decodes in 128 chunks; this is one."""


@dataclass(frozen=True)
class Case:
    """One subject at one size, which a worker loads."""

    subject: str
    model: str
    size: int | None
    batch: int
    dtype: str
    device: str
    training: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data of one element of a batch."""
        return ONLY_SHAPE.get(self.model) or (self.size, self.size, 3)

    @property
    def engine(self) -> str | None:
        """The engine that runs the model from an ONNX file, if any."""
        return next((name for name in ENGINES if name in self.subject), None)

    @property
    def computed_in(self) -> str:
        """The data type of the products."""
        return HALF[1:] if self.subject.endswith(HALF) else self.dtype

    @property
    def framework(self) -> str:
        """The framework that runs or exports the model."""
        if self.subject.startswith(HUGGINGFACE) or self.subject == ACCELERATED:
            return "torch"
        if self.engine is not None:
            return "numpy"
        return self.subject.removesuffix(PLAIN).removesuffix(REMATERIALISED).removesuffix(HALF)

    @property
    def output_channels(self) -> int:
        return 3 if self.model == "video" else MODELS[self.model].output_dim


def create(case: Case):
    from ivy_models.transformers.perceiver_io import PerceiverIO
    import ivy

    ivy.set_backend(case.framework)
    dtype = case.dtype if case.engine is not None else case.computed_in
    return PerceiverIO(MODELS[case.model].replace(device=case.device, dtype=dtype))


def huggingface_config(spec: PerceiverIOSpec, **others: Any):
    """The configuration of transformers' Perceiver with the sizes of a spec."""
    import transformers

    return transformers.PerceiverConfig(
        num_labels=spec.output_dim,
        num_latents=spec.num_latents,
        d_latents=spec.latent_dim,
        d_model=spec.encoded_dim,
        num_blocks=spec.network_depth,
        num_self_attends_per_block=spec.num_lat_att_per_layer,
        num_self_attention_heads=spec.num_self_att_heads,
        num_cross_attention_heads=spec.num_cross_att_heads,
        **others,
    )
