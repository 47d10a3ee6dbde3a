"""Other people's modules, loaded by loaders of this library."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

Loader = importlib.machinery.SourceFileLoader


class Finder(importlib.abc.MetaPathFinder):
    """Finds modules where Python does, and gives them loaders of their own.

    Parameters
    ----------
    loaders
        The class of each module's loader, by the module's name.
    """

    def __init__(self, loaders: Mapping[str, type[Loader]]):
        self.loaders = loaders

    def install(self) -> bool:
        """Watch for the import of these modules. False if another finder does already."""
        others = [finder for finder in sys.meta_path if isinstance(finder, Finder)]
        if any(finder.loaders.keys() == self.loaders.keys() for finder in others):
            return False
        sys.meta_path.insert(0, self)
        return True

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if (loader := self.loaders.get(name)) is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, Loader):
            spec.loader = loader(name, spec.loader.path)
        return spec
