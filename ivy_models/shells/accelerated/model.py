"""transformers' ``PerceiverModel`` with a ``forward`` that runs the core if it can."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.models.perceiver import modeling_perceiver
from transformers.models.perceiver.modeling_perceiver import PerceiverModel, PerceiverModelOutput

from ivy_models.checkpoints.huggingface.config import spec_of
from ivy_models.checkpoints.huggingface.weights import from_torch_layout, huggingface_name
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import Tree, flatten, unflatten
from ivy_models.ops import ops_named
from ivy_models.shells.accelerated.inspection import Code, Inspected, Inspection
from ivy_models.shells.accelerated.interception import is_intercepted
from ivy_models.shells.accelerated.kinds import Kind, is_plain, kind_of
from ivy_models.shells.accelerated.structure import (
    Structure,
    structure_of,
    type_name,
)
from ivy_models.shells.call import check_inputs, check_queries
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec

# Attention makes its softmax in each call.
_CODE = Code(
    (modeling_perceiver,),
    (PerceiverModel, torch.nn.Softmax),
    settings=("output_postprocessor",),
)


@dataclass(frozen=True)
class _Plan:
    """How a perceiver runs on the core; computed once and shared by all of its copies.

    ``paths`` are the paths of the core's weights in the model, by the core's names.
    """

    class_name: str
    published: PerceiverIOSpec
    core: PerceiverIOCore
    kind: Kind
    expected: Structure
    paths: Mapping[str, str]

    def difference(self, model: Any) -> str | None:
        """How a perceiver differs from the expected one, except in its tensors, or None."""
        if found := Inspection.difference(self.expected, model, _CODE):
            return found
        if is_intercepted():  # numbers may be abstract
            return None
        # transformers chooses activations from a dict, in which a package may have replaced one.
        path = "encoder.cross_attention.mlp.intermediate_act_fn"
        x = torch.linspace(-4, 4, 33, dtype=torch.float32, device="cpu")
        mlp = self.core.spec.processor().settings.mlp
        expected, activation = mlp.activate(ops_named("torch"), x), model.get_submodule(path)
        if not torch.allclose(activation(x), expected, rtol=0, atol=1e-5):
            return f"perceiver.{path} does not compute {model.config.hidden_act}"
        return None

    def remembered(self, model: torch.nn.Module) -> Inspection:
        return Inspection(self.expected, model, _CODE)

    def knows(self, inspection: Inspection) -> bool:
        try:
            specs = [_spec_of(self.class_name, config) for config in inspection.configs]
        except WeightsError:
            return False
        return all(spec == self.published for spec in specs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Plan:
        return self


class AcceleratedPerceiverModel(Inspected, PerceiverModel):
    """A ``PerceiverModel`` that runs the core. :meth:`take` sets it as an instance's ``__class__``.

    Setting the instance's ``forward`` instead would not work. A function is bound to one object,
    so ``copy.deepcopy``, pickles and replicas of ``DataParallel`` would run it on the weights of
    the original, and a tool that replaces ``forward`` on an instance would remove it. With a class,
    each copy has its own methods, ``super`` finds later changes of ``PerceiverModel``, and
    parameters, hooks and ``isinstance`` do not change. The class keeps the name of its base,
    because transformers writes it to configurations and wrappers choose modules by it.
    """

    _plan: _Plan

    @classmethod
    def take(cls, perceiver: PerceiverModel, class_name: str) -> str | None:
        """Turn a perceiver into one of this class, if this library has its configuration.

        Parameters
        ----------
        perceiver
            A perceiver of this class or of transformers. One of another class does not change.
        class_name
            Class of the model with a head that contains it.

        Returns
        -------
        str or None
            Why it runs transformers' own code for now, if it does.
        """
        if type(perceiver) not in (PerceiverModel, cls):
            return f"its perceiver is a {type_name(type(perceiver))}"
        try:
            plan = _plan_of(class_name, perceiver.config)
        except WeightsError as error:
            return str(error).removesuffix(".")
        return cls._taken(perceiver, plan)

    def forward(
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
        """Run the core or ``PerceiverModel.forward``, with the same arguments and outputs."""
        inspection = None
        if not is_intercepted():
            config = self.config
            maps = config.output_attentions if output_attentions is None else output_attentions
            states = (
                config.output_hidden_states
                if output_hidden_states is None
                else output_hidden_states
            )
            if not (maps or states or interpolate_pos_encoding):
                inspection = self._inspected()
        if inspection is None or not self._takes(inputs, attention_mask, subsampled_output_points):
            return super().forward(
                inputs,
                attention_mask=attention_mask,
                subsampled_output_points=subsampled_output_points,
                output_attentions=output_attentions,
                output_hidden_states=output_hidden_states,
                interpolate_pos_encoding=interpolate_pos_encoding,
                return_dict=return_dict,
                **kwargs,
            )
        weights = self._weights(inspection)
        latents, logits = self._run(weights, inputs, attention_mask, subsampled_output_points)
        if not (self.config.return_dict if return_dict is None else return_dict):
            return logits, latents
        return PerceiverModelOutput(logits=logits, last_hidden_state=latents)

    def _takes(self, inputs: Any, attention_mask: Any, points: Any) -> bool:
        """Whether the core returns the same as transformers for these arguments."""
        spec, kind, like = self._plan.published, self._plan.kind, self.embeddings.latents
        tensors = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
        if isinstance(inputs, Mapping) != spec.input().has_modalities:
            return False
        if not all(is_plain(tensor, like) for tensor in tensors) or not kind.takes(inputs):
            return False
        if spec.output_modalities is not None and points is None:
            return False
        if attention_mask is None:
            return True
        # If all tokens are masked, transformers attends to all of them, and the core to none.
        return (
            spec.vocabulary_size is not None
            and is_plain(attention_mask, like)
            and attention_mask.shape == tensors[0].shape
            and attention_mask.device.type == "cpu"  # reading it would wait for another device
            and bool(attention_mask.bool().any(-1).all())
        )

    def _run(
        self, params: Tree, inputs: Any, attention_mask: Any, points: Any
    ) -> tuple[torch.Tensor, Any]:
        """Latents (B, N, D) and logits."""
        plan, ops = self._plan, ops_named("torch")
        spec, like = plan.core.spec, params["latents"]
        mask = None if attention_mask is None else attention_mask.bool()
        queries = None if points is None else {**points, "label": None}
        checked = check_inputs(ops, spec, like, plan.kind.to_data(inputs), mask)
        queries, _ = check_queries(
            ops, spec, like, queries, checked.batch_shape, checked.grid_shape
        )
        latents, outputs = plan.core.run(params, checked.data, checked.mask, queries)
        return latents, plan.kind.to_logits(outputs)

    def _weights(self, inspection: Inspection) -> Tree:
        """The current parameters, in this library's layout."""
        plan = self._plan
        weights = {
            name: from_torch_layout(name, inspection.tensor(path), torch.permute)
            for name, path in plan.paths.items()
        }
        for name in plan.kind.unused:
            # The sum of no rows is zero, with a gradient of zeros. Without a gradient of every
            # parameter, DistributedDataParallel would wait forever.
            weights["latents"] = weights["latents"] + weights[name][:0].sum()
        return unflatten(weights)


AcceleratedPerceiverModel.__name__ = PerceiverModel.__name__


def _plan_of(class_name: str, config: PretrainedConfig) -> _Plan:
    published = _spec_of(class_name, config)
    kind = kind_of(published)
    core, paths = PerceiverIOCore(published.replace(**kind.changes)), {}
    for name, _ in flatten(core.parameters()):
        theirs = name
        if published.stem == "frame_pair":
            theirs = name.replace("input/projection", "input/patch_projection")
        paths[name] = huggingface_name(theirs, published)
    expected = _expected_structure(class_name, config)
    return _Plan(class_name, published, core, kind, expected, paths)


def _expected_structure(class_name: str, config: PretrainedConfig) -> Structure:
    """The structure of the perceiver that transformers makes of a configuration."""
    with torch.device("meta"):
        model = getattr(modeling_perceiver, class_name)(copy.deepcopy(config))
    return structure_of(model.perceiver)


def _spec_of(class_name: str, config: PretrainedConfig) -> PerceiverIOSpec:
    # The parameters determine the data type, not the configuration. The core has no dropout.
    fixed = {"architectures": [class_name], "dtype": "float32", "attention_probs_dropout_prob": 0.0}
    return spec_of(config.to_dict() | fixed, "its configuration")
