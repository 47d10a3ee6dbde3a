"""Read handwritten digits from any part of their patches, through four latents.

    python examples/train_resampler.py                    # half a minute on one core

A digit of 8x8 pixels is 16 patches of 2x2. A resampler of four latents reads them, and its pooled
output is the logits. A training step hides half of the patches of each image by the mask. At the
end the digits are read from all of their patches, and from half.
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from tqdm import trange

from ivy_models.shells.torch import Resampler
from ivy_models.transformers.perceiver_io import ResamplerSpec

DIM, PATCHES = 32, 16

SPEC = ResamplerSpec(
    input_dim=DIM,
    latent_dim=DIM,
    num_latents=4,
    num_layers=2,
    num_self_attention_layers=1,
    num_heads=4,
    head_dim=8,
    output_dim=10,
    output_norm=False,
    pooled=True,
)


class Classifier(nn.Module):
    """Patches (B, 16, 4), and a mask (B, 16) of those to read -> logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, DIM)
        self.places = nn.Parameter(0.02 * torch.randn(PATCHES, DIM))
        self.resampler = Resampler(SPEC)

    def forward(self, patches: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.resampler(self.embed(patches) + self.places, mask=mask)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The patches (n, 16, 4) of scikit-learn's digits, in an order of their own, and the labels."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    images = torch.from_numpy(found.images[order].astype(np.float32) / 8 - 1)
    patches = images.unflatten(1, (4, 2)).unflatten(3, (4, 2)).transpose(2, 3)
    return patches.reshape(-1, PATCHES, 4), torch.from_numpy(found.target[order])


def some(shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """A mask that shows half of the patches of each image."""
    return torch.rand(shape, generator=generator).argsort(1) < PATCHES // 2


def train(steps: int, seed: int) -> Classifier:
    """Train on all digits but the last 300."""
    patches, labels = (x[:-300] for x in digits())
    torch.manual_seed(seed)
    model, generator = Classifier(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in (bar := trange(steps, mininterval=5)):
        rows = torch.randint(len(patches), (64,), generator=generator)
        logits = model(patches[rows], some((64, PATCHES), generator))
        loss = nn.functional.cross_entropy(logits, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


@torch.inference_mode()
def accuracy(model: Classifier, seed: int) -> tuple[float, float]:
    """Share of the last 300 digits that are read right from all patches, and from half."""
    patches, labels = (x[-300:] for x in digits())
    half = some((len(patches), PATCHES), torch.Generator().manual_seed(seed))
    right = (model(patches, mask).argmax(1) == labels for mask in (None, half))
    from_all, from_half = (share.float().mean().item() for share in right)
    return from_all, from_half


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    from_all, from_half = accuracy(train(arguments.steps, arguments.seed), arguments.seed)
    print(f"right from all patches: {from_all:.1%}; from half of them: {from_half:.1%}")
