"""Hugging Face transformers' Perceivers on this library's core, in place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ivy_models.checkpoints.huggingface.config import CLASSES, spec_of
from ivy_models.checkpoints.huggingface.weights import from_torch_layout, huggingface_name
from ivy_models.errors import WeightsError
from ivy_models.ops import ops_named
from ivy_models.shells.call import check_queries
from ivy_models.shells.input_checks import check_inputs
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.parameters import Tree, flatten, unflatten
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


def accelerate(model: Any) -> Any:
    """Make a Perceiver of transformers compute the same faster, in less memory.

    Its ``perceiver`` then runs on this library's core, with the model's own parameters: they
    train, move and are saved as before. What the core does not compute runs as before too:
    attention maps and hidden states that are asked for, interpolated positions, dropout and batch
    norm in training, texts of which nothing is attended to, masks of more than two axes, all
    outputs of the multimodal model at once, programs of torch.compile and torch.export, and every
    model whose inner modules were replaced or hooked since, as adapters do.

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
    if type(perceiver).__name__ == ACCELERATED:
        return model
    if not names or type(perceiver).__name__ != "PerceiverModel":
        raise WeightsError(
            f"A {type(model).__name__} cannot be accelerated; pass a Perceiver of transformers "
            "with a head, such as PerceiverForImageClassificationFourier."
        )
    # The data type is the parameters', whatever the configuration says.
    config = model.config.to_dict() | {"architectures": names[:1], "dtype": "float32"}
    perceiver._core = _core_of(spec_of(config, type(model).__name__), perceiver)
    perceiver.__class__ = _accelerated_class(type(perceiver))
    return model


ACCELERATED = "AcceleratedPerceiverModel"


@functools.cache
def _accelerated_class(base: type) -> type:
    """``PerceiverModel`` that calls the core; a class, so that copies and replicas bind anew."""
    methods = {"forward": _forward, "forward_as_before": base.forward}
    return type(ACCELERATED, (base,), methods | {"__module__": __name__})


def __getattr__(name: str) -> type:
    """Find the class for pickle; transformers is imported only now."""
    if name != ACCELERATED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from transformers.models.perceiver.modeling_perceiver import PerceiverModel

    return _accelerated_class(PerceiverModel)


@dataclass
class _Core:
    """A core, where its weights are, and what stands between its data and transformers'.

    ``places`` are names of modules in the perceiver and of their parameters; ``modules`` the
    perceiver's when it was accelerated.
    """

    core: PerceiverIOCore
    places: dict[str, tuple[str, str]]
    modules: dict[str, torch.nn.Module]
    kind: _Kind

    def weights(self) -> Tree:
        """The parameters as they are now, in this library's layout."""
        return unflatten(
            {
                name: from_torch_layout(name, getattr(self.modules[path], attribute), torch.permute)
                for name, (path, attribute) in self.places.items()
            }
        )

    def computes_what_they_do(self, perceiver: torch.nn.Module) -> bool:
        """Whether the modules are still those that were looked at, and none is random."""
        modules = dict(perceiver.named_modules())
        modules.pop("")
        return modules.keys() == self.modules.keys() and not any(
            module is not self.modules[name]
            or module._forward_hooks
            or module._forward_pre_hooks
            or (isinstance(module, torch.nn.Dropout) and module.training and module.p)
            or (isinstance(module, torch.nn.BatchNorm2d) and module.training)
            for name, module in modules.items()
        )


