"""The subjects that are measured: the same models in this library and in transformers.

Every subject maps one NumPy batch to NumPy outputs. So its time includes all copies, and its work
is finished when it returns.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.models.presets import PRESETS
from ivy_models.ops import BACKENDS, Ops, ops_named
from ivy_models.shells import engines
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


@dataclass(frozen=True)
class Subject:
    """A model to measure: ``call()`` runs it once; ``ops`` are the operations of its framework."""

    call: Callable[[], np.ndarray]
    ops: Ops


def load(case: Case) -> Subject:
    """Build the model with random weights."""
    # All workers share one GPU, so no framework may allocate all of its memory at the start.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    os.environ["JAX_ENABLE_X64"] = str(int(case.dtype == "float64"))
    rng = np.random.default_rng(0)
    if MODELS[case.model].vocabulary_size is None:
        data = rng.standard_normal((case.batch, *case.shape)).astype(case.dtype)
    else:
        data = rng.integers(0, MODELS[case.model].vocabulary_size, (case.batch, *case.shape))
    if case.model == "video":
        sound = rng.standard_normal((case.batch, 30720, 1)).astype(case.dtype)
        data = {"image": data, "audio": sound}
    if case.training:
        import training

        call = training.step(case, data)
    elif case.subject.startswith(HUGGINGFACE) or case.subject == ACCELERATED:
        call = _huggingface(case, data)
    elif case.subject.endswith(PLAIN):
        call = _plain(case, data)
    else:
        call = _public(case, data)
    return Subject(call, ops_named(case.framework))


def _public(case: Case, data: np.ndarray) -> Callable[[], np.ndarray]:
    """This library, through its public interface."""
    from ivy_models.arrays import to_numpy

    model = create(case)
    if case.engine is not None:
        model = _in_engine(case, model)
    if case.model == "video":
        return lambda: _images(model(data, queries=VIDEO_CHUNK), lambda x: to_numpy(x, "output"))
    return lambda: to_numpy(model(data), "output")


def _in_engine(case: Case, model):
    """The model in an engine, exported for the case's size."""
    from ivy_models import OnnxModel

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        model.to_onnx(path, (case.batch, *case.shape))
        return OnnxModel(path, case.engine, dtype=case.computed_in)


def _images(outputs: Mapping[str, Any], to_numpy: Callable[[Any], np.ndarray]) -> np.ndarray:
    """Copy all outputs of a video model to NumPy, so that all are timed; return the pixels."""
    return {name: to_numpy(outputs[name]) for name in VIDEO_CHUNK}["image"]


def _plain(case: Case, data: np.ndarray) -> Callable[[], np.ndarray]:
    """The same weights, but the reader computes all attention scores at once."""
    from ivy_models.arrays import unwrap_tree
    from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

    model, ops = create(case), ops_named(case.framework)
    weights = unwrap_tree(model.v)
    core = PerceiverIOCore(model.spec, plain_reader=True)
    if case.framework != "torch":  # torch compiles only on request
        core = ops.compile(core)
    if case.model == "video":
        return lambda: _images(
            core(
                weights,
                {name: ops.asarray(x, case.dtype, case.device) for name, x in data.items()}
                | {"label": ops.asarray(np.zeros((case.batch, 700)), case.dtype, case.device)},
                {"label": ops.asarray(np.zeros((case.batch, 1), bool), device=case.device)},
                {
                    name: None if x is None else ops.asarray(x, "int32", case.device)
                    for name, x in VIDEO_CHUNK.items()
                },
            ),
            ops.to_numpy,
        )
    dtype = case.dtype if data.dtype.kind == "f" else "int32"
    return lambda: ops.to_numpy(core(weights, ops.asarray(data, dtype, case.device)))


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


