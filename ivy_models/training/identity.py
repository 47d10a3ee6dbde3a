"""What must be the same when a run is resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.datasets import TrainingData
from ivy_models.datasets.files import named
from ivy_models.errors import TrainingError
from ivy_models.training.settings import Settings
from ivy_models.transformers.perceiver_io import PerceiverIOSpec


def identity_of(spec: PerceiverIOSpec, data: TrainingData, settings: Settings) -> dict[str, Any]:
    """Describe a run in JSON, except the content of its examples and how weights are stored."""
    return asdict(replace(settings, shard=False)) | {
        "targets": [asdict(target) for target in data.targets],
        "number of examples": [len(data.train), len(data.validation)],
        "hash of the examples' targets": _hash_of_targets(data),
        "augmentation": data.augmentation,
        "preprocessing, which fits the data,": _described(data.preprocessing),
        **{f"the spec's {name}": value for name, value in _spec_fields(spec)},
    }


class Content:
    """The content of a run's examples, a number for each.

    Parameters
    ----------
    data
        The examples.
    """

    def __init__(self, data: TrainingData):
        self._examples = {"training": data.train, "validation": data.validation}
        self.digests = {part: each.digests() for part, each in self._examples.items()}
        """uint64 (n,) for each part, which a checkpoint stores."""

    def check(self, saved: dict[str, np.ndarray], folder: Path) -> None:
        """Check that the examples are those of a checkpoint in a folder.

        Raises
        ------
        TrainingError
            If some have changed; the message names them.
        """
        for part, examples in self._examples.items():
            changed = np.flatnonzero(saved[part] != self.digests[part])
            if len(changed):
                name = getattr(examples, "name", lambda index: f"example {index + 1}")
                raise TrainingError(
                    f"The data for {part} changed since the checkpoint in {folder} was written: "
                    f"{named([name(int(i)) for i in changed])}. Restore them, or start a new run."
                )


def _spec_fields(spec: PerceiverIOSpec) -> Iterable[tuple[str, Any]]:
    """Names and values in JSON, except the device."""
    return json.loads(spec.replace(device=None).to_json()).items()


def _described(preprocessing: Any) -> str:
    """A text that is the same for equal preprocessing. Users' own is known by its type alone."""
    return repr(preprocessing) if is_dataclass(preprocessing) else type(preprocessing).__name__


def _hash_of_targets(data: TrainingData) -> str:
    found = hashlib.sha256()
    for examples in (data.train, data.validation):
        for values in examples.encoded_targets().values():
            found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()[:8]
