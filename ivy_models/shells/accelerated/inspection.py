"""An inspection of a model's modules that each call can repeat cheaply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol, cast

import torch

from ivy_models.shells.accelerated.originals import (
    function_names,
    replaced_function,
    replaced_method,
)
from ivy_models.shells.accelerated.structure import (
    Slot,
    Structure,
    is_config,
    model_difference,
    slots,
    tensor_difference,
)


@dataclass(frozen=True)
class Code:
    """The original code that a model would run.

    Parameters
    ----------
    modules
        Modules whose functions it calls, besides torch's.
    classes
        Classes whose methods it calls, besides those of the model's parts.
    settings
        Names of the model's own attributes that it reads. Parts are compared as a whole.
    """

    modules: tuple[Any, ...]
    classes: tuple[type, ...]
    settings: tuple[str, ...]

    @property
    def all_modules(self) -> tuple[Any, ...]:
        """All modules whose functions it calls."""
        return (torch, torch.nn, torch.nn.functional, *self.modules)


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
    """Remembers the modules of a model that are as expected, to detect changes quickly.

    A full comparison with the expected structure takes milliseconds. So its findings are
    remembered, and a call only checks that nothing has changed: a few comparisons of tuples and
    dicts for each module, without calls of Python functions.

    Parameters
    ----------
    expected
        The structure that the original code makes of the model's configuration.
    model
        A model without a :meth:`difference` from it.
    code
        The original code.
    """

    def __init__(self, expected: Structure, model: torch.nn.Module, code: Code):
        modules = list(dict.fromkeys(model.modules()))
        self._settings = code.settings
        self._root = self._root_of(model)
        self._modules = [_remembered(module) for module in modules if module is not model]
        self.configs = _configs(modules)
        self._namespaces = [
            (vars(thing), dict(vars(thing))) for thing in (*_classes(modules, code), *self.configs)
        ]
        self._functions = [_remembered_functions(vars(module)) for module in code.all_modules]
        self._random = [
            module
            for module in modules
            if isinstance(module, (torch.nn.Dropout, torch.nn.BatchNorm2d))
        ]
        self.slots: list[Slot] = list(slots(expected, model, "perceiver"))
        self._slot_of = {slot[0]: slot for slot in self.slots}

    def _root_of(self, model: torch.nn.Module) -> tuple[dict[str, Any], list[Any]]:
        found = vars(model)
        return dict(found["_modules"]), [_copied(found.get(name)) for name in self._settings]

    @staticmethod
    def difference(expected: Structure, model: torch.nn.Module, code: Code) -> str | None:
        """How a model or the code of its classes differs from the expected one, or None."""
        if found := model_difference(expected, model, code.settings):
            return found
        for module in code.all_modules:
            if name := replaced_function(vars(module)):
                return f"{name} was replaced"
        for kind in _classes(list(model.modules()), code):
            if name := replaced_method(kind):
                return f"{name} was replaced"
        return None

    def holds_for(self, model: torch.nn.Module) -> bool:
        """Whether nothing has changed. ``model`` may be a replica of the inspected one."""
        if self._root_of(model) != self._root:
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
        """Copies and pickles of a model start with None and are inspected anew."""
        return type(None), ()


class Plan(Protocol):
    """How a model runs on the core."""

    def difference(self, model: Any) -> str | None:
        """How a model differs from the expected one, except in its tensors, or None."""
        raise NotImplementedError

    def remembered(self, model: Any) -> Inspection:
        """The inspection of a model without a :meth:`difference`."""
        raise NotImplementedError

    def knows(self, inspection: Inspection) -> bool:
        """Whether the configurations of an inspected model are those of the plan."""
        raise NotImplementedError


class Inspected:
    """What accelerated classes share: they are inspected when they are taken and in each call."""

    _plan: Any
    _inspection: Inspection | None

    @classmethod
    def _taken(cls, model: Any, plan: Plan) -> str | None:
        """Make a model one of this class; return why it runs its original code, if it does."""
        vars(model).update(_plan=plan, _inspection=None)
        model.__class__ = cls
        if found := plan.difference(model):
            return found
        return tensor_difference(plan.remembered(model).slots)

    def _inspected(self) -> Inspection | None:
        """The inspection of the current modules, or None if the core cannot compute the same."""
        inspection: Inspection | None = self._inspection
        if inspection is None or not inspection.holds_for(cast("torch.nn.Module", self)):
            plan: Plan = self._plan
            inspection = None if plan.difference(self) else plan.remembered(self)
            if inspection is not None and not plan.knows(inspection):
                inspection = None
            self._inspection = inspection
        if inspection is None or inspection.is_random() or tensor_difference(inspection.slots):
            return None
        return inspection


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


def _classes(modules: list[torch.nn.Module], code: Code) -> list[type]:
    """The classes whose code runs within the model, the first of ``modules``."""
    kinds = {kind for module in modules[1:] for kind in type(module).__mro__}
    ours = {kind for kind in kinds if issubclass(kind, torch.nn.Module)}
    return [*ours, *code.classes, torch.Tensor]


def _configs(modules: list[torch.nn.Module]) -> list[Any]:
    found = {
        id(value): value
        for module in modules
        for value in vars(module).values()
        if is_config(value)
    }
    return list(found.values())
