"""Imports of packages that TensorFlow's library would crash.

Paddle 3.3 and Triton, which comes with torch's builds for CUDA, bring libraries of C++ functions
that TensorFlow's library has too. They would call TensorFlow's where that was loaded first, and end
the process. Imported after this library, they call their own.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

from ivy_models.base.import_hooks import Finder, Loader


class DeepBinding(Loader):
    """Imports a package so that its shared libraries prefer their own functions."""

    def exec_module(self, module: ModuleType) -> None:
        flags = sys.getdlopenflags()
        sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
        try:
            super().exec_module(module)
        finally:
            sys.setdlopenflags(flags)


def install(loaders: dict[str, type[DeepBinding]]) -> None:
    """Watch for the import of these packages, where the system can bind them so."""
    if hasattr(os, "RTLD_DEEPBIND"):
        Finder(loaders).install()