def _huggingface(case: Case, data: np.ndarray) -> Callable[[], np.ndarray]:
    """The Perceiver of transformers with the sizes of the published checkpoints."""
    import transformers

    spec = MODELS[case.model]
    config = huggingface_config(spec)
    if case.model in ("fourier", "learned", "conv"):
        model_class = {
            "fourier": transformers.PerceiverForImageClassificationFourier,
            "learned": transformers.PerceiverForImageClassificationLearned,
            "conv": transformers.PerceiverForImageClassificationConvProcessing,
        }[case.model]
        config.image_size = ONLY_SHAPE["learned"][0]
        model, data = model_class(config), data.transpose(0, 3, 1, 2)
    elif case.model == "language":
        config.qk_channels, config.v_channels = 8 * 32, spec.reader_v_dim
        model = transformers.PerceiverForMaskedLM(config)
    elif case.model == "video":
        return _huggingface_video(config, data, case)
    elif case.model == "flow":
        config.train_size = list(spec.max_fourier_freq)
        model = transformers.PerceiverForOpticalFlow(config)
        # It expects 3x3 patches, not pixels. The values do not affect the cost, so repeat channels.
        data = np.repeat(data.transpose(0, 1, 4, 2, 3), 9, 2)
    else:
        model = _huggingface_tiny(config)
        # It expects inputs that already contain their positions.
        data = np.resize(data, (case.batch, case.shape[0] * case.shape[1], spec.encoded_dim))
    return _inference(model, np.ascontiguousarray(data), case)


def _huggingface_video(config, data: dict[str, np.ndarray], case: Case):
    import torch
    import transformers

    if case.subject not in (HUGGINGFACE, ACCELERATED):
        raise ValueError("the video model is measured in float32 and eagerly only")
    config.num_labels = 700
    model = transformers.PerceiverForMultimodalAutoencoding(config)
    model = _ready(model, case)
    arrays = {
        "image": np.ascontiguousarray(data["image"].transpose(0, 1, 4, 2, 3)),
        "audio": data["audio"],
        "label": np.zeros((case.batch, 700), case.dtype),
    }
    places = {
        name: None if x is None else torch.from_numpy(x).to(case.device)
        for name, x in VIDEO_CHUNK.items()
    }

    def call():
        with torch.inference_mode():
            inputs = {name: torch.from_numpy(x).to(case.device) for name, x in arrays.items()}
            outputs = model(inputs=inputs, subsampled_output_points=places).logits
            return _images(outputs, lambda x: x.cpu().numpy())

    return call


def _huggingface_tiny(config):
    from transformers.models.perceiver import modeling_perceiver as perceiver

    decoder = perceiver.PerceiverClassificationDecoder(
        config,
        num_channels=TINY.queries_dim,
        trainable_position_encoding_kwargs={"num_channels": TINY.queries_dim, "index_dims": 1},
        use_query_residual=True,
    )
    return perceiver.PerceiverModel(config, decoder=decoder)


def _inference(model, data: np.ndarray, case: Case) -> Callable[[], np.ndarray]:
    import torch

    if case.engine is not None:
        return _exported(model.eval(), data, case)
    model = _ready(model, case)
    dtype = getattr(torch, case.computed_in)

    def call():
        with torch.inference_mode():
            inputs = torch.from_numpy(data).to(case.device)
            inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
            return model(inputs).logits.to(getattr(torch, case.dtype)).cpu().numpy()

    return call


def _exported(model, data: np.ndarray, case: Case) -> Callable[[], np.ndarray]:
    """The model of transformers in an engine, exported by torch for the data's shape."""
    import torch

    class Logits(torch.nn.Module):
        def forward(self, inputs):
            return model(inputs).logits

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        arguments = (torch.from_numpy(data),)
        torch.onnx.export(Logits(), arguments, path, dynamo=True, external_data=False)
        # An engine of OnnxModel, which itself takes only files of this library.
        engine = engines.ENGINES[case.engine](path.read_bytes(), case.computed_in)
    (name,) = engine.input_shapes

    def call():
        (logits,) = engine({name: data}).values()
        return logits

    return call


def _ready(model, case: Case):
    import torch

    from ivy_models import accelerate

    model = model.to(case.device, getattr(torch, case.computed_in)).eval()
    if case.subject.endswith(COMPILED):
        return torch.compile(model)
    return accelerate(model) if case.subject == ACCELERATED else model
