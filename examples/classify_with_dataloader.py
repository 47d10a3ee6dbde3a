"""Classify image files that the workers of a PyTorch DataLoader read and preprocess.

    python examples/classify_with_dataloader.py              # a few seconds
    python examples/classify_with_dataloader.py photos       # photos/seven/0012.png, ...

Without a folder, the held-out digits are written to a temporary one. A worker gets paths and the
model's preprocessing, which uses only NumPy and Pillow. The model, a ``torch.nn.Module``, stays in
the main process.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from digits import write_digits
from torch.utils.data import DataLoader, Dataset

from ivy_models import create_model


class ImageFiles(Dataset):
    """Preprocessed images and classes from a folder that has a subfolder for each label."""

    def __init__(self, folder: Path, labels: tuple[str, ...], preprocessing: Callable):
        self.paths = sorted(path for label in labels for path in (folder / label).glob("*"))
        self.classes = {label: index for index, label in enumerate(labels)}
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path = self.paths[index]
        return self.preprocessing(path), self.classes[path.parent.name]


@torch.inference_mode()
def count_right(module: torch.nn.Module, loader: DataLoader) -> int:
    return sum(
        int((module(images)[:, 0].argmax(-1) == classes).sum()) for images, classes in loader
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # more do not help a model this small, and the workers need cores
    model = create_model("perceiver_io_digits", pretrained=True)
    module = model.to_torch_module()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.folder is None:
            write_digits(Path(temporary), model.labels)
        files = ImageFiles(arguments.folder or Path(temporary), model.labels, model.preprocessing)
        loader = DataLoader(files, batch_size=60, num_workers=arguments.workers)
        start = time.perf_counter()
        right = count_right(module, loader)
        seconds = time.perf_counter() - start
    print(f"{right / len(files):.1%} of {len(files)} images right")
    print(f"{len(files) / seconds:.0f} images/s, including the start of the workers")


if __name__ == "__main__":
    main()
