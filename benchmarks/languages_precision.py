"""Compare perceiver_io_languages in float32, half precision and int8, by backend and engine.

    python benchmarks/languages_precision.py languages/sizes/50.csv

``examples/languages/pieces.py`` writes the file. Texts are in batches of 64. In int8, PyTorch's
``quantize_dynamic`` quantises the weights of linear layers and their inputs, and that of
onnxruntime also the embeddings. Speed is by the seconds of the processor, the best of three runs.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from ivy_models import OnnxModel, create_model, identify_language
from ivy_models.arrays import set_backend
from ivy_models.checkpoints.onnx_file import write_sealed
from ivy_models.ops import BACKENDS
from ivy_models.shells.engines import ENGINES

NAME = "perceiver_io_languages"
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pieces", type=Path)
    arguments = parser.parse_args()
    with arguments.pieces.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if any(map(str.isalpha, row["text"]))]
    texts, languages = [row["text"] for row in rows], np.array([row["language"] for row in rows])
    print(f"{len(texts):,} pieces")
    expected = None
    for dtype, name, model in models():
        found, seconds = identified(model, texts)
        expected = found if expected is None else expected
        shares = np.mean(found == languages), np.mean(found == expected)
        shown = "  ".join(f"{share:8.2%}" for share in shares)
        print(f"{dtype:8}  {name:11}  {shown}  {len(texts) / seconds:6,.0f}", flush=True)


def models() -> Iterator[tuple[str, str, Any]]:
    """Type, backend or engine, and a model."""
    for dtype, backends in {
        "float32": BACKENDS,
        "bfloat16": ("torch", "jax", "tensorflow"),
        "float16": ("torch", "jax"),
    }.items():
        for backend in backends:
            set_backend(backend)
            yield dtype, backend, create_model(NAME, pretrained=True, dtype=dtype)
    set_backend("torch")
    model = create_model(NAME, pretrained=True)
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder, "model.onnx"), Path(folder, "int8.onnx")
        model.to_onnx(path, mask=True)
        for engine in ENGINES:
            yield "float32", engine, OnnxModel(path, engine)
        quantize_dynamic(path, small, weight_type=QuantType.QInt8)
        write_sealed(small, [small.read_bytes()])
        print(f"files of {path.stat().st_size:,} and {small.stat().st_size:,} bytes")
        yield "int8", "onnxruntime", OnnxModel(small)
    yield "int8", "torch", quantised(model)


def quantised(model: Any) -> Any:
    """The model, which calls a module in int8."""
    module = torch.ao.quantization.quantize_dynamic(
        model.to_torch_module().eval(), {torch.nn.Linear}, torch.qint8
    )

    class Quantised:
        """What ``identify_language`` uses of a model."""

        preprocessing, labels, spec = model.preprocessing, model.labels, model.spec
        is_trained = True

        @torch.inference_mode()
        def __call__(self, data: Any, mask: Any) -> Any:
            tensors = [{k: torch.as_tensor(v) for k, v in each.items()} for each in (data, mask)]
            return module(*tensors)

    return Quantised()


def identified(model: Callable[..., Any], texts: list[str]) -> tuple[np.ndarray, float]:
    """The languages of texts, and the seconds of the processor."""
    batches = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]
    identify_language(batches[0], model)
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        found = [identify_language(batch, model, threshold=0.0) for batch in batches]
        seconds.append(time.process_time() - begun)
    return np.array([each.language for batch in found for each in batch]), min(seconds)


if __name__ == "__main__":
    main()
