"""A home for the files that Ivy writes when it is imported.

On its own, Ivy makes a folder ``.ivy`` in the working folder, unless $IVY_ROOT names another or a
parent folder has one. It also opens a log there, ``ivy_logs.txt``, and empties a file of that
name. Imported after this library, Ivy keeps both in the user's cache folder instead.
"""

from __future__ import annotations

import functools
import importlib.machinery
import os
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

from ivy_models.base.cache import cache_folder
from ivy_models.base.import_hooks import Finder, Loader

ROOT_VARIABLE = "IVY_ROOT"
"""Ivy's environment variable for the folder of its caches. One that is set is respected."""

LOG = "ivy_logs.txt"

_LOGGER = "ivy.transpiler.utils.logging_utils"
"""The module of Ivy that opens the log when it is imported."""


def install() -> None:
    """Watch for the import of Ivy. Nothing is written before that."""
    _Finder({_LOGGER: _LoggerLoader}).install()


class _Finder(Finder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == "ivy":
            home = _home()
            if not os.environ.get(ROOT_VARIABLE):
                os.environ[ROOT_VARIABLE] = str(home)
        return super().find_spec(name, path, target)


class _LoggerLoader(Loader):
    def get_code(self, fullname: str) -> CodeType:
        """Compile the source with the log's path in it, and leave Ivy's bytecode file alone."""
        path = ascii(str(_home() / LOG)).encode()
        source = self.get_data(self.path).replace(f'"{LOG}"'.encode(), path)
        return self.source_to_code(source, self.path)


@functools.cache
def _home() -> Path:
    """Return a folder that Ivy can write to: a temporary one if the cache folder is read-only."""
    try:
        return _prepared(cache_folder().absolute() / "ivy")
    except OSError:
        import atexit
        import tempfile

        folder = _prepared(Path(tempfile.mkdtemp(prefix="ivy_models-")))
        atexit.register(_remove, folder, os.getpid())
        return folder


def _prepared(folder: Path) -> Path:
    """Create what Ivy creates when it is imported, to find out now if it cannot use the folder."""
    (folder / "compiler" / "_cache").mkdir(parents=True, exist_ok=True)
    (folder / LOG).open("a").close()
    return folder


def _remove(folder: Path, owner: int) -> None:
    import shutil

    if os.getpid() == owner:  # a forked process leaves its parent's folder alone
        shutil.rmtree(folder, ignore_errors=True)
