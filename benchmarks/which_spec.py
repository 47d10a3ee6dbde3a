"""Train candidates for each kind of data, and print their results and the processor's seconds.

The data are made by this script: photos of shapes, small drawings of them, a table, sounds and
texts. `Which spec? <../docs/which_spec.rst>`_ has the results.

    python benchmarks/which_spec.py photos table --seed 1
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ivy_models import spec_for
from ivy_models.datasets import TrainingData
from ivy_models.datasets.reading import read_training_data
from ivy_models.training.loop import fit
from ivy_models.training.settings import Settings, default_weight_decay
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

SHAPES = ("circle", "square", "triangle", "cross")

CITIES = {"Bern": 1.5, "Rome": -1.0, "Oslo": 0.5, "Lima": -0.5, "Cairo": 0.0}

GOOD = ("great", "lovely", "very clean", "quiet", "friendly")
BAD = ("dirty", "loud", "rude", "broken", "too small")
NEUTRAL = ("the room", "the staff", "our stay", "breakfast", "the view")


@dataclass(frozen=True)
class Kind:
    """Data of one kind.

    Parameters
    ----------
    write
        Writes the data into a folder and returns the path to read.
    epochs
        Epochs of training.
    candidates
        Changes of the chosen spec, by name.
    """

    write: Callable[[Path, np.random.Generator], Path]
    epochs: int
    candidates: dict[str, dict[str, Any]]


def _shape(rng: np.random.Generator, name: str, size: int, mode: str) -> Image.Image:
    """One shape on a noisy ground: bright on dark in "L" and "RGB", any colours in "any"."""
    axes = () if mode == "L" else (3,)
    ground = rng.integers(0, 256 if mode == "any" else 120, axes)
    pixels = ground + rng.normal(0, 12, (size, size, *axes))
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw, radius = ImageDraw.Draw(picture), rng.uniform(0.15, 0.3) * size
    x, y = rng.uniform(radius, size - radius, 2)
    colour: Any = 230
    if mode != "L":
        least = 0 if mode == "any" else 150
        levels = rng.integers(least, 256, 3)
        while np.abs(ground - levels).max() < 60 and mode == "any":  # hard to see
            levels = rng.integers(least, 256, 3)
        colour = tuple(levels.tolist())
    box = (x - radius, y - radius, x + radius, y + radius)
    if name == "circle":
        draw.ellipse(box, colour)
    elif name == "square":
        draw.rectangle(box, colour)
    elif name == "triangle":
        draw.polygon([(x, box[1]), (box[0], box[3]), (box[2], box[3])], colour)
    else:
        width = max(2, int(radius / 2.5))
        draw.line((*box[:2], *box[2:]), colour, width)
        draw.line((box[0], box[3], box[2], box[1]), colour, width)
    return picture


def pictures(folder: Path, rng: np.random.Generator, number: int, size: int, mode: str) -> Path:
    for i in range(number):
        name = SHAPES[i % len(SHAPES)]
        (folder / name).mkdir(exist_ok=True)
        _shape(rng, name, size, mode).save(folder / name / f"{i:04d}.png")
    return folder


def photos(folder: Path, rng: np.random.Generator) -> Path:
    """500 photos of 4 shapes, 64 x 64."""
    return pictures(folder, rng, 500, 64, "RGB")


def coloured(folder: Path, rng: np.random.Generator) -> Path:
    """500 photos of 4 shapes in any colour on any ground, 32 x 32."""
    return pictures(folder, rng, 500, 32, "any")


def drawings(folder: Path, rng: np.random.Generator) -> Path:
    """1,000 grey drawings of 4 shapes, 20 x 20."""
    return pictures(folder, rng, 1000, 20, "L")


def sounds(folder: Path, rng: np.random.Generator) -> Path:
    """180 sounds of half a second: low and high tones, and a chirp, in noise."""
    rate, samples = 8000, 4000
    seconds = np.arange(samples) / rate
    for i in range(180):
        name = ("low", "high", "chirp")[i % 3]
        start = {"low": (150, 400), "high": (900, 2000), "chirp": (200, 600)}[name]
        pitch = rng.uniform(*start)
        rise = rng.uniform(1500, 3000) if name == "chirp" else 0.0
        phase = 2 * math.pi * (pitch * seconds + rise * seconds**2) + rng.uniform(0, 6)
        sound = rng.uniform(0.2, 0.8) * np.sin(phase) + rng.normal(0, 0.05, samples)
        (folder / name).mkdir(exist_ok=True)
        with wave.open(str(folder / name / f"{i:03d}.wav"), "wb") as file:
            file.setparams((1, 2, rate, samples, "NONE", ""))
            file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return folder


def _comment(rng: np.random.Generator) -> tuple[str, float]:
    """A comment of one or two judgements, and how good it is."""
    parts, score = [], 0.0
    for _ in range(rng.integers(1, 3)):
        good, is_denied = rng.random() < 0.5, rng.random() < 0.25
        judgement = rng.choice(GOOD if good else BAD)
        parts.append(f"{rng.choice(NEUTRAL)} was {'not ' if is_denied else ''}{judgement}")
        score += 1 if good != is_denied else -1
    return ", ".join(parts), score


def texts(folder: Path, rng: np.random.Generator) -> Path:
    """4,000 comments, good or bad."""
    rows = []
    while len(rows) < 4000:
        comment, score = _comment(rng)
        if score:
            rows.append({"comment": comment, "label": "good" if score > 0 else "bad"})
    return _table(folder / "texts.csv", rows)


def _rows(rng: np.random.Generator) -> Iterator[tuple[dict[str, Any], float]]:
    """2,000 rows with three numbers, a city and a comment, some of them missing; and a score."""
    for _ in range(2000):
        age, income, nights = rng.uniform(18, 80), rng.lognormal(10, 0.5), rng.integers(1, 15)
        city = rng.choice(list(CITIES))
        good = rng.random() < 0.5
        comment = f"{rng.choice(NEUTRAL)} was {rng.choice(GOOD if good else BAD)}"
        score = 2.5 * math.sin(age / 12) + 1.5 * (math.log(income) - 10) + CITIES[city]
        score += 0.15 * (nights - 7) + (1.2 if good else -1.2) + rng.normal(0, 0.3)
        row = {"age": f"{age:.0f}", "income": f"{income:.2f}", "nights": nights}
        row |= {"city": city, "comment": comment}
        yield {n: "" if rng.random() < 0.02 else value for n, value in row.items()}, score


def table(folder: Path, rng: np.random.Generator) -> Path:
    """The rows, and whether their score is positive."""
    rows = [row | {"label": "yes" if score > 0 else "no"} for row, score in _rows(rng)]
    return _table(folder / "table.csv", rows)


def regression(folder: Path, rng: np.random.Generator) -> Path:
    """The rows, and their score."""
    rows = [row | {"target": f"{score:.4f}"} for row, score in _rows(rng)]
    return _table(folder / "regression.csv", rows)


def _table(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


WITHOUT_STEM = {"stem": None, "stem_dim": None}
KINDS = {
    "photos": Kind(
        photos,
        40,
        {
            "tiny": {},
            "tiny, patches of 4 x 4": WITHOUT_STEM | {"patch_shape": (4, 4)},
            "tiny, single pixels": WITHOUT_STEM,
            "small": {"size": "small"},
        },
    ),
    "coloured": Kind(
        coloured,
        40,
        {"tiny": {}, "tiny, stem of the published model": {"stem": "convolution"}},
    ),
    "drawings": Kind(
        drawings,
        20,
        {
            "tiny": {},
            "tiny, patches of 2 x 2": WITHOUT_STEM | {"patch_shape": (2, 2)},
            "tiny, single pixels": WITHOUT_STEM,
            "small": {"size": "small"},
        },
    ),
    "sounds": Kind(sounds, 60, {"tiny": {}, "small": {"size": "small"}}),
    "texts": Kind(texts, 8, {"tiny": {}, "small": {"size": "small"}}),
    "table": Kind(table, 30, {"tiny": {}, "small": {"size": "small"}}),
    "regression": Kind(regression, 30, {"tiny": {}, "small": {"size": "small"}}),
}


def gradient_boosting(data: TrainingData, path: Path, target: str) -> float:
    """Result of scikit-learn's gradient boosting on the same split of a table's columns."""
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.metrics import mean_absolute_error

    frame = pd.read_csv(path)
    words = CountVectorizer().fit_transform(frame["comment"].fillna("")).toarray()
    numbers = frame[["age", "income", "nights"]].to_numpy(float)
    city = frame["city"].astype("category").cat.codes.to_numpy()[:, None]
    columns, goals = np.concatenate([numbers, city, words], 1), frame[target]
    first, second = (part.indices for part in (data.train, data.validation))
    is_class = target == "label"
    model = HistGradientBoostingClassifier() if is_class else HistGradientBoostingRegressor()
    model.fit(columns[first], goals[first])
    found = model.predict(columns[second])
    if is_class:
        return float((found == goals[second]).mean())
    return float(mean_absolute_error(goals[second], found))


def measure(name: str, seed: int, only: str | None, settings: dict[str, Any]) -> None:
    """Train all candidates for one kind of data."""
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = kind.write(Path(folder), np.random.default_rng(seed))
        data = read_training_data(path, seed=seed)
        print(f"{name}: {len(data.train)} examples, {len(data.validation)} held out", flush=True)
        if name in ("table", "regression"):
            target = data.targets[0].name
            print(f"  {'gradient boosting':28} {gradient_boosting(data, path, target):.4f}")
        for candidate, changes in kind.candidates.items():
            if only is not None and candidate != only:
                continue
            changed = dict(changes)
            spec = spec_for(
                data.preprocessing,
                data.targets,
                len(data.train),
                changed.pop("size", None),
                **changed,
            )
            chosen = {"backend": "torch", "epochs": kind.epochs, "seed": seed} | settings
            chosen.setdefault("weight_decay", weight_decay(data, Settings(**chosen)))
            start = time.process_time()
            with tempfile.TemporaryDirectory() as run:
                fitted = fit(PerceiverIO(spec, seed=seed), data, Settings(**chosen), run)
            seconds = time.process_time() - start
            result = {n: f"{v:.4f}" for n, v in fitted.best.items() if n.startswith("validation")}
            last = fitted.history[-1][f"validation_{fitted.metric}"]
            print(f"  {candidate:28} {seconds:5.0f} s {result} last {last:.4f}", flush=True)


def weight_decay(data: Any, settings: Settings) -> float:
    """That of ``ivy-models train`` for a new model."""
    sizes = len(data.train), settings.batch_size, settings.learning_rate
    return default_weight_decay(data.preprocessing, *sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one candidate")
    parser.add_argument("--set", nargs="*", default=[], help="settings such as batch_size=32")
    arguments = parser.parse_args()
    settings = {}
    for setting in arguments.set:
        name, _, value = setting.partition("=")
        settings[name] = float(value) if "." in value or "e" in value else int(value)
    ivy.set_backend("torch")
    for name in arguments.kinds:
        measure(name, arguments.seed, arguments.only, settings)


if __name__ == "__main__":
    main()
