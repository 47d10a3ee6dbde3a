"""Former module paths, kept for one release: importing one returns the moved module."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

_CORE = "ivy_models.transformers.perceiver_io"
_LAYERS = "ivy_models.layers"

MOVED = {
    "ivy_models.classification": "ivy_models.tasks.classification",
    "ivy_models.decoding": "ivy_models.tasks.decoding",
    "ivy_models.finetuning": "ivy_models.training.finetuning",
    "ivy_models.flow": "ivy_models.tasks.flow",
    "ivy_models.language": "ivy_models.tasks.language",
    "ivy_models.losses": "ivy_models.training.losses",
    "ivy_models.seeing": "ivy_models.interpret",
    "ivy_models.seeing.depth": "ivy_models.interpret.depth",
    "ivy_models.seeing.drawing": "ivy_models.interpret.drawing",
    "ivy_models.seeing.recording": "ivy_models.interpret.attention_maps",
    "ivy_models.seeing.rollout": "ivy_models.interpret.rollout",
    "ivy_models.shells.huggingface": "ivy_models.shells.accelerate",
    "ivy_models.training.data": "ivy_models.datasets",
    f"{_CORE}.adapters": f"{_CORE}.inputs",
    f"{_CORE}.attention": f"{_LAYERS}.attention",
    f"{_CORE}.factories": "ivy_models.models.factories",
    f"{_CORE}.grid_attention": f"{_LAYERS}.streaming.layer",
    f"{_CORE}.model": "ivy_models.shells.ivy",
    f"{_CORE}.parameters": f"{_LAYERS}.parameters",
    f"{_CORE}.position_encoding": f"{_LAYERS}.position_encoding",
    f"{_CORE}.presets": "ivy_models.models.presets",
    "ivy_models.video": "ivy_models.tasks.video",
    "ivy_models.weights": "ivy_models.checkpoints",
    "ivy_models.weights.download": "ivy_models.checkpoints.download.cache",
    "ivy_models.weights.haiku": "ivy_models.checkpoints.haiku",
    "ivy_models.weights.huggingface": "ivy_models.checkpoints.huggingface.weights",
    "ivy_models.weights.load": "ivy_models.checkpoints.load",
    "ivy_models.weights.native": "ivy_models.checkpoints.folder",
    "ivy_models.weights.pickle_machine": "ivy_models.checkpoints.pickles.machine",
    "ivy_models.weights.torch_file": "ivy_models.checkpoints.pickles.torch_file",
    "ivy_models.weights.unpickle": "ivy_models.checkpoints.pickles.unpickle",
}
"""Former path -> new path."""


def install() -> None:
    """Make the former paths importable, with a DeprecationWarning."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # First in the list: through a former package, other finders would load the files in
        # the new folder a second time.
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self) -> None:
        self._spec_of: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warnings.warn(
            f"{spec.name} is now {new}; the former path will be removed in the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        module = importlib.import_module(new)
        self._spec_of[new] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the spec of the module, which the import system has replaced."""
        module.__spec__ = self._spec_of[module.__name__]