def _forward(
    self: Any,
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
    config, kind, spec = self.config, self._core.kind, self._core.core.spec
    asks_for_maps = config.output_attentions if output_attentions is None else output_attentions
    asks_for_states = (
        config.output_hidden_states if output_hidden_states is None else output_hidden_states
    )
    if (
        asks_for_maps
        or asks_for_states
        or interpolate_pos_encoding
        or torch.compiler.is_compiling()
        or not kind.takes(inputs)
        or (attention_mask is not None and not _is_usable(spec, attention_mask))
        or (spec.output_modalities is not None and subsampled_output_points is None)
        or not self._core.computes_what_they_do(self)
    ):
        return self.forward_as_before(
            inputs,
            attention_mask,
            subsampled_output_points,
            output_attentions,
            output_hidden_states,
            interpolate_pos_encoding,
            return_dict,
            **kwargs,
        )
    ops, params = ops_named("torch"), self._core.weights()
    mask = None if attention_mask is None else attention_mask.bool()
    queries = subsampled_output_points and subsampled_output_points | {"label": None}
    checked = check_inputs(ops, spec, params["latents"], kind.to_data(inputs), mask)
    queries, _ = check_queries(
        ops, spec, params["latents"], queries, checked.batch_shape, checked.grid_shape
    )
    latents, outputs = self._core.core.run(params, checked.data, checked.mask, queries)
    logits = kind.to_logits(outputs)
    if not (config.return_dict if return_dict is None else return_dict):
        return logits, latents
    from transformers.models.perceiver.modeling_perceiver import PerceiverModelOutput

    return PerceiverModelOutput(logits=logits, last_hidden_state=latents)


def _is_usable(spec: PerceiverIOSpec, attention_mask: torch.Tensor) -> bool:
    """Whether the core gives what transformers does: where nothing is attended to it does not."""
    is_of_tokens = spec.vocabulary_size is not None and attention_mask.ndim == 2
    return is_of_tokens and bool((attention_mask > 0).any(-1).all())


def _core_of(published: PerceiverIOSpec, perceiver: torch.nn.Module) -> _Core:
    kind = _kind(published)
    core, places = PerceiverIOCore(published.replace(**kind.changes)), {}
    for name, _ in flatten(core.parameters()):
        theirs = name
        if published.stem == "frame_pair":
            theirs = name.replace("input/projection", "input/patch_projection")
        path, _, attribute = huggingface_name(theirs, published).rpartition(".")
        places[name] = path.removeprefix("perceiver."), attribute
    modules = dict(perceiver.named_modules())
    modules.pop("")
    return _Core(core, places, modules, kind)


# The kinds of models: how what the core computes of them differs from the published spec, which
# inputs they take, their data as the core's, the core's outputs as theirs.


@dataclass
class _Kind:
    changes: dict[str, Any]
    takes: Callable[[Any], bool]
    to_data: Callable[[Any], Any]
    to_logits: Callable[[Any], Any]


def _kind(spec: PerceiverIOSpec) -> _Kind:
    if spec.input_modalities is not None:
        return _Kind({}, _are_modalities, _modalities, _modality_logits)
    if spec.tied_head:  # they decode all positions, and have the head elsewhere
        changes = {"query_per_input": False, "tied_head": False, "with_final_head": False}
        return _Kind(changes, _are_tokens, _as_it_is, _as_it_is)
    if spec.vocabulary_size is not None:
        return _Kind({}, _are_tokens, _as_it_is, _first)
    if spec.stem == "frame_pair":  # they take the neighbourhoods as channels
        changes = {"input_dim": 2 * 27, "num_input_axes": 2, "stem": "projection"}
        sizes = tuple(map(int, spec.max_fourier_freq))
        return _Kind(
            changes,
            functools.partial(_are_frames, sizes),
            _neighbourhoods,
            functools.partial(_flow, sizes),
        )
    return _Kind({}, _are_images, _channels_last, _first)


def _are_tokens(inputs):
    return inputs.ndim == 2


def _are_images(inputs):
    return inputs.ndim == 4


def _are_frames(sizes, inputs):
    return inputs.ndim == 5 and tuple(inputs.shape[1:]) == (2, 27, *sizes)


def _are_modalities(inputs):
    return inputs.keys() == {"audio", "image", "label"} and inputs["image"].ndim == 5


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
    return outputs.reshape(outputs.shape[0], *sizes, outputs.shape[-1])


def _modality_logits(outputs):
    audio, label = outputs["audio"].flatten(1), outputs["label"][:, 0]
    return {"audio": audio, "image": outputs["image"], "label": label}
