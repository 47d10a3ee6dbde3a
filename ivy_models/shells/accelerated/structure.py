"""The expected structure of a model's modules as plain data, and comparison with it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

# torch's own attributes of every module, and a mark that transformers sets while it loads.
_BOOKKEEPING = vars(torch.nn.Module()).keys() | {"_is_hf_initialized"}

_TENSOR_KINDS = {"_parameters": torch.nn.Parameter, "_buffers": torch.Tensor}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Shape = tuple[int, ...]

Slot = tuple[str, torch.nn.Module, str, str, Shape | None]
"""The place of a tensor: its path, its module, "_parameters" or "_buffers", its name in that dict,
and its expected shape, or None if the entry must be None."""


@dataclass(frozen=True)
class Structure:
    """A module without its weights: its class, attributes, shapes of tensors, and parts.

    ``shapes`` are keyed by the store, "_parameters" or "_buffers", and the name.
    """

    kind: type
    settings: Mapping[str, Any]
    shapes: Mapping[tuple[str, str], Shape | None]
    parts: Mapping[str, Structure | None]


def structure_of(module: torch.nn.Module) -> Structure:
    """The structure of a module and its parts."""
    shapes = {
        (store, name): None if tensor is None else tuple(tensor.shape)
        for store in _TENSOR_KINDS
        for name, tensor in vars(module)[store].items()
        if tensor is None or tensor.is_floating_point()
    }
    parts = {
        name: None if part is None else structure_of(part) for name, part in module._modules.items()
    }
    return Structure(type(module), _settings(module), shapes, parts)


def is_config(value: Any) -> bool:
    """Whether a value is a configuration of transformers, which need not be installed."""
    transformers = sys.modules.get("transformers")
    return transformers is not None and isinstance(value, transformers.PretrainedConfig)


def _settings(module: torch.nn.Module) -> dict[str, Any]:
    """Attributes that a module's code reads, except tensors and parts.

    The configuration is left out, because it is checked as a whole, and so is the rate of dropout,
    which matters only in training, where the original code runs.
    """
    return {
        name: value
        for name, value in vars(module).items()
        if name not in _BOOKKEEPING
        and not is_config(value)
        and not (isinstance(module, torch.nn.Dropout) and name == "p")
    }


def model_difference(
    expected: Structure, model: torch.nn.Module, settings: tuple[str, ...]
) -> str | None:
    """How a model's modules, and those of its own attributes, differ from the expected, or None.

    The model itself may have hooks and its own ``forward``, because those run around the
    computation inside it.
    """
    for name in settings:
        found = vars(model).get(name)
        if not _is_same(found, expected.settings.get(name)):
            return f"perceiver.{name} is {found!r}"
    return next(_differing_parts(expected, model, "perceiver"), None)


def _differences(expected: Structure, module: torch.nn.Module, path: str) -> Iterator[str]:
    if type(module) is not expected.kind:
        yield f"{path} is a {type_name(type(module))}, not a {type_name(expected.kind)}"
        return
    if any(vars(module)[hooks] for hooks in HOOKS):
        yield f"{path} has a hook"
    found = vars(module)
    for name, value in expected.settings.items():
        if name not in found:
            yield f"{path} has no {name}"
        elif not _is_same(found[name], value):
            yield f"{path}.{name} is {found[name]!r}, not {value!r}"
    shadowed = {name for _, name in expected.shapes} | expected.parts.keys()
    for name in found.keys() - expected.settings.keys() - _BOOKKEEPING:
        # Other attributes do not matter, because the module's code does not read them.
        if name in shadowed or hasattr(type(module), name):
            if is_config(found[name]) or name == "p":
                continue
            yield f"{path} has a {name} of its own"
    yield from _differing_parts(expected, module, path)


def _differing_parts(expected: Structure, module: torch.nn.Module, path: str) -> Iterator[str]:
    found = module._modules
    if list(found) != list(expected.parts):
        yield f"{path} has the parts {_listed(found)}, not {_listed(expected.parts)}"
        return
    for name, part in expected.parts.items():
        inner = found[name]
        if part is None or inner is None:
            if part is not inner:
                yield f"{path}.{name} was set or removed"
        else:
            yield from _differences(part, inner, f"{path}.{name}")


def _is_same(found: Any, expected: Any) -> bool:
    if isinstance(found, functools.partial) and isinstance(expected, functools.partial):
        return (found.func, found.args, found.keywords) == (
            expected.func,
            expected.args,
            expected.keywords,
        )
    if isinstance(found, MethodType) and isinstance(expected, MethodType):
        # An activation may keep one of its own methods.
        return found.__func__ is expected.__func__ and type(found.__self__) is type(
            expected.__self__
        )
    return type(found) is type(expected) and bool(found == expected)


def type_name(kind: type) -> str:
    """The full name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _listed(parts: Mapping[str, Any]) -> str:
    return ", ".join(parts) or "none"


# Tensors, which may change from call to call


def slots(expected: Structure, module: torch.nn.Module, path: str) -> Iterator[Slot]:
    """The places of all tensors of a module with the expected structure."""
    for (store, name), shape in expected.shapes.items():
        yield f"{path}.{name}", module, store, name, shape
    for name, part in expected.parts.items():
        inner = module._modules[name]
        if part is not None and inner is not None:
            yield from slots(part, inner, f"{path}.{name}")


def tensor_difference(places: list[Slot]) -> str | None:
    """Why the core cannot run on the tensors in these places, or None if it can."""
    first = None
    for path, module, store, name, shape in places:
        tensor = module.__dict__[store].get(name)
        if tensor is None or shape is None:
            if tensor is not shape:
                return f"{path} was added or removed"
            continue
        if type(tensor) is not _TENSOR_KINDS[store] or tensor.layout is not torch.strided:
            return f"{path} is a {type_name(type(tensor))} of layout {tensor.layout}"
        if tensor.shape != shape:
            return f"{path} has shape {tuple(tensor.shape)}, not {shape}"
        if first is None:
            first = tensor
            if first.dtype not in _FLOATS or first.device.type == "meta":
                return f"{path} is of type {first.dtype} on the device {first.device}"
        elif tensor.dtype is not first.dtype or tensor.device != first.device:
            return (
                f"{path} is of type {tensor.dtype} on the device {tensor.device}, others are of "
                f"type {first.dtype} on {first.device}"
            )
    return None
