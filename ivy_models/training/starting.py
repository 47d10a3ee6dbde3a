"""The model that a training run starts from: a new one that fits the data, or a trained one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.checkpoints.download.hub import local_folder
from ivy_models.checkpoints.load import open_folder
from ivy_models.datasets import TrainingData
from ivy_models.layers.parameters import flatten, initialise, unflatten
from ivy_models.models.factories import create_model
from ivy_models.models.presets import PRESETS
from ivy_models.models.sizes import spec_for
from ivy_models.ops.base import HALF_TYPES
from ivy_models.preprocessing import TextPreprocessing
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

ONE_VECTOR = {
    "query_shape": [],
    "learn_query": True,
    "query_per_input": False,
    "queries_from_inputs": False,
    "tied_head": False,
    "output_modalities": None,
    "output_scale": 1.0,
}
"""Fields of the spec of a model whose output is (B, channels)."""


def new_model(
    data: TrainingData,
    size: str | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | None = None,
) -> PerceiverIO:
    """Make a model with random weights that fits the data.

    Parameters
    ----------
    data
        The data that it will be trained on.
    size
        As in :func:`.spec_for`.
    changes
        Fields of the spec to set instead of those that :func:`.spec_for` chooses.
    seed
        Seed of the weights.
    device
        Device of the weights; None: the framework's default.

    Returns
    -------
    PerceiverIO
        With the data's preprocessing and targets.

    Raises
    ------
    SpecError
        If there is no such size, or the changes do not fit.
    """
    spec = spec_for(data.preprocessing, data.targets, len(data.train), size)
    return _for_data(PerceiverIO(_changed(spec, changes), seed=seed, device=device), data)


def pretrained_model(name: str, device: str | None = None) -> PerceiverIO:
    """Load a model to fine-tune: a preset with its published weights, or a folder.

    A language model gets a preprocessing for texts. Weights in half precision become float32.

    Raises
    ------
    BackendError, DownloadError, SpecError, WeightsError
        As :func:`.create_model` and :meth:`.PerceiverIO.from_pretrained`.
    """
    if name in PRESETS:
        model = create_model(name, pretrained=True, device=device)
    else:
        saved = open_folder(local_folder(name)).spec.dtype
        dtype = "float32" if saved in HALF_TYPES else saved
        model = PerceiverIO.from_pretrained(name, device=device, dtype=dtype)
    if model.preprocessing is None and model.tokenizer is not None:
        model.preprocessing = TextPreprocessing(model.tokenizer.max_length)
    return model


def finetuned_model(
    model: PerceiverIO,
    data: TrainingData,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> PerceiverIO:
    """Copy a trained model with a new head for other targets.

    Parameters
    ----------
    model
        The trained model.
    data
        The data that it will be trained on.
    changes
        Fields of the spec to change.
    seed
        Seed of the new weights.

    Returns
    -------
    PerceiverIO
        With the model's weights where names and shapes are the same, with new ones elsewhere. A
        model that was trained on the same targets keeps its head.

    Raises
    ------
    SpecError
        If the changes do not fit.
    """
    width = sum(target.width for target in data.targets)
    spec = _changed(_one_vector(model.spec).replace(output_dim=width), changes)
    weights = dict(flatten(initialise(PerceiverIOCore(spec).parameters(), seed)))
    tree: Any = model.v
    trained = {name: to_numpy(array, name) for name, array in flatten(tree)}
    keeps_head = spec == model.spec and _is_trained_on(model, data)
    for name, array in weights.items():
        is_head = name.startswith("decoder/head/")
        if (
            name in trained
            and np.shape(array) == trained[name].shape
            and (keeps_head or not is_head)
        ):
            weights[name] = trained[name]
    return _for_data(PerceiverIO(spec, v=unflatten(weights)), data)


def _changed(spec: PerceiverIOSpec, changes: Mapping[str, Any] | None) -> PerceiverIOSpec:
    """Change fields, given as JSON values."""
    if not changes:
        return spec
    return PerceiverIOSpec.from_dict(json.loads(spec.to_json()) | dict(changes))


def _one_vector(spec: PerceiverIOSpec) -> PerceiverIOSpec:
    is_one_vector = (
        spec.learn_query
        and not spec.query_per_input
        and not spec.queries_from_inputs
        and spec.output_modalities is None
        and tuple(spec.query_shape or ()) in ((), (1,))
    )
    return spec if is_one_vector else spec.replace(**ONE_VECTOR)


def _is_trained_on(model: PerceiverIO, data: TrainingData) -> bool:
    if model.targets is not None:
        return model.targets == data.targets
    return model.labels == data.labels


def _for_data(model: PerceiverIO, data: TrainingData) -> PerceiverIO:
    model.preprocessing, model.targets = data.preprocessing, data.targets
    model.labels = data.labels
    return model
