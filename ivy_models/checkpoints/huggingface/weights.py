"""Hugging Face transformers' Perceiver checkpoints: a folder with config.json and the weights.

Reading and writing use the same table of this library's names and transformers'.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from ivy_models.base.atomic_files import write_files
from ivy_models.base.paths import user_path
from ivy_models.checkpoints.check import check_weights
from ivy_models.checkpoints.files import read_json
from ivy_models.checkpoints.folder import read_safetensors
from ivy_models.checkpoints.huggingface.attributes import (
    PREPROCESSOR_FILE,
    TOKENIZER_FILE,
    attribute_files,
    read_attributes,
)
from ivy_models.checkpoints.huggingface.config import config_of, spec_of
from ivy_models.checkpoints.pickles.torch_file import read_torch
from ivy_models.checkpoints.shards import index_name, read_shards
from ivy_models.checkpoints.wrappers import unwrapped
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import Tree, flatten
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TORCH_FILE = "pytorch_model.bin"

# Groups match names within a layer, which the next table translates.
_NAMES = {
    "latents": "perceiver.embeddings.latents",
    "queries": "{decoder}.output_position_encodings.position_embeddings",
    "reader/layer_0/(.+)": "perceiver.encoder.cross_attention.{}",
    r"processor/layer_0/self_attention_(\d+)/(.+)": "perceiver.encoder.self_attends.{}.{}",
    "decoder/cross_attention/(.+)": "{decoder}.decoding_cross_attention.{}",
    "decoder/head/(.+)": "{decoder}.final_layer.{}",
    "input/positions": "{input}.position_embeddings.position_embeddings",
    "input/position_projection/(.+)": "{input}.positions_projection.{}",
    "input/projection/(.+)": "{input}.convnet_1x1.{}",
    "input/convolution/(.+)": "{input}.convnet.conv.{}",
    "input/batch_norm/(.+)": "{input}.convnet.batchnorm.{}",
    "input/patch_projection/(.+)": "{input}.conv_after_patches.{}",
    r"input/(\w+)/padding": "{input}.padding.{}",
    r"input/(\w+)/mask_token": "{input}.mask.{}",
    r"queries/(\w+)/padding": "perceiver.decoder.padding.{}",
    r"queries/(\w+)/queries": (
        "perceiver.decoder.modalities.{}.decoder.output_position_encodings.position_embeddings"
    ),
    r"outputs/(\w+)/(.+)": "perceiver.output_postprocessor.modalities.{}.classifier.{}",
}
_TEXT_NAMES = _NAMES | {
    "input/embedding": "{input}.embeddings.weight",
    "input/positions": "{input}.position_embeddings.weight",
}
_MASKED_LM_NAMES = _TEXT_NAMES | {"decoder/head/(.+)": "embedding_decoder.{}"}
_WITHIN_LAYERS = {
    "query_norm": "attention.self.layernorm1",
    "norm": "attention.self.layernorm1",
    "input_norm": "attention.self.layernorm2",
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "mlp_norm": "layernorm",
    "mlp/hidden": "mlp.dense1",
    "mlp/output": "mlp.dense2",
    "scale": "weight",
    "offset": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}

# Batch norm's count of batches, which torch saves although inference does not use it.
_COUNT = "perceiver.input_preprocessor.convnet.batchnorm.num_batches_tracked"


def huggingface_name(name: str, spec: PerceiverIOSpec) -> str:
    """Translate a weight's name.

    Parameters
    ----------
    name
        Such as "processor/layer_0/self_attention_1/mlp/hidden/weight".
    spec
        Spec of a model that transformers has.
    """
    table = _NAMES
    if spec.vocabulary_size is not None:
        table = _MASKED_LM_NAMES if spec.tied_head else _TEXT_NAMES
    decoder = "perceiver.decoder" if spec.tied_head else "perceiver.decoder.decoder"
    for pattern, theirs in table.items():
        if match := re.fullmatch(pattern, name):
            parts = [_within_layer(part) for part in match.groups()]
            return theirs.format(*parts, decoder=decoder, input="perceiver.input_preprocessor")
    raise KeyError(name)


def _within_layer(name: str) -> str:
    branch, _, leaf = name.rpartition("/")
    parts = (_WITHIN_LAYERS.get(part, part) for part in (branch, leaf) if part)
    return ".".join(parts)


# Arrays. torch stores a layer's output channels first, and broadcast vectors as (1, K).


def _to_torch(name: str, array: np.ndarray) -> np.ndarray:
    _, _, leaf = name.rpartition("/")
    if leaf == "weight":
        array = array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))
    if name == "input/projection/weight":
        array = array[..., None, None]
    if leaf in ("padding", "mask_token"):
        array = array[None]
    return np.array(array, order="C")


def from_torch_layout(name: str, array: Any, transpose: Callable = np.transpose) -> Any:
    """View one of transformers' arrays in this library's layout.

    Parameters
    ----------
    name
        The weight's name in this library.
    array
        A NumPy array, or a tensor with ``transpose=torch.permute``.
    transpose
        Function that permutes an array's axes.
    """
    _, _, leaf = name.rpartition("/")
    if leaf == "weight" and array.ndim >= 2:
        array = transpose(array, (*range(2, array.ndim), 1, 0))
    if name == "input/projection/weight" and array.shape[:-2] == (1, 1):
        array = array[0, 0]
    if leaf in ("padding", "mask_token") and array.shape[:-1] == (1,):
        array = array[0]
    return array


# Folders


@dataclass(frozen=True)
class HuggingFaceFolder:
    """A folder that transformers saved, whose config.json has been read.

    Parameters
    ----------
    path
        The folder.
    config
        Contents of config.json.
    spec
        The model's description.
    """

    path: Path
    config: dict[str, Any]
    spec: PerceiverIOSpec

    @classmethod
    def of(cls, path: Path, config: dict[str, Any]) -> HuggingFaceFolder:
        """Make the spec from a folder's config.json. Raises as :func:`read_huggingface`."""
        return cls(path, config, spec_of(config, str(path / CONFIG_FILE)))

    @functools.cached_property
    def description(self) -> Tree:
        """The parameter tree of the model."""
        return PerceiverIOCore(self.spec).parameters()

    def read_weights(self) -> dict[str, np.ndarray]:
        """Read the flat weights, by this library's names.

        Weights that the model does not have keep their own names, so that a check against the
        description finds them. Raises as :func:`read_huggingface`.
        """
        arrays = unwrapped(read_arrays(self.path))
        arrays.pop(_COUNT, None)
        weights = {}
        for name, _ in flatten(self.description):
            array = arrays.pop(huggingface_name(name, self.spec), None)
            if array is not None:
                weights[name] = np.array(from_torch_layout(name, array), order="C")
        return weights | arrays

    def read_attributes(self) -> dict[str, Any]:
        """Read labels, preprocessing and tokenizer. Raises as :func:`.read_attributes`."""
        return read_attributes(self.path, self.config, self.spec)


