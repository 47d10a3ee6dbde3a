"""Calls of the subjects, written as users of each library write them.

A call maps one NumPy batch to NumPy outputs. So its time includes all copies, and its work is
finished when it returns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from subjects import (
    ACCELERATED,
    COMPILED,
    HUGGINGFACE,
    MODELS,
    ONLY_SHAPE,
    PLAIN,
    TINY,
    VIDEO_CHUNK,
    Case,
    create,
    huggingface_config,
)

from ivy_models.ops import ops_named
from ivy_models.shells import engines


def call(case: Case, data: Any) -> Callable[[], np.ndarray]:
    """Return a function that runs the model on the data and gives its outputs."""
    if case.subject.startswith(HUGGINGFACE) or case.subject == ACCELERATED:
        return _huggingface(case, data)
    return _plain(case, data) if case.subject.endswith(PLAIN) else _public(case, data)


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
