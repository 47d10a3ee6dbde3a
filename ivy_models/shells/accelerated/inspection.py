"""An inspection of a perceiver's modules that each call can repeat cheaply."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.models.perceiver import modeling_perceiver

from ivy_models.shells.accelerated.originals import (
    function_names,
    replaced_function,
    replaced_method,
)
from ivy_models.shells.accelerated.structure import (
    Slot,
    Structure,
    perceiver_difference,
    slots,
)

# Modules whose functions the code of a perceiver calls.
_MODULES = (torch, torch.nn, torch.nn.functional, modeling_perceiver)

# Attributes that may change without a new inspection: tensors are checked in each call, and the
# others do not matter.
_NOT_WATCHED = {
    "training",
    "_parameters",
    "_buffers",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
}


class Inspection:
    """Remembers the modules of a perceiver that are as expected, to detect changes quickly.

    A full comparison with the expected structure takes milliseconds. So its findings are
    remembered, and a call only checks that nothing has changed: a few comparisons of tuples and
    dicts for each module, without calls of Python functions.

    Parameters
    ----------
    expected
        The structure that transformers makes of the configuration.
    perceiver
        A perceiver without a :meth:`difference` from it.
    """

    def __init__(self, expected: Structure, perceiver: torch.nn.Module):
        modules = list(dict.fromkeys(perceiver.modules()))
        self._root = dict(perceiver._modules), vars(perceiver).get("output_postprocessor")
        self._modules = [_remembered(module) for module in modules if module is not perceiver]
        self.configs = _configs(modules)
        self._namespaces = [
            (vars(thing), dict(vars(thing))) for thing in (*_classes(modules), *self.configs)
        ]
        self._functions = [_remembered_functions(vars(module)) for module in _MODULES]
        self._random = [
            module
            for module in modules
            if isinstance(module, (torch.nn.Dropout, torch.nn.BatchNorm2d))
        ]
        self.slots: list[Slot] = list(slots(expected, perceiver, "perceiver"))
        self._slot_of = {slot[0]: slot for slot in self.slots}

    @staticmethod
    def difference(expected: Structure, perceiver: torch.nn.Module) -> str | None:
        """How a perceiver or the code of its classes differs from the expected one, or None."""
        if found := perceiver_difference(expected, perceiver):
            return found
        for module in _MODULES:
            if name := replaced_function(vars(module)):
                return f"{name} was replaced"
        for kind in _classes(list(perceiver.modules())):
            if name := replaced_method(kind):
                return f"{name} was replaced"
        return None

    def holds_for(self, perceiver: torch.nn.Module) -> bool:
        """Whether nothing has changed. ``perceiver`` may be a replica of the inspected one."""
        found = vars(perceiver)
        if (found["_modules"], found.get("output_postprocessor")) != self._root:
            return False
        try:
            for module, kind, size, get, values in self._modules:
                attributes = module.__dict__
                if type(module) is not kind or len(attributes) != size or get(attributes) != values:
                    return False
            for namespace, get, functions in self._functions:
                if get(namespace) != functions:
                    return False
        except KeyError:  # an attribute was removed, and another one added
            return False
        return all(found == remembered for found, remembered in self._namespaces)

    def tensor(self, path: str) -> torch.Tensor:
        """The current tensor at a path such as "perceiver.embeddings.latents"."""
        _, module, store, name, _ = self._slot_of[path]
        return vars(module)[store][name]

    def is_random(self) -> bool:
        """Whether dropout is active, or batch norm is in training."""
        return any(
            module.training and getattr(module, "p", 1) != 0  # batch norm has no p
            for module in self._random
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles of a perceiver start with None and are inspected anew."""
        return type(None), ()


def _remembered(module: torch.nn.Module) -> tuple:
    attributes = vars(module)
    names = [name for name in attributes if name not in _NOT_WATCHED]
    values = tuple(_copied(attributes[name]) for name in names)
    return module, type(module), len(attributes), itemgetter(*names), values


def _remembered_functions(namespace: Mapping[str, Any]) -> tuple:
    # Not the whole namespace, because modules such as torch.onnx are imported on first use.
    get = itemgetter(*function_names(namespace))
    return namespace, get, get(namespace)


def _copied(value: Any) -> Any:
    """A copy that later changes in place do not affect."""
    if isinstance(value, Mapping):
        return {name: _copied(inner) for name, inner in value.items()}
    return list(map(_copied, value)) if isinstance(value, list) else value


def _classes(modules: list[torch.nn.Module]) -> list[type]:
    """The classes whose code runs within the perceiver, the first of ``modules``."""
    kinds = {kind for module in modules[1:] for kind in type(module).__mro__}
    ours = {kind for kind in kinds if issubclass(kind, torch.nn.Module)}
    # Attention makes its softmax in each call.
    return [*ours, modeling_perceiver.PerceiverModel, torch.nn.Softmax, torch.Tensor]


def _configs(modules: list[torch.nn.Module]) -> list[PretrainedConfig]:
    found = {
        id(value): value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, PretrainedConfig)
    }
    return list(found.values())
