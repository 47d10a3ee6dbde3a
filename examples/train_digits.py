"""Train the small digit classifier that ships with the package.

    python examples/train_digits.py                          # a few minutes on two cores
    python examples/train_digits.py --output my_digits --epochs 20

The data are scikit-learn's digits: 1,797 grey images of 8x8 pixels. A fifth, drawn
by seed and stratified by class, is held out and used once, at the end. The folder that is
written has the model and a record of the split and the accuracy.
"""

import argparse
import json
import math
from pathlib import Path

import ivy
import torch
from digits import SPLIT_SEED, digits_split
from tqdm import tqdm

from ivy_models import create_model
from ivy_models.transformers.perceiver_io.parameters import flatten, unflatten

OUTPUT = Path(__file__).parent.parent / "ivy_models" / "data" / "perceiver_io_digits"


def augmented(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move half of the images (B, 8, 8, 1) by up to a pixel along each axis, and add noise."""
    padded = torch.nn.functional.pad(images, (0, 0, 1, 1, 1, 1), value=float(images.min()))
    offsets = torch.randint(0, 3, (len(images), 2), generator=generator)
    offsets[torch.rand(len(images), generator=generator) < 0.5] = 1  # stay
    moved = torch.stack(
        [
            image[y : y + 8, x : x + 8]
            for image, (y, x) in zip(padded, offsets.tolist(), strict=True)
        ]
    )
    return moved + 0.1 * torch.randn(moved.shape, generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    ivy.set_backend("torch")
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    train_images, train_labels, train, test_images, test_labels, test = digits_split()
    model = create_model("perceiver_io_digits", seed=arguments.seed)
    images = torch.from_numpy(model.preprocessing(list(train_images)))
    labels = torch.from_numpy(train_labels)

    core = model.core
    weights = {name: leaf.data for name, leaf in flatten(model.v)}
    for weight in weights.values():
        weight.requires_grad_()
    params = unflatten(weights)
    optimizer = torch.optim.AdamW(weights.values(), lr=arguments.learning_rate, weight_decay=0.05)
    steps = arguments.epochs * math.ceil(len(images) / arguments.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, arguments.learning_rate, steps)
    progress = tqdm(range(arguments.epochs), unit="epoch")
    for _ in progress:
        for batch in torch.randperm(len(images), generator=generator).split(arguments.batch_size):
            logits = core(params, augmented(images[batch], generator))[:, 0]
            loss = torch.nn.functional.cross_entropy(logits, labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
            optimizer.step()
            schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")

    with torch.inference_mode():
        logits = core(params, torch.from_numpy(model.preprocessing(list(test_images))))[:, 0]
    accuracy = float((logits.argmax(-1).numpy() == test_labels).mean())
    print(f"accuracy on the {len(test)} held-out images: {accuracy:.4f}")

    model.save_pretrained(arguments.output)
    record = {
        "data": "sklearn.datasets.load_digits",
        "split_seed": SPLIT_SEED,
        "train": sorted(train.tolist()),
        "test": sorted(test.tolist()),
        "test_accuracy": accuracy,
        "epochs": arguments.epochs,
        "seed": arguments.seed,
    }
    (arguments.output / "training.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
