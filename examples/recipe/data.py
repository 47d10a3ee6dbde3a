"""Training data, which scikit-learn ships, and the batches of each step.

A batch is a NumPy function of the seed and the step. So it is the same on every framework, and a
resumed run continues with the same batches without saved state.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from digits import SPLIT_SEED, digits_split
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from ivy_models import create_model
from ivy_models.preprocessing import ImagePreprocessing
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec


@dataclass(frozen=True)
class Task:
    """A classification task: a model's spec, and the data to train and evaluate it."""

    spec: PerceiverIOSpec
    data: np.ndarray
    """The model's data, (n, *axes, channels)."""
    classes: np.ndarray
    """Whole numbers (n,)."""
    held_out_data: np.ndarray
    held_out_classes: np.ndarray
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    labels: tuple[str, ...]
    preprocessing: ImagePreprocessing | None = None
    record: dict[str, Any] = field(default_factory=dict)
    """Description of the data for training.json."""

    def model(self, seed: int, **changes: Any) -> PerceiverIO:
        """Make a model with random weights and some fields of the spec changed."""
        model = PerceiverIO(self.spec.replace(**changes), seed=seed)
        model.labels, model.preprocessing = self.labels, self.preprocessing
        return model

    def batch(self, seed: int, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Augmented data and classes of a step. An epoch drops the last, incomplete batch."""
        epoch, place = divmod(step, len(self.data) // size)
        order = np.random.default_rng((seed, 0, epoch)).permutation(len(self.data))
        chosen = order[place * size : (place + 1) * size]
        rng = np.random.default_rng((seed, 1, step))
        return self.augment(self.data[chosen], rng), self.classes[chosen]

    def for_validation(self) -> "Task":
        """Hold out a fifth of the training data instead, to compare settings."""
        data, held_out, classes, held_out_classes = train_test_split(
            self.data, self.classes, test_size=0.2, random_state=0, stratify=self.classes
        )
        return replace(
            self,
            data=data,
            classes=classes,
            held_out_data=held_out,
            held_out_classes=held_out_classes,
        )


def digits() -> Task:
    """Images of digits, 8x8 grey pixels, for the model in the package."""
    images, classes, train, held_out, held_out_classes, test = digits_split()
    model = create_model("perceiver_io_digits")
    return Task(
        spec=model.spec,
        data=model.preprocessing(list(images)),
        classes=classes,
        held_out_data=model.preprocessing(list(held_out)),
        held_out_classes=held_out_classes,
        augment=moved_and_noisy,
        labels=model.labels,
        preprocessing=model.preprocessing,
        record={
            "data": "sklearn.datasets.load_digits",
            "split_seed": SPLIT_SEED,
            "train": sorted(train.tolist()),
            "test": sorted(test.tolist()),
        },
    )


def cancer() -> Task:
    """30 standardised measurements of cells: is a tumour malignant or benign?"""
    source = load_breast_cancer()
    parts = train_test_split(
        source.data, source.target, test_size=0.2, random_state=SPLIT_SEED, stratify=source.target
    )
    mean, deviation = parts[0].mean(0), parts[0].std(0)
    data, held_out = (np.float32((part - mean) / deviation)[..., None] for part in parts[:2])
    spec = PerceiverIOSpec(
        input_dim=1,
        num_input_axes=1,
        output_dim=2,
        queries_dim=32,
        network_depth=1,
        num_latents=8,
        latent_dim=32,
        num_self_att_heads=4,
        query_shape=(1,),
        num_lat_att_per_layer=2,
        fourier_encode_input=False,
        learned_position_shape=data.shape[1:2],
        learned_position_dim=31,
    )
    return Task(
        spec=spec,
        data=data,
        classes=parts[2],
        held_out_data=held_out,
        held_out_classes=parts[3],
        augment=noisy,
        labels=tuple(map(str, source.target_names)),
        record={
            "data": "sklearn.datasets.load_breast_cancer",
            "split_seed": SPLIT_SEED,
            "mean": mean.tolist(),
            "deviation": deviation.tolist(),
        },
    )


TASKS = {"digits": digits, "cancer": cancer}


def noisy(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return data + 0.5 * rng.standard_normal(data.shape, np.float32)


def moved_and_noisy(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move half of the images (B, Y, X, 1) by up to a pixel along each axis, and add noise."""
    offsets = rng.integers(0, 3, (len(images), 2))
    offsets[rng.random(len(images)) < 0.5] = 1  # no shift
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=images.min())
    height, width = images.shape[1:3]
    moved = [
        image[y : y + height, x : x + width] for image, (y, x) in zip(padded, offsets, strict=True)
    ]
    return np.stack(moved) + 0.1 * rng.standard_normal(images.shape, np.float32)
