"""Verification of one published model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ivy_models.errors import BackendError, DownloadError, InputError
from ivy_models.ops import BACKENDS, ops_named
from ivy_models.verification.accuracy import check_accuracy
from ivy_models.verification.backends import check_answer
from ivy_models.verification.checks import Check, could_not_run, not_run
from ivy_models.verification.files import Weights, check_file, check_local, published
from ivy_models.verification.first_seen import record
from ivy_models.verification.known import ANSWERS
from ivy_models.verification.photo import find_photo
from ivy_models.verification.validation_set import ValidationSet, read_validation_set


def verify_model(
    name: str,
    weights: str | Path | None = None,
    backends: Sequence[str] | None = None,
    image: str | Path | None = None,
    imagenet: str | Path | ValidationSet | None = None,
    accept_changed: bool = False,
    device: str | None = None,
    batch_size: int = 1,
) -> Iterator[Check]:
    """Check the published weights of a model, and what the model computes with them.

    Parameters
    ----------
    name
        A model of :func:`.list_models` whose weights are published.
    weights
        A local copy of the published file. None: the one in the cache, downloaded if needed.
    backends
        Where to run the model. None: every installed backend.
    image
        The photo for which results are known, if you have it. None: it is downloaded.
    imagenet
        Folder of ImageNet's validation set, to measure the accuracy on each of the backends.
    accept_changed
        Whether to accept a file that differs from the one that passed all checks first.
    device
        As in :class:`.PerceiverIOSpec`.
    batch_size
        Batch size of the measurement of accuracy.

    Returns
    -------
    Iterator of Check
        Each as soon as it is known.

    Raises
    ------
    BackendError
        If there is no such backend, or one that ``backends`` names is not installed.
    InputError
        If the image is not the expected one, the folder does not hold ImageNet's classes, or,
        later, an image of it cannot be read.
    SpecError
        If there is no such model.
    WeightsError
        If the local file does not exist or has another format.
    OSError
        If the cache folder cannot be written.
    """
    published(name)
    if isinstance(backends, str) or (backends is not None and not backends):
        raise BackendError(f"backends must be a list of names, got {backends!r}.")
    for backend in backends or ():
        ops_named(backend)
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    local = None if weights is None else check_local(weights)
    photo = None if image is None else find_photo(image)
    if imagenet is not None and not isinstance(imagenet, ValidationSet):
        imagenet = read_validation_set(imagenet)
    return _verify(name, local, backends, photo, imagenet, accept_changed, device, batch_size)


def _verify(
    name: str,
    local: Path | None,
    backends: Sequence[str] | None,
    photo: Path | None,
    images: ValidationSet | None,
    accept_changed: bool,
    device: str | None,
    batch_size: int,
) -> Iterator[Check]:
    weights = yield from check_file(name, local, accept_changed)
    if weights is None:
        yield not_run("results", "the weights did not pass the checks above")
        return
    preset, _ = published(name)
    installed: list[str] = []
    for backend in backends or BACKENDS:
        try:
            ops_named(backend)
            installed.append(backend)
        except BackendError as error:
            yield not_run(f"results on {backend}", str(error))
    failed = False
    for check in _check_answers(name, weights, photo, installed, device):
        yield check
        failed = failed or check.failed
    if not failed:
        record(weights.file)
    for backend in installed if images is not None else ():
        assert images is not None
        yield check_accuracy(name, preset, weights, images, backend, device, batch_size)


def _check_answers(
    name: str, weights: Weights, photo: Path | None, backends: list[str], device: str | None
) -> Iterator[Check]:
    answer = ANSWERS.get(name)
    if answer is None:
        yield not_run("results", "no results of the published weights are known for public data")
        return
    if answer.needs_photo and photo is None:
        try:
            photo = find_photo()
        except DownloadError as error:
            yield could_not_run("results", error)
            return
    preset, _ = published(name)
    for backend in backends:
        yield from check_answer(answer, preset, weights.tree, photo, backend, device)
