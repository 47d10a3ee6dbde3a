"""What must be the same when a run is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.datasets import TrainingData
from ivy_models.datasets.files import named
from ivy_models.errors import TrainingError, shown
from ivy_models.training.checkpoint import Saved, as_json, by_part
from ivy_models.training.settings import Settings
from ivy_models.transformers.perceiver_io import PerceiverIOSpec

Run = dict[str, dict[str, Any]]
"""Facts of a run by group, in JSON. An earlier group explains differences of a later one."""

FITTED = "fitted to the data"
"""The first group of facts that follow from the content of the examples."""


class Identity:
    """A run, as it is compared with the one that it continues.

    Parameters
    ----------
    spec, data, settings
        Everything that the run depends on. How weights are stored makes no difference.
    """

    def __init__(self, spec: PerceiverIOSpec, data: TrainingData, settings: Settings):
        self.run: Run = {
            "data": {
                "number of examples": [len(data.train), len(data.validation)],
                "augmentation": data.augmentation,
                **{
                    f"kind of the column {column.name!r}": column.kind
                    for column in data.columns
                    if column.kind != "ignore"
                },
            },
            "settings": asdict(replace(settings, shard=False)),
            FITTED: {
                "targets": [asdict(target) for target in data.targets],
                "preprocessing": _described(data.preprocessing),
            },
            "spec": json.loads(spec.replace(device=None).to_json()),
        }
        self._examples = {"training": data.train, "validation": data.validation}
        self.digests = {part: each.digests() for part, each in self._examples.items()}
        """uint64 (n,) for each part: a number for the content of each example."""

    def check(self, saved: Saved, path: Path) -> None:
        """Check that a checkpoint is of this run.

        Parameters
        ----------
        saved
            The checkpoint.
        path
            Its path, for messages.

        Raises
        ------
        TrainingError
            If something differs. The message says what: the first cause, not what follows from it.
        """
        here: Run = json.loads(as_json(self.run))
        for group in here:
            if group == FITTED:
                self._check_content(by_part(saved.arrays)["digests"], path)
            if different := list(_differences(saved.run.get(group, {}), here[group])):
                raise TrainingError(
                    f"{path} belongs to another run: {named(different, 5)}. Use the same data and "
                    "settings, or another folder."
                )

    def _check_content(self, digests: Mapping[str, np.ndarray], path: Path) -> None:
        for part, examples in self._examples.items():
            changed = np.flatnonzero(digests[part] != self.digests[part])
            if len(changed):
                name = getattr(examples, "name", lambda index: f"example {index + 1}")
                raise TrainingError(
                    f"The data for {part} changed since {path} was written: "
                    f"{named([name(int(i)) for i in changed])}. Restore them, or start a new run."
                )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*here, *there]):
        if there.get(name) != here.get(name):
            old, new = shown(there.get(name)), shown(here.get(name))
            yield f"{name} is {old} there and {new} here" if old != new else f"{name} is another"


def _described(preprocessing: Any) -> str:
    """A text that is the same for equal preprocessing. Users' own is known by its type alone."""
    return repr(preprocessing) if is_dataclass(preprocessing) else type(preprocessing).__name__
