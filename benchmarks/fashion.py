"""Compare the accuracy of perceiver_io_fashion in float32, half precision and int8.

    python benchmarks/fashion.py fashion_images/test

``examples/fashion.py`` writes the folder. In int8, the weights of linear layers and their inputs
are quantised, by PyTorch's ``quantize_dynamic``. Writes fashion.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from machine import describe_machine

from ivy_models import create_model
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

NAME = "perceiver_io_fashion"
BACKENDS = ("numpy", "torch", "jax", "tensorflow", "paddle")
HALF_BACKENDS = ("torch", "jax", "tensorflow")
BATCH = 250

LEGEND = """\
- **accuracy**: share of the images that get their own label.
- **as in float32**: share of the images that get the same label as in float32 on NumPy."""

COLUMNS = ("backend", "type", "accuracy", "as in float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "images", type=Path, help="folder with a subfolder of images for each class"
    )
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"))
    arguments = parser.parse_args()
    ivy.set_backend("numpy")
    model = create_model(NAME)
    files = [sorted(Path(arguments.images, label).iterdir()) for label in model.labels]
    data = model.preprocessing([file for own in files for file in own])
    classes = np.repeat(np.arange(len(files)), [len(own) for own in files])
    rows = [COLUMNS, ("---", "---", "---:", "---:")]
    expected = None
    for backend, dtype, call in calls():
        found = np.concatenate([call(part) for part in np.split(data, len(data) // BATCH)])
        expected = found if expected is None else expected
        shares = (found == classes).mean(), (found == expected).mean()
        rows.append((backend, dtype, *(f"{share:.2%}" for share in shares)))
        print(rows[-1], flush=True)
    parts = [
        f"# {NAME} in float32, half precision and int8",
        "\n".join(f"- {k}: {v}" for k, v in describe_machine("cpu").items()),
        LEGEND,
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
    ]
    (arguments.output / "fashion.md").write_text("\n\n".join(parts) + "\n", "utf-8")


def calls() -> Iterator[tuple[str, str, Callable[[np.ndarray], np.ndarray]]]:
    """Backend, type, and a function from data to the numbers of the predicted classes."""
    for dtype, backends in {
        "float32": BACKENDS,
        "bfloat16": HALF_BACKENDS,
        "float16": HALF_BACKENDS,
    }.items():
        for backend in backends:
            ivy.set_backend(backend)
            yield backend, dtype, classes_of(create_model(NAME, pretrained=True, dtype=dtype))
    ivy.set_backend("torch")
    yield "torch", "int8", classes_of_int8(create_model(NAME, pretrained=True))


def classes_of(model: PerceiverIO) -> Callable[[np.ndarray], np.ndarray]:
    return lambda data: ivy.to_numpy(model(data).astype("float32")).argmax(-1)


def classes_of_int8(model: PerceiverIO) -> Callable[[np.ndarray], np.ndarray]:
    module = torch.ao.quantization.quantize_dynamic(
        model.to_torch_module().eval(), {torch.nn.Linear}, torch.qint8
    )

    @torch.inference_mode()
    def call(data: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(data)).argmax(-1).numpy()

    return call


if __name__ == "__main__":
    main()
