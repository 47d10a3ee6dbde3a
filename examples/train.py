"""Train a classifier from scratch on arrays in memory, with augmentation of your own.

    python examples/train.py digits --backend torch --output /tmp/my_digits    # minutes on one core
    python examples/train.py digits --backend torch --output /tmp/my_digits --resume

The output folder gets the model and a record of its accuracy on held-out data. They choose nothing:
the result is the model of the last epoch. The folder's ``training`` gets the checkpoint for
resuming, the metrics and a picture of them. For files, see ``ivy-models train``.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from digits import SPLIT_SEED, digits_split
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from ivy_models import create_model
from ivy_models.datasets import ArrayExamples, Batch, TrainingData
from ivy_models.errors import TrainingError
from ivy_models.preprocessing.targets import ClassTarget
from ivy_models.training.loop import TrainingStopped, fit
from ivy_models.training.report.drawings import draw_curve
from ivy_models.training.settings import BACKENDS, Settings
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]

Task = tuple[PerceiverIOSpec, TrainingData, dict[str, Any]]
"""A model's spec, the data, and what training.json says about the data."""


@dataclass(frozen=True)
class Augmented(ArrayExamples):
    """Examples in memory that training sees changed at random."""

    augment: Augmentation = lambda data, _rng: data

    def batch(self, indices: Sequence[int], rng: np.random.Generator | None = None) -> Batch:
        batch = super().batch(indices)
        return batch if rng is None else replace(batch, data=self.augment(batch.data, rng))


def digits() -> Task:
    """Images of digits, 8x8 grey pixels, for the model in the package."""
    images, classes, train, held_out, held_out_classes, test = digits_split()
    model = create_model("perceiver_io_digits")
    parts = model.preprocessing(list(images)), model.preprocessing(list(held_out))
    data = TrainingData(
        Augmented(parts[0], {"digit": classes}, augment=moved_and_noisy),
        ArrayExamples(parts[1], {"digit": held_out_classes}),
        model.preprocessing,
        (ClassTarget("digit", model.labels),),
    )
    record = {
        "data": "sklearn.datasets.load_digits",
        "split_seed": SPLIT_SEED,
        "train": sorted(train.tolist()),
        "test": sorted(test.tolist()),
    }
    return model.spec, data, record


def cancer() -> Task:
    """30 standardised measurements of cells: is a tumour malignant or benign?"""
    source = load_breast_cancer()
    parts = train_test_split(
        source.data, source.target, test_size=0.2, random_state=SPLIT_SEED, stratify=source.target
    )
    mean, deviation = parts[0].mean(0), parts[0].std(0)
    train, held_out = (np.float32((part - mean) / deviation)[..., None] for part in parts[:2])
    data = TrainingData(
        Augmented(train, {"tumour": parts[2]}, augment=noisy),
        ArrayExamples(held_out, {"tumour": parts[3]}),
        None,
        (ClassTarget("tumour", tuple(map(str, source.target_names))),),
    )
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
        learned_position_shape=train.shape[1:2],
        learned_position_dim=31,
    )
    record = {
        "data": "sklearn.datasets.load_breast_cancer",
        "split_seed": SPLIT_SEED,
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
    }
    return spec, data, record


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


def without_held_out(data: TrainingData) -> TrainingData:
    """Hold out a fifth of the training data instead, to compare settings."""
    ((name, classes),) = data.train.targets.items()
    parts = train_test_split(
        data.train.data, classes, test_size=0.2, random_state=0, stratify=classes
    )
    train = replace(data.train, data=parts[0], targets={name: parts[2]})
    return replace(data, train=train, validation=ArrayExamples(parts[1], {name: parts[3]}))


def use_one_core(backend: str) -> None:
    """Start a framework with one thread, which is fast for small models and reproducible."""
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
    elif backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"
    elif backend == "paddle":
        os.environ["OMP_NUM_THREADS"] = "1"
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--backend", choices=BACKENDS, default="torch")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint, if any"
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="hold out training data instead of test data; write no model",
    )
    parser.add_argument("--epochs", type=float, default=200)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    spec, data, record = TASKS[arguments.task]()
    if arguments.validate:
        data = without_held_out(data)
    settings = Settings(
        backend=arguments.backend,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        dropout=arguments.dropout,
        seed=arguments.seed,
        keep="last",
    )
    use_one_core(settings.backend)
    folder = arguments.output / "training"
    try:
        fitted = fit(
            PerceiverIO(spec, seed=settings.seed), data, settings, folder, arguments.resume
        )
    except TrainingError as error:
        sys.exit(f"Error: {error}")
    except TrainingStopped:
        sys.exit("Stopped. Use --resume to continue.")

    draw_curve(folder / "metrics.csv", fitted.metric).savefig(folder / "curve.png", dpi=150)
    share = fitted.best["validation_accuracy"]
    print(f"accuracy on {len(data.validation)} held-out examples: {share:.4f}")
    if arguments.validate:
        return
    fitted.model.save_pretrained(arguments.output)
    record |= {"task": arguments.task, "test_accuracy": share} | asdict(settings)
    (arguments.output / "training.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
