"""The kinds of models: conversion of their inputs and outputs between transformers and the core."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


@dataclass(frozen=True)
class Kind:
    """How to run a model of transformers on the core.

    Parameters
    ----------
    changes
        Fields in which the core's spec differs from the published model's.
    takes
        Whether the core accepts these inputs. Other inputs are left to transformers.
    to_data
        Converts inputs to the core's data.
    to_logits
        Converts the core's outputs to logits.
    unused
        Weights that transformers multiplies by zero and the core does not use at all.
    """

    changes: Mapping[str, Any]
    takes: Callable[[Any], bool]
    to_data: Callable[[Any], Any]
    to_logits: Callable[[Any], Any]
    unused: tuple[str, ...] = ()


def kind_of(spec: PerceiverIOSpec) -> Kind:
    """The kind of a published model."""
    if spec.input_modalities is not None:
        tokens = ("input/audio/mask_token", "input/image/mask_token")
        return Kind({}, _are_modalities, _modalities, _modality_logits, tokens)
    if spec.tied_head:  # their perceiver decodes all positions; the head is outside it
        changes = {"query_per_input": False, "tied_head": False, "with_final_head": False}
        return Kind(changes, _are_tokens, _unchanged, _unchanged)
    if spec.vocabulary_size is not None:
        return Kind({}, _are_tokens, _unchanged, _first)
    if spec.stem == "frame_pair":  # their inputs have the neighbourhoods as channels
        changes = {"input_dim": 2 * 27, "num_input_axes": 2, "stem": "projection"}
        sizes = tuple(map(int, _as_tuple(spec.max_fourier_freq)))
        are_frames = functools.partial(_are_frames, sizes)
        return Kind(changes, are_frames, _neighbourhoods, functools.partial(_flow, sizes))
    return Kind({}, _are_images, _channels_last, _first)


def is_plain(value: Any, like: torch.Tensor) -> bool:
    """Whether a value is a dense tensor, not of a subclass, on the device of another tensor."""
    plain = type(value) in (torch.Tensor, torch.nn.Parameter)
    return plain and value.layout is torch.strided and value.device == like.device


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _are_tokens(inputs: torch.Tensor) -> bool:
    return inputs.ndim == 2


def _are_images(inputs: torch.Tensor) -> bool:
    return inputs.ndim == 4


def _are_frames(sizes: tuple[int, ...], inputs: torch.Tensor) -> bool:
    return inputs.ndim == 5 and tuple(inputs.shape[1:]) == (2, 27, *sizes)


def _are_modalities(inputs: Mapping[str, torch.Tensor]) -> bool:
    return inputs.keys() == {"audio", "image", "label"} and inputs["image"].ndim == 5


def _unchanged(array: torch.Tensor) -> torch.Tensor:
    return array


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.movedim(-3, -1)


def _neighbourhoods(frames: torch.Tensor) -> torch.Tensor:
    """(B, 2, 27, Y, X) -> (B, Y, X, 54)."""
    return frames.flatten(1, 2).movedim(1, -1)


def _modalities(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All inputs except the label, which transformers replaces by its mask token in every call."""
    return {"audio": inputs["audio"], "image": _channels_last(inputs["image"])}


def _first(outputs: torch.Tensor) -> torch.Tensor:
    return outputs[:, 0]


def _flow(sizes: tuple[int, ...], outputs: torch.Tensor) -> torch.Tensor:
    return outputs.reshape(outputs.shape[0], *sizes, outputs.shape[-1])


def _modality_logits(outputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    audio, label = outputs["audio"].flatten(1), outputs["label"][:, 0]
    return {"audio": audio, "image": outputs["image"], "label": label}
