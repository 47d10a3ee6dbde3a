"""The accuracy of a classifier on ImageNet's validation set."""

from __future__ import annotations

import numpy as np

from ivy_models import __version__
from ivy_models.arrays import to_numpy
from ivy_models.errors import BackendError
from ivy_models.models.presets import Preset
from ivy_models.preprocessing import ImagePreprocessing
from ivy_models.shells.ivy import PerceiverIO
from ivy_models.verification.backends import using
from ivy_models.verification.checks import Check, could_not_run, not_run, right_if
from ivy_models.verification.files import Weights
from ivy_models.verification.progress import Counts, ProgressFile
from ivy_models.verification.validation_set import ValidationSet

NUM_IMAGES = 50_000
"""Images of the complete validation set. Accuracy on fewer is not comparable."""

TOLERANCE = 0.5
"""Tolerance of the top-1 accuracy in percentage points.

The published figure is rounded to 0.1. It was measured with another JPEG decoder and another
implementation of bicubic resizing, which change the answers for images between two classes. Two
models that differ by chance on 1% of the 50,000 images (500) differ in accuracy by 0.05 points;
ten times that is still less than a sixth of the difference between any two of the published models.
"""


def check_accuracy(
    name: str,
    preset: Preset,
    weights: Weights,
    images: ValidationSet,
    backend: str,
    device: str | None,
    batch_size: int,
) -> Check:
    """Measure top-1 and top-5 accuracy, and compare the first with the published one.

    A progress bar goes to stderr. An interrupted measurement continues, if model, weights, backend,
    images and version of this library are the same.

    Raises
    ------
    InputError
        If an image cannot be read. After it is replaced, the measurement continues.
    OSError
        If the progress cannot be recorded.
    """
    what = f"accuracy on {backend}"
    if preset.accuracy is None or not isinstance(preset.preprocessing, ImagePreprocessing):
        return not_run(what, "the model is not an ImageNet classifier")
    progress = ProgressFile(
        {
            "model": name,
            "weights": weights.file.sha256,
            "backend": backend,
            "folder": str(images.folder),
            "images": images.sha256,
            "version": __version__,
        }
    )
    try:
        with using(backend):
            model = PerceiverIO(preset.spec.replace(device=device), v=weights.tree)
            counts = _measure(f"{name} on {backend}", model, preset, images, progress, batch_size)
    except BackendError as error:
        return could_not_run(what, error)
    progress.remove()
    top_1, top_5 = (100 * hits / counts.done for hits in (counts.top_1, counts.top_5))
    found = f"top-1 {top_1:.2f}%, top-5 {top_5:.2f}% of {counts.done:,} images"
    published = f"published top-1: {preset.accuracy}%"
    if counts.done != NUM_IMAGES:
        return not_run(what, f"{found}; the {published}, is of {NUM_IMAGES:,} images")
    difference = top_1 - preset.accuracy
    is_right = abs(difference) <= TOLERANCE
    return right_if(
        is_right, what, f"{found}; {published}, difference {difference:+.2f}, tolerance {TOLERANCE}"
    )


def _measure(
    title: str,
    model: PerceiverIO,
    preset: Preset,
    images: ValidationSet,
    progress: ProgressFile,
    batch_size: int,
) -> Counts:
    from tqdm import tqdm

    assert isinstance(preset.preprocessing, ImagePreprocessing)
    total = len(images.images)
    counts = progress.read(total)
    with tqdm(desc=title, total=total, initial=counts.done, unit="image") as bar:
        while counts.done < total:
            batch = slice(counts.done, counts.done + batch_size)
            paths = [images.folder / image for image in images.images[batch]]
            labels = np.array(images.labels[batch])
            logits = to_numpy(model(preset.preprocessing(paths)), "logits")
            ranks = ranks_of(logits.reshape(len(paths), -1), labels)
            counts = Counts(
                counts.done + len(paths),
                counts.top_1 + int((ranks < 1).sum()),
                counts.top_5 + int((ranks < 5).sum()),
            )
            progress.write(counts)
            bar.update(len(paths))
    return counts


@np.errstate(all="ignore")
def ranks_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each image, the number of classes that are not less probable than its own.

    Equal logits and NaN count against the model, so a broken one never seems accurate.

    Parameters
    ----------
    logits
        Logits (B, classes).
    labels
        Classes (B,).
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    return (~(logits < own)).sum(1) - 1
