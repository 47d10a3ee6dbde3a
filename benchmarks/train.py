"""Compare ``ivy-models train`` with other models, each with its defaults.

    python benchmarks/train.py                      # photos, table, sounds, texts
    python benchmarks/train.py photos --seed 1

The data are made here: 400 photos, 2,000 rows of a table with texts and missing values, 180 sounds,
4,000 texts. As many again are made with another seed, and all models are tested on those. The
command is run as a user runs it; it holds out a fifth of its data to choose the best epoch, the
other models train on all. Prints the accuracy, the processor's seconds of all cores together, and
the minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import which_spec
from which_spec import sounds, table, texts

SIZE = 64
"""Height and width of the photos."""

EPOCHS, BATCH = 20, 32
"""Training of the other models of photos: the CNN then takes as long as the command."""


def photos(folder: Path, rng: np.random.Generator) -> Path:
    """400 photos of 4 shapes, 64 x 64."""
    return which_spec.pictures(folder, rng, 400, SIZE, "RGB")


def command(train: Path, test: Path, folder: Path, seed: int) -> float:
    """Accuracy of ``ivy-models train`` on the test data."""
    ours = [sys.executable, "-m", "ivy_models"]
    target = ["--target", "label"] if train.is_file() else []
    options = ["--output", str(folder), "--backend", "torch", "--seed", str(seed), *target]
    quiet: dict[str, Any] = {"check": True, "stderr": subprocess.DEVNULL}
    subprocess.run([*ours, "train", str(train), *options], **quiet)
    tested = [*ours, "evaluate", str(folder), str(test), "--backend", "torch", "--json"]
    found = subprocess.run(tested, stdout=subprocess.PIPE, **quiet).stdout
    return json.loads(found)["label"]["accuracy"]


def gradient_boosting(train: Path, test: Path, _folder: Path, seed: int) -> float:
    """Accuracy of scikit-learn's gradient boosting, with words counted."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    first, second = (pd.read_csv(path).fillna({"comment": ""}) for path in (train, test))
    columns = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), ["city"]),
        (CountVectorizer(), "comment"),
        ("passthrough", ["age", "income", "nights"]),
        sparse_threshold=0,
    )
    model = make_pipeline(columns, HistGradientBoostingClassifier(random_state=seed))
    return float(model.fit(first, first["label"]).score(second, second["label"]))


def word_weights(train: Path, test: Path, _folder: Path, _seed: int) -> float:
    """Accuracy of logistic regression on TF-IDF of words and pairs of words, by scikit-learn."""
    import pandas as pd
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    first, second = map(pd.read_csv, (train, test))
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression())
    model.fit(first["comment"], first["label"])
    return float(model.score(second["comment"], second["label"]))


def small_cnn() -> Any:
    """Three convolutions and a mean."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip


def perceiver() -> Any:
    """The Perceiver of transformers with a convolution, of the size that the command chooses."""
    from torch import nn
    from transformers import PerceiverConfig, PerceiverForImageClassificationConvProcessing

    config = PerceiverConfig(
        num_latents=32, d_latents=64, d_model=322, num_blocks=1, num_self_attends_per_block=2,
        num_self_attention_heads=4, num_cross_attention_heads=1, num_labels=4,
    )  # fmt: skip

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = PerceiverForImageClassificationConvProcessing(config)

        def forward(self, images: Any) -> Any:
            return self.model(pixel_values=images).logits

    return Logits()


def image_model(make: Callable[[], Any]) -> Callable[..., float]:
    """Make a function that trains a torch module on photos, and returns its accuracy."""

    def trained(train: Path, test: Path, _folder: Path, seed: int) -> float:
        import torch

        torch.manual_seed(seed)
        rng, model = np.random.default_rng(seed), make()
        (images, classes), (new_images, new_classes) = map(_read_photos, (train, test))
        batches = len(images) // BATCH
        steps = EPOCHS * batches
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.05)
        orders = [rng.permutation(len(images))[: BATCH * batches] for _ in range(EPOCHS)]
        for chosen in np.reshape(orders, (steps, BATCH)):
            loss = torch.nn.functional.cross_entropy(model(images[chosen]), classes[chosen])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.inference_mode():
            return float((model(new_images).argmax(1) == new_classes).float().mean())

    return trained


def _read_photos(folder: Path) -> tuple[Any, Any]:
    """Images (n, 3, Y, X) between -1 and 1, and classes (n,)."""
    import torch
    from PIL import Image

    files = sorted(folder.rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file), np.float32) for file in files])
    names = sorted({file.parent.name for file in files})
    classes = [names.index(file.parent.name) for file in files]
    images = torch.from_numpy(pixels / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(classes)


KINDS: dict[str, tuple[Callable[..., Path], dict[str, Callable[..., float]]]] = {
    "photos": (
        photos,
        {
            "ivy-models train": command,
            "small CNN, torch": image_model(small_cnn),
            "Perceiver of transformers": image_model(perceiver),
        },
    ),
    "table": (table, {"ivy-models train": command, "gradient boosting": gradient_boosting}),
    "sounds": (sounds, {"ivy-models train": command}),
    "texts": (
        texts,
        {"ivy-models train": command, "TF-IDF, logistic regression": word_weights},
    ),
}
"""The function that writes the data, and the models, by kind of data."""


def measure(kind: str, seed: int) -> None:
    """Print the results for one kind of data."""
    write, models = KINDS[kind]
    with tempfile.TemporaryDirectory() as name:
        folder, written = Path(name), []
        for part, number in (("train", 2 * seed), ("test", 2 * seed + 1)):
            (folder / part).mkdir()
            written.append(write(folder / part, np.random.default_rng(number)))
        for model, accuracy_of in models.items():
            begun, cpu = time.monotonic(), _cpu_seconds()
            accuracy = accuracy_of(*written, folder / "model", seed)
            minutes = (time.monotonic() - begun) / 60
            print(
                f"{kind:8} {model:28} {100 * accuracy:6.1f} % {_cpu_seconds() - cpu:6.0f} s of the "
                f"processor {minutes:6.1f} min",
                flush=True,
            )


def _cpu_seconds() -> float:
    """Seconds of the processor for this process and those that it ran."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(KINDS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the command; torch reads it when imported
    for kind in arguments.kinds:
        measure(kind, arguments.seed)


if __name__ == "__main__":
    main()
