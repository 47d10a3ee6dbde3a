"""Public names of a package, imported from their modules on first use."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path


def lazy_exports(
    package: str, file: str
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make a package's ``__getattr__``, ``__dir__`` and ``__all__`` (PEP 562) from its stub.

    Neither Ivy nor a framework is imported before a name that needs it is used. Type checkers read
    the stub; taking the names from it keeps both in step.

    Parameters
    ----------
    package
        The package's ``__name__``.
    file
        The package's ``__file__``. The stub ``__init__.pyi`` is in the same folder. It has a line
        ``from module import Name as Name`` for each public name.
    """
    stub = ast.parse(Path(file).with_name("__init__.pyi").read_text(encoding="utf-8"))
    module_of = {
        alias.name: statement.module
        for statement in stub.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }
    names = sorted(module_of)

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(module_of[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: names, names
