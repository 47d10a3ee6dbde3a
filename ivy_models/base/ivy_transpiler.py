"""Ivy's transpiler and tracer, imported when they are used.

``import ivy`` imports both, and with them torch where it is installed, which takes several times
as long as the rest of Ivy. No model needs them. Imported after this library, Ivy does without them
until ``ivy.transpile`` is called, or anything else of these modules is used.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

FUNCTIONS = {"ivy.transpiler": ("source_to_source", "transpile"), "ivy.tracer": ("trace_graph",)}
"""What ``ivy/__init__.py`` takes from each module."""


def install() -> None:
    """Watch for the import of these modules."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in FUNCTIONS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Give the module functions that execute it when they are called."""
        lock, functions = threading.RLock(), FUNCTIONS[module.__name__]

        def get(name: str) -> Any:
            with lock:
                if name.startswith("__"):  # tools ask all modules for such, such as warnings
                    raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
                if vars(module).pop("__getattr__", None):
                    try:
                        super(_Loader, self).exec_module(module)
                    except BaseException:
                        vars(module)["__getattr__"] = get
                        raise
            return getattr(module, name)

        def call(name: str, *arguments: Any, **named: Any) -> Any:
            return get(name)(*arguments, **named)

        vars(module)["__getattr__"] = get
        vars(module).update({name: partial(call, name) for name in functions})
