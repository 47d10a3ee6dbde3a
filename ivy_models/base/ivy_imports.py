"""What Ivy imports and no model needs, imported when it is used.

``import ivy`` imports its transpiler and tracer, and with them torch where it is installed, which
takes several times as long as the rest of Ivy. Its torch backend imports torch's compiler, which
takes as long as torch. Imported after this library, Ivy does without them until somebody calls
``ivy.transpile`` or ``torch.compile``, or uses anything else of these modules.
"""

from __future__ import annotations

import importlib
import sys
import threading
from functools import partial
from types import ModuleType
from typing import Any

from ivy_models.base.import_hooks import Finder, Loader

FUNCTIONS = {"ivy.transpiler": ("source_to_source", "transpile"), "ivy.tracer": ("trace_graph",)}
"""What ``ivy/__init__.py`` takes from each module."""

_BACKEND, _COMPILER = "ivy.functional.backends.torch", "torch._dynamo"


def install() -> None:
    """Watch for the import of these modules."""
    Finder(_LOADERS).install()


class _Deferring(Loader):
    def exec_module(self, module: ModuleType) -> None:
        """Give the module functions that execute it when they are called."""
        lock, functions = threading.RLock(), FUNCTIONS[module.__name__]

        def get(name: str) -> Any:
            with lock:
                if name.startswith("__"):  # tools ask all modules for such, such as warnings
                    raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
                if vars(module).pop("__getattr__", None):
                    try:
                        super(_Deferring, self).exec_module(module)
                    except BaseException:
                        vars(module)["__getattr__"] = get
                        raise
            return getattr(module, name)

        def call(name: str, *arguments: Any, **named: Any) -> Any:
            return get(name)(*arguments, **named)

        vars(module)["__getattr__"] = get
        vars(module).update({name: partial(call, name) for name in functions})


class _WithoutCompiler(Loader):
    def exec_module(self, module: ModuleType) -> None:
        """Execute Ivy's torch backend, to which torch seems to have no compiler.

        ``hasattr(torch, "_dynamo")``, which Ivy asks, imports it.
        """
        torch: ModuleType = importlib.import_module("torch")
        get = vars(torch).get("__getattr__")
        if get is None or _COMPILER in sys.modules:
            super().exec_module(module)
            return

        def get_others(name: str) -> Any:
            if name == "_dynamo":
                raise AttributeError(name)
            return get(name)

        vars(torch)["__getattr__"] = get_others
        try:
            super().exec_module(module)
        finally:
            vars(torch)["__getattr__"] = get


class _KnowingIvy(Loader):
    def exec_module(self, module: ModuleType) -> None:
        """Execute torch's compiler, and tell it what Ivy's torch backend would have."""
        super().exec_module(module)
        if _BACKEND in sys.modules:
            module.config.traceable_tensor_subclasses = (sys.modules["ivy"].Array,)


_LOADERS = {
    **dict.fromkeys(FUNCTIONS, _Deferring),
    _BACKEND: _WithoutCompiler,
    _COMPILER: _KnowingIvy,
}
