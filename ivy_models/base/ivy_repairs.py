"""Repairs of functions of Ivy that fail on newer releases of a framework or of NumPy.

Without them ``ivy.to_numpy(x)`` and ``print(x)`` fail. A repair replaces the code inside a function
of Ivy, so that it reaches every module that already holds the function, also where Ivy was imported
and its backend was set before this library. Ivy loads a second copy of its modules to print arrays;
the copy is repaired too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any

from ivy_models.base.import_hooks import Finder, Loader


@dataclass(frozen=True)
class Repair:
    """A function of one release of Ivy, and the release of a dependency that it fails on."""

    module: str
    function: str
    ivy: str
    dependency: str
    since: tuple[int, int]
    """The first release of the dependency that the function fails on."""
    replacement: Callable[..., Any]
    """Has the same arguments, and uses no names of this module."""

    def is_needed(self) -> bool:
        """Whether Ivy and the dependency are installed in releases that do not fit."""
        return version("ivy") == self.ivy and _release(version(self.dependency)) >= self.since


def _release(number: str) -> tuple[int, int]:
    major, minor = number.split(".")[:2]
    return int(major), int(minor)


def _to_array(x):
    # Compares names, because JAX 0.9 removed BatchTracer from its public modules.
    inside = {"JVPTracer": "primal", "DynamicJaxprTracer": "aval", "BatchTracer": "val"}
    while type(x).__name__ in inside:
        x = getattr(x, inside[type(x).__name__])
    return x


def _get_num_dims(x, /, *, as_array=False):
    import tensorflow as tf

    # Indexes the shape, because int() of an array with one axis fails since NumPy 2.4.
    rank = tf.shape(tf.shape(x))[0]
    return tf.cast(rank, tf.int64) if as_array else int(rank)


_BACKENDS = "ivy.functional.backends"

REPAIRS = (
    Repair(f"{_BACKENDS}.jax.device", "_to_array", "1.0.0.5", "jax", (0, 9), _to_array),
    Repair(
        f"{_BACKENDS}.tensorflow.general", "get_num_dims", "1.0.0.5", "numpy", (2, 4), _get_num_dims
    ),
)

_COPIER = "ivy.utils.backend.ast_helpers"
"""The module of Ivy that loads the second copy of its modules."""

_COPIES = "ivy.utils.backend.handler"
"""The module of Ivy that keeps these copies."""


def install() -> None:
    """Repair the modules of Ivy that are imported already, and the others when they are."""
    if Finder(dict.fromkeys(_WATCHED, _RepairingLoader)).install():
        for module in _imported():
            repair(module)


def repair(module: ModuleType) -> None:
    """Repair the functions of a module of Ivy that need it."""
    for fault in REPAIRS:
        if fault.module == module.__name__ and fault.is_needed():
            getattr(module, fault.function).__code__ = fault.replacement.__code__
    if module.__name__ == _COPIER:
        _repair_copies(module)


def _repair_copies(copier: Any) -> None:
    """Make Ivy's loader of copies repair what it loads."""
    execute = copier.IvyLoader.exec_module

    def exec_module(self: Any, module: ModuleType, *arguments: Any) -> None:
        execute(self, module, *arguments)
        repair(module)

    copier.IvyLoader.exec_module = exec_module


def _imported() -> Iterator[ModuleType]:
    """The imported modules of Ivy, with the copies of them."""
    yield from [module for name, module in sys.modules.items() if name in _WATCHED]
    for copies in getattr(sys.modules.get(_COPIES), "compiled_backends", {}).values():
        for ivy in copies:
            yield from ivy.utils.backend._importlib.import_cache.values()


_WATCHED = {_COPIER, *(fault.module for fault in REPAIRS)}


class _RepairingLoader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        repair(module)
