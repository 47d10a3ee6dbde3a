"""Runs the weights of one file on one backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.arrays import set_backend, to_numpy
from ivy_models.errors import BackendError
from ivy_models.layers.parameters import Tree
from ivy_models.models.presets import Preset
from ivy_models.shells.ivy import PerceiverIO
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec
from ivy_models.verification.answers import Answer, Run
from ivy_models.verification.checks import Check, could_not_run
import ivy


@contextmanager
def using(backend: str) -> Iterator[None]:
    """Set Ivy's backend for a while.

    Raises
    ------
    BackendError
        If there is no such backend, or it is not installed.
    """
    set_backend(backend)
    try:
        yield
    finally:
        ivy.previous_backend()


def model_run(spec: PerceiverIOSpec, tree: Tree) -> Run:
    """Return a function that runs a model on one example."""

    def run(data: np.ndarray, changes: Mapping[str, Any]) -> np.ndarray:
        model = PerceiverIO(spec.replace(**changes), v=tree)
        return to_numpy(model(data[None]), "logits")[0]

    return run


def check_answer(
    answer: Answer,
    preset: Preset,
    tree: Tree,
    photo: Path | None,
    backend: str,
    device: str | None,
) -> list[Check]:
    """Compare the results of a model on one backend with what is known.

    Parameters
    ----------
    answer
        What is known.
    preset
        The model.
    tree
        Its weights, NumPy arrays.
    photo
        Path of the photo, if the answer needs it.
    backend, device
        Where to run the model.
    """
    try:
        with using(backend):
            run = model_run(preset.spec.replace(device=device), tree)
            found = list(answer.checks(preset, run, photo))
    except BackendError as error:
        return [could_not_run(f"results on {backend}", error)]
    return [replace(check, what=f"{check.what} on {backend}") for check in found]
