"""The import of Paddle in a process that has loaded TensorFlow.

Both bring a library of the same C++ functions. Paddle's would call TensorFlow's where that was
loaded first, and crash the process. Imported after this library, Paddle calls its own.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType


def install() -> None:
    """Watch for the import of Paddle."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "paddle" or not hasattr(os, "RTLD_DEEPBIND"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Import Paddle so that its shared libraries prefer their own functions."""
        flags = sys.getdlopenflags()
        sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
        try:
            with warnings.catch_warnings():  # only builds of extensions need ccache
                warnings.filterwarnings("ignore", "No ccache found")
                super().exec_module(module)
        finally:
            sys.setdlopenflags(flags)
