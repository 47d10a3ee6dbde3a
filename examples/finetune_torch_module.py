"""Fine-tune the digit classifier for another task, in a plain PyTorch loop.

    python examples/finetune_torch_module.py                 # under a minute on a CPU core
    python examples/finetune_torch_module.py --output my_parity --steps 200

The new task: is a digit even or odd? The trained model gets a fresh head of two classes and becomes
a ``torch.nn.Module``. First only the head is trained, then the whole model. Finally the
trained weights go back into the model, which is saved and loaded again to run without PyTorch.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch
from digits import digits_split
from tqdm import trange

from ivy_models import create_model
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

LABELS = ("even", "odd")


def make_model(seed: int) -> PerceiverIO:
    model = create_model(
        "perceiver_io_digits", pretrained=True, fresh=["decoder/head"], output_dim=2, seed=seed
    )
    model.labels = LABELS
    return model


def parity_split(model: PerceiverIO) -> tuple[torch.Tensor, ...]:
    """Preprocessed images and whether they are odd: the training set, then the held-out set."""
    train_images, train_classes, _, test_images, test_classes, _ = digits_split()
    return (
        torch.from_numpy(model.preprocessing(list(train_images))),
        torch.from_numpy(train_classes % 2),
        torch.from_numpy(model.preprocessing(list(test_images))),
        torch.from_numpy(test_classes % 2),
    )


def train(
    module: torch.nn.Module,
    parameters: Iterable[torch.nn.Parameter],
    images: torch.Tensor,
    labels: torch.Tensor,
    steps: int,
    learning_rate: float,
) -> None:
    """Train some of a module's parameters."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
    module.train()
    progress = trange(steps, unit="step")
    for _ in progress:
        batch = torch.randint(len(images), (64,))
        loss = torch.nn.functional.cross_entropy(module(images[batch])[:, 0], labels[batch])
        module.zero_grad()
        loss.backward()
        optimizer.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    module.eval()


@torch.inference_mode()
def accuracy(module: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    return (module(images)[:, 0].argmax(-1) == labels).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(gettempdir(), "perceiver_io_parity"))
    parser.add_argument(
        "--steps", type=int, default=300, help="number of steps in each of the two phases"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # more do not help a model this small, and would wait for busy cores
    torch.manual_seed(arguments.seed)
    model = make_model(arguments.seed)
    images, labels, *held_out = parity_split(model)
    module = model.to_torch_module()
    print(f"accuracy with a fresh head: {accuracy(module, *held_out):.1%}")
    train(module, module.decoder.head.parameters(), images, labels, arguments.steps, 1e-2)
    print(f"with the head trained: {accuracy(module, *held_out):.1%}")
    train(module, module.parameters(), images, labels, arguments.steps, 3e-4)
    print(f"with all trained: {accuracy(module, *held_out):.1%}")

    model.with_weights(module.weights()).save_pretrained(arguments.output)
    ivy.set_backend("numpy")
    loaded = PerceiverIO.from_pretrained(arguments.output)
    with torch.inference_mode():
        logits = module(held_out[0]).numpy()
    difference = np.abs(loaded(held_out[0].numpy()).data - logits).max()
    print(f"{arguments.output} on NumPy: logits differ from PyTorch's by at most {difference:.0e}")


if __name__ == "__main__":
    main()
