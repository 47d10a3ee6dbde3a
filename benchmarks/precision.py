"""Compare half precision with float32: time, and agreement of the logits.

    python benchmarks/precision.py

It runs two models: the trained perceiver_io_digits on all 1,797 digits of scikit-learn, and the
full-size Fourier model with random weights on a 224x224 image, which is timed. Writes precision.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
from machine import describe_machine
from sklearn.datasets import load_digits
from subjects import MODELS

from ivy_models import create_model
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

TYPES = ("float32", "bfloat16", "float16")
BACKENDS = ("torch", "jax", "tensorflow")
BATCH = 256

LEGEND = """\
- **top-1**: share of the 1,797 digits that get the same label as in float32.
- **digits**, **full size**: largest difference from the float32 logits, in standard deviations of
  those logits.
- **time**: median time of a call of the full-size Fourier model, with random weights, on one
  224x224 image. The types take turns."""

COLUMNS = (
    "backend",
    "type",
    "top-1",
    "digits",
    "full size",
    "time, s",
    "min - max, s",
    "÷ float32",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="calls of each type")
    parser.add_argument("--device", default="cpu", help='"cpu" or "cuda"')
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    rows = [COLUMNS, ["---"] * 2 + ["---:"] * (len(COLUMNS) - 2)]
    for backend in BACKENDS:
        rows += measure(backend, arguments.device, arguments.repeats)
        print(rows[-len(TYPES) :], flush=True)
    parts = [
        "# Half precision",
        "\n".join(f"- {k}: {v}" for k, v in describe_machine(arguments.device).items()),
        LEGEND,
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
    ]
    (arguments.output / "precision.md").write_text("\n\n".join(parts) + "\n", "utf-8")


def measure(backend: str, device: str, repeats: int) -> list[list[str]]:
    """Return one row of the table for each type."""
    ivy.set_backend(backend)
    digits = {name: _digit_logits(name, device) for name in TYPES}
    image = np.random.default_rng(0).standard_normal((1, 224, 224, 3), np.float32)
    models = {n: PerceiverIO(MODELS["fourier"].replace(dtype=n, device=device)) for n in TYPES}
    logits = {name: _numpy(model(image)) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in TYPES}
    for _ in range(repeats):
        for name, model in models.items():
            start = time.perf_counter()
            _numpy(model(image))
            seconds[name].append(time.perf_counter() - start)
    full = digits["float32"]
    return [
        [
            backend,
            name,
            f"{np.mean(digits[name].argmax(-1) == full.argmax(-1)):.2%}",
            f"{_difference(digits[name], full):.4f}",
            f"{_difference(logits[name], logits['float32']):.4f}",
            f"{median(seconds[name]):.3g}",
            f"{min(seconds[name]):.3g} - {max(seconds[name]):.3g}",
            f"{median(seconds[name]) / median(seconds['float32']):.2f}",
        ]
        for name in TYPES
    ]


def _digit_logits(dtype: str, device: str) -> np.ndarray:
    model = create_model("perceiver_io_digits", pretrained=True, dtype=dtype, device=device)
    data = model.preprocessing(list(load_digits().images / 16))
    batches = np.split(data, range(BATCH, len(data), BATCH))
    return np.concatenate([_numpy(model(batch)) for batch in batches])


def _numpy(logits: ivy.Array) -> np.ndarray:
    return ivy.to_numpy(logits.astype("float32"))


def _difference(logits: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(logits - reference).max() / reference.std())


if __name__ == "__main__":
    main()
