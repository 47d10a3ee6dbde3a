"""Checks of a file of published weights, before any of it is run."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from ivy_models.base.paths import user_path
from ivy_models.checkpoints.download.cache import PublishedFile, download
from ivy_models.checkpoints.load import PICKLES, load_weights
from ivy_models.errors import DownloadError, SpecError, WeightsError, did_you_mean
from ivy_models.layers.parameters import Tree, flatten
from ivy_models.models.presets import PRESETS, Preset
from ivy_models.verification.checks import Check, could_not_run, not_run, right, right_if, wrong
from ivy_models.verification.first_seen import Seen, check_first_seen


@dataclass(frozen=True)
class Weights:
    """Weights whose file passed every check.

    Parameters
    ----------
    tree
        Parameter tree of NumPy arrays.
    file
        The file they were read from.
    """

    tree: Tree
    file: Seen


def published_models() -> dict[str, Preset]:
    """Models whose weights are published as a file, by name."""
    return {
        name: preset
        for name, preset in PRESETS.items()
        if isinstance(preset.weights, PublishedFile)
    }


def published(name: str) -> tuple[Preset, PublishedFile]:
    """Find a model whose weights are published as a file.

    Raises
    ------
    SpecError
        If there is no such model.
    """
    models = published_models()
    if name in models and isinstance(file := models[name].weights, PublishedFile):
        return models[name], file
    if name in PRESETS:
        raise SpecError(f"{name} has no published file to verify: its weights are in the package.")
    raise SpecError(f"There is no model {name!r}. {did_you_mean(name, models)}")


def check_local(path: str | Path) -> Path:
    """Return the path of a copy of a published file.

    Raises
    ------
    WeightsError
        If there is no such file, or it has another format than the published files.
    """
    path = user_path(path)
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.")
    if path.suffix not in PICKLES:
        raise WeightsError(
            f"{path} is not a copy of a published file: these end in {', '.join(PICKLES)}."
        )
    return path


def check_file(
    name: str, local: Path | None, accept_changed: bool
) -> Generator[Check, None, Weights | None]:
    """Check the file of a model, downloading it if no local one is given.

    Returns
    -------
    Weights or None
        None if a check failed, so that nothing of the file should be run.
    """
    from ivy_models.checkpoints.download.http import checksum

    preset, file = published(name)
    try:
        path = local or download(file)
    except DownloadError as error:
        yield could_not_run("file", error)
        return None
    size, sha256 = path.stat().st_size, checksum(path)
    yield right("file", f"{path}: {size:,} bytes, SHA-256 {sha256}")
    if file.sha256 is None:
        yield not_run("known SHA-256", "none is known for this file")
    else:
        same = sha256 == file.sha256
        yield right_if(same, "known SHA-256", "the same" if same else f"expected {file.sha256}")
    try:
        tree = load_weights(path, preset.spec)
    except WeightsError as error:
        other = _model_of(path)
        swapped = f"{path} is the file of {other}. Expected that of {name}, from {file.url}."
        found = swapped if other else str(error)
        advice = "" if local else f" Remove {path}; the next run downloads it again."
        yield wrong("structure", f"{found}{advice}")
        return None
    num_arrays = sum(1 for _ in flatten(tree))
    yield right("structure", f"{num_arrays:,} arrays, with the names and shapes of the model")
    if file.sha256 not in (None, sha256):
        return None
    seen = Seen(file.url, size, sha256)
    first_seen = check_first_seen(seen, accept_changed)
    yield first_seen
    return None if first_seen.failed else Weights(tree, seen)


def _model_of(path: Path) -> str | None:
    """Name of the published model that a file fits, if there is one."""
    for name, preset in published_models().items():
        try:
            load_weights(path, preset.spec)
        except WeightsError:
            continue
        return name
    return None
