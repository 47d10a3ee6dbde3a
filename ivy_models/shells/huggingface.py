"""Hugging Face transformers' Perceivers on this library's core, in place."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ivy_models.errors import WeightsError
from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.input_checks import check_inputs
from ivy_models.transformers.perceiver_io.parameters import Tree, flatten, unflatten
from ivy_models.transformers.perceiver_io.query_checks import check_queries
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
from ivy_models.weights.huggingface import from_torch_layout, huggingface_name
from ivy_models.weights.huggingface_config import CLASSES, spec_of


def accelerate(model: Any) -> Any:
    """Make a Perceiver of transformers compute the same faster, in less memory.

    Its ``perceiver`` then runs on this library's core, with the model's own parameters: they
    train, move and are saved as before. What the core does not compute runs as before too:
    attention maps and hidden states that are asked for, interpolated positions, dropout in
    training, texts of which nothing is attended to, and all outputs of the multimodal model at
    once.

    Parameters
    ----------
    model
        A ``PerceiverForMaskedLM``, ``PerceiverForSequenceClassification``, one of the three
        ``PerceiverForImageClassification``, ``PerceiverForOpticalFlow`` or
        ``PerceiverForMultimodalAutoencoding``. It is changed.

    Returns
    -------
    model
        The same object, of the same class.

    Raises
    ------
    WeightsError
        If it is of another class, or configured as this library has no model.
    """
    perceiver = getattr(model, "perceiver", None)
    names = [kind.__name__ for kind in type(model).__mro__ if kind.__name__ in CLASSES]
    if not names or perceiver is None:
        raise WeightsError(
            f"A {type(model).__name__} cannot be accelerated; pass a Perceiver of transformers "
            "with a head, such as PerceiverForImageClassificationFourier."
        )
    if "_core" not in vars(perceiver):
        config = model.config.to_dict() | {"architectures": names[:1]}
        perceiver._core = _core_of(spec_of(config, type(model).__name__), model)
        perceiver.forward = types.MethodType(_forward, perceiver)
    return model


@dataclass
class _Core:
    """A core, where its weights are, and what stands between its data and transformers'."""

    core: PerceiverIOCore
    owners: dict[str, tuple[torch.nn.Module, str]]
    to_data: Callable[[Any], Any]
    to_logits: Callable[[Any], Any]

    def weights(self) -> Tree:
        """The parameters as they are now, in this library's layout."""
        return unflatten(
            {
                name: from_torch_layout(name, getattr(module, attribute), torch.permute)
                for name, (module, attribute) in self.owners.items()
            }
        )


def _forward(
    self,
    inputs: Any,
    attention_mask: torch.Tensor | None = None,
    subsampled_output_points: dict[str, torch.Tensor] | None = None,
    output_attentions: bool | None = None,
    output_hidden_states: bool | None = None,
    interpolate_pos_encoding: bool = False,
    return_dict: bool | None = None,
    **kwargs: Any,
) -> Any:
    """``PerceiverModel.forward``: its arguments, its outputs."""
    config, ops, spec = self.config, ops_named("torch"), self._core.core.spec
    if (
        (config.output_attentions if output_attentions is None else output_attentions)
        or (config.output_hidden_states if output_hidden_states is None else output_hidden_states)
        or interpolate_pos_encoding
        or (self.training and config.attention_probs_dropout_prob)
        or (attention_mask is not None and not _is_usable(spec, attention_mask))
        or (spec.output_modalities is not None and subsampled_output_points is None)
    ):
        return type(self).forward(
            self,
            inputs,
            attention_mask,
            subsampled_output_points,
            output_attentions,
            output_hidden_states,
            interpolate_pos_encoding,
            return_dict,
            **kwargs,
        )
    params = self._core.weights()
    mask = None if attention_mask is None else attention_mask.bool()
    queries = subsampled_output_points and subsampled_output_points | {"label": None}
    checked = check_inputs(ops, spec, params["latents"], self._core.to_data(inputs), mask)
    queries, _ = check_queries(
        ops, spec, params["latents"], queries, checked.batch_shape, checked.grid_shape
    )
    latents, outputs = self._core.core.run(params, checked.data, checked.mask, queries)
    logits = self._core.to_logits(outputs)
    if not (config.return_dict if return_dict is None else return_dict):
        return logits, latents
    return _output_class(self)(logits=logits, last_hidden_state=latents)


def _is_usable(spec: PerceiverIOSpec, attention_mask: torch.Tensor) -> bool:
    """Whether the core gives what transformers does: where nothing is attended to it does not."""
    return spec.vocabulary_size is not None and bool((attention_mask > 0).any(-1).all())


def _output_class(perceiver: Any) -> type:
    return sys.modules[type(perceiver).__module__].PerceiverModelOutput


def _core_of(published: PerceiverIOSpec, model: torch.nn.Module) -> _Core:
    spec, to_data, to_logits = _kind(published)
    core, owners = PerceiverIOCore(spec), {}
    for name, _ in flatten(core.parameters()):
        theirs = name
        if published.stem == "frame_pair":
            theirs = name.replace("input/projection", "input/patch_projection")
        path, _, attribute = huggingface_name(theirs, published).rpartition(".")
        owners[name] = model.get_submodule(path), attribute
    return _Core(core, owners, to_data, to_logits)


def _kind(spec: PerceiverIOSpec) -> tuple[PerceiverIOSpec, Callable, Callable]:
    """What the core computes of it, from their data to its data, from its outputs to theirs."""
    if spec.input_modalities is not None:
        return spec, _modalities, _modality_logits
    if spec.tied_head:  # they decode all positions, and have the head elsewhere
        changes = {"query_per_input": False, "tied_head": False, "with_final_head": False}
        return spec.replace(**changes), _as_it_is, _as_it_is
    if spec.vocabulary_size is not None:
        return spec, _as_it_is, _first
    if spec.stem == "frame_pair":  # they take the neighbourhoods as channels
        changes = {"input_dim": 2 * 27, "num_input_axes": 2, "stem": "projection"}
        sizes = tuple(map(int, spec.max_fourier_freq))
        return spec.replace(**changes), _neighbourhoods, partial(_flow, sizes)
    return spec, _channels_last, _first


def _as_it_is(array):
    return array


def _channels_last(images):
    return images.movedim(-3, -1)


def _neighbourhoods(frames):
    """(B, 2, 27, Y, X) -> (B, Y, X, 54)."""
    return frames.flatten(1, 2).movedim(1, -1)


def _modalities(inputs):
    """All but the label, in whose place their mask token always stands."""
    return {"audio": inputs["audio"], "image": _channels_last(inputs["image"])}


def _first(outputs):
    return outputs[:, 0]


def _flow(sizes, outputs):
    return outputs.reshape(-1, *sizes, outputs.shape[-1])


def _modality_logits(outputs):
    audio, label = outputs["audio"].flatten(1), outputs["label"][:, 0]
    return {"audio": audio, "image": outputs["image"], "label": label}
