"""Reads and writes the labels, preprocessing and tokenizer of a transformers folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ivy_models.checkpoints.files import read_json
from ivy_models.errors import SpecError, WeightsError
from ivy_models.preprocessing import ByteTokenizer, ImagePreprocessing
from ivy_models.preprocessing.text import SPECIAL_TOKENS
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

PREPROCESSOR_FILE = "preprocessor_config.json"
TOKENIZER_FILE = "tokenizer_config.json"

BICUBIC = 3
"""Pillow's number for bicubic resampling."""

_CROP = 256
"""Default crop_size of transformers: the crop is size / crop_size of the image's shorter side."""

# transformers' defaults for values that a folder does not name.
_DEFAULTS: dict[str, Any] = {
    "size": 224,
    "crop_size": _CROP,
    "do_center_crop": True,
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": BICUBIC,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def read_attributes(folder: Path, config: dict[str, Any], spec: PerceiverIOSpec) -> dict[str, Any]:
    """Read a model's labels, preprocessing and tokenizer from its folder, by attribute name.

    Parameters
    ----------
    folder
        The folder, which may have a preprocessor_config.json.
    config
        Contents of its config.json.
    spec
        Spec of the model in the folder.

    Raises
    ------
    WeightsError
        If a file cannot be read.
    """
    task = labels_and_tokenizer(config, spec)
    path = folder / PREPROCESSOR_FILE
    takes_images = spec.num_input_axes == 2 and spec.input_modalities is None
    if takes_images and path.exists():
        preprocessing = _preprocessing(read_json(path), str(path))
        if preprocessing is not None:
            task["preprocessing"] = preprocessing
    return task


def labels_and_tokenizer(config: Mapping[str, Any], spec: PerceiverIOSpec) -> dict[str, Any]:
    """The labels that a config.json names, and the tokenizer if the vocabulary is of bytes."""
    task: dict[str, Any] = {}
    if labels := _labels(config.get("id2label")):
        task["labels"] = labels
    if spec.vocabulary_size == 256 + len(SPECIAL_TOKENS):
        task["tokenizer"] = ByteTokenizer(max_length=(spec.learned_position_shape or (2048,))[0])
    return task


def _labels(names: Any) -> tuple[str, ...] | None:
    """Names of classes, or None if they are only the placeholders that transformers writes."""
    if not isinstance(names, dict):
        return None
    try:
        labels = tuple(names[key] for key in sorted(names, key=int))
    except ValueError:
        return None
    if labels == placeholders(len(labels)) or not all(isinstance(n, str) for n in labels):
        return None
    return labels


def placeholders(count: int) -> tuple[str, ...]:
    """Names that transformers gives to classes without a name."""
    return tuple(f"LABEL_{label}" for label in range(count))


def _preprocessing(config: dict[str, Any], source: str) -> ImagePreprocessing | None:
    values = _DEFAULTS | {name: value for name, value in config.items() if value is not None}
    size, crop = _size(values["size"]), _size(values["crop_size"])
    steps = ("do_center_crop", "do_resize", "do_rescale")
    is_known = (
        size is not None
        and crop is not None
        and size[0] == size[1] <= crop[0] == crop[1]
        and all(values[step] is True for step in steps)
        and values["resample"] == BICUBIC
        and abs(values["rescale_factor"] - 1 / 255) < 1e-6
    )
    normalise = values["do_normalize"]
    try:
        if is_known and size and crop:
            return ImagePreprocessing(
                size,
                crop_fraction=size[0] / crop[0],
                mean=values["image_mean"] if normalise else 0.0,
                std=values["image_std"] if normalise else 1.0,
                crop_rounding="down",
            )
    except SpecError as error:
        raise WeightsError(f"{source}: {error}") from error
    warnings.warn(
        f"{source} describes preprocessing that this library does not have, so the model has none. "
        "Set model.preprocessing yourself. This library reads a square centre crop, a bicubic "
        "resize to a square, and the scale 1/255.",
        stacklevel=2,
    )
    return None


def _size(size: Any) -> tuple[int, int] | None:
    """Height and width from {"height": 224, "width": 224}, or from one number for both."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and size.keys() == {"height", "width"}:
        return size["height"], size["width"]
    return None


def attribute_files(preprocessing: Any, tokenizer: Any) -> dict[str, bytes]:
    """Files for transformers' pipeline, to be written beside config.json and the weights.

    Warns of preprocessing that transformers does not have; it is not written.
    """
    files: dict[str, Any] = {}
    if isinstance(preprocessing, ImagePreprocessing) and preprocessing.channels == 3:
        height, width = preprocessing.size
        fraction = preprocessing.crop_fraction
        files[PREPROCESSOR_FILE] = {
            **{step: True for step in _DEFAULTS if step.startswith("do_")},
            "image_processor_type": "PerceiverImageProcessor",
            "size": {"height": height, "width": width},
            "crop_size": {"height": round(height / fraction), "width": round(width / fraction)},
            "resample": BICUBIC,
            "rescale_factor": 1 / 255,
            "image_mean": list(preprocessing.mean),  # type: ignore[arg-type]
            "image_std": list(preprocessing.std),  # type: ignore[arg-type]
        }
        if height != width:
            del files[PREPROCESSOR_FILE]
    if preprocessing is not None and PREPROCESSOR_FILE not in files:
        warnings.warn(
            "This preprocessing is not written, because transformers has only one for square RGB "
            f"images; got {preprocessing!r}.",
            stacklevel=3,
        )
    if isinstance(tokenizer, ByteTokenizer):
        names = ("pad", "bos", "eos", "mask", "cls", "sep")
        files[TOKENIZER_FILE] = {
            "tokenizer_class": "PerceiverTokenizer",
            "model_max_length": tokenizer.max_length,
            **{f"{n}_token": token for n, token in zip(names, SPECIAL_TOKENS, strict=True)},
        }
    return {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in files.items()}
