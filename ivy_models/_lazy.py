"""Names of a package that are imported from its modules when first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable


def lazy_exports(
    package: str, exports: dict[str, list[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make a package's ``__getattr__``, ``__dir__`` and ``__all__`` (PEP 562).

    Importing Ivy imports torch where it is installed; so neither is imported before a
    name that needs it is used.

    Parameters
    ----------
    package
        The package's ``__name__``.
    exports
        Public names by the module that defines them.
    """
    module_of = {name: module for module, names in exports.items() for name in names}
    names = sorted(module_of)

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: names, names