def is_huggingface(config: Mapping[str, Any]) -> bool:
    """Whether the contents of a config.json are transformers', not this library's."""
    return "architectures" in config or "model_type" in config


def read_huggingface(folder: str | Path) -> tuple[PerceiverIOSpec, dict[str, np.ndarray]]:
    """Read a model that transformers saved.

    Parameters
    ----------
    folder
        A folder with config.json and model.safetensors or pytorch_model.bin. The weights may be
        split into shards with an index.

    Returns
    -------
    spec : PerceiverIOSpec
    weights : dict
        Arrays by this library's names.

    Raises
    ------
    WeightsError
        If a file does not exist, cannot be read or does not fit the other, or if this library
        does not have the model.
    """
    saved = _open(folder)
    weights = saved.read_weights()
    check_weights(saved.description, weights, str(folder))
    return saved.spec, weights


def read_huggingface_spec(folder: str | Path) -> PerceiverIOSpec:
    """Read the spec of a model that transformers saved. Raises as :func:`read_huggingface`."""
    return _open(folder).spec


def _open(folder: str | Path) -> HuggingFaceFolder:
    path = Path(folder)
    return HuggingFaceFolder.of(path, read_json(path / CONFIG_FILE))


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Read the weights in a folder, whole or in shards.

    Raises
    ------
    WeightsError
        If there are none, or they cannot be read.
    """
    for file, read in ((WEIGHTS_FILE, read_safetensors), (TORCH_FILE, read_torch)):
        if (folder / file).exists():
            return read(folder / file)
        if (folder / index_name(file)).exists():
            return read_shards(folder / index_name(file), read)
    raise WeightsError(f"{folder} has neither {WEIGHTS_FILE} nor {TORCH_FILE}, whole or in shards.")


def write_huggingface(
    folder: str | Path,
    spec: PerceiverIOSpec,
    weights: Mapping[str, np.ndarray],
    task: Mapping[str, Any] | None = None,
) -> None:
    """Write a model so that transformers' ``from_pretrained`` loads it.

    Parameters
    ----------
    folder
        Created if it does not exist. Gets config.json, model.safetensors and, if ``task`` has
        them, preprocessor_config.json and tokenizer_config.json. Those of another model are
        removed.
    spec
        Spec of the model. Its ``device`` is not written.
    weights
        Arrays by this library's names.
    task
        The model's labels, preprocessing and tokenizer, by attribute name.

    Raises
    ------
    WeightsError
        If the weights do not fit the spec, the numbers of labels and classes differ, transformers
        does not have the model, or the folder cannot be written.
    """
    config, task = config_of(spec), task or {}
    if labels := task.get("labels"):
        if len(labels) != len(config["id2label"]):
            raise WeightsError(
                f"The model has {len(labels)} labels for {len(config['id2label'])} classes. Set "
                "model.labels to one label for each class, or to None."
            )
        config["id2label"] = {str(label): name for label, name in enumerate(labels)}
        config["label2id"] = {name: label for label, name in enumerate(labels)}
    beside = attribute_files(task.get("preprocessing"), task.get("tokenizer"))
    check_weights(PerceiverIOCore(spec).parameters(), weights, "the weights to write")
    arrays = {huggingface_name(n, spec): _to_torch(n, array) for n, array in weights.items()}
    if spec.stem == "centred_convolution":
        arrays[_COUNT] = np.array(0)
    folder = user_path(folder)
    try:
        files = {
            WEIGHTS_FILE: save(arrays, metadata={"format": "pt"}),
            CONFIG_FILE: (json.dumps(config, indent=2) + "\n").encode(),
            **beside,
        }
        write_files(
            folder, files, withdrawn=CONFIG_FILE, removed=(PREPROCESSOR_FILE, TOKENIZER_FILE)
        )
    except OSError as error:
        raise WeightsError(f"{folder} cannot be written: {error}.") from error
