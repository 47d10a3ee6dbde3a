"""Map a landscape from heights that were measured at scattered points.

    python examples/train_field.py                        # half a minute on two cores

The model reads 400 heights with the coordinates of their points, and is asked for the height at
other coordinates. It is fitted to one landscape, as a coordinate network is: a training step hides
half of the points and asks for the heights of all. The script generates the landscape. At the end
it maps points that were not measured, and draws the landscape on a regular grid.
"""

import argparse

import numpy as np
import torch
from tqdm import trange

from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec
import ivy

SIZE = 100.0  # km
MEASURED = 400

SPEC = PerceiverIOSpec(
    input_dim=1,
    num_input_axes=1,
    output_dim=1,
    num_position_axes=2,
    num_query_position_axes=2,
    position_range=[0.0, SIZE],
    num_fourier_freq_bands=4,
    max_fourier_freq=8.0,
    learn_query=False,
    queries_dim=64,
    network_depth=1,
    num_latents=16,
    latent_dim=64,
    num_self_att_heads=4,
    num_lat_att_per_layer=1,
)


def height(places: np.ndarray) -> np.ndarray:
    """Heights (n, 1), in units of 100 m, at places (n, 2) in km."""
    y, x = (places / SIZE).T
    return (np.sin(5 * x + 2 * y) + np.cos(7 * y - 3 * x * x))[:, None]


def measure(number: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (n, 2) and their heights (n, 1)."""
    places = rng.uniform(0, SIZE, (number, 2))
    heights = torch.from_numpy(height(places).astype(np.float32))
    return torch.from_numpy(places.astype(np.float32)), heights


def train(model: PerceiverIO, steps: int, seed: int) -> PerceiverIO:
    """Fit a copy of the model to the measured points."""
    places, heights = measure(MEASURED, np.random.default_rng(seed))
    module, generator = model.to_torch_module(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in (bar := trange(steps, mininterval=5)):
        seen = torch.rand(MEASURED, generator=generator) < 0.5
        mapped = module(heights, mask=seen, queries=places, positions=places)
        loss = torch.nn.functional.mse_loss(mapped, heights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    return model.with_weights(module)


def errors(model: PerceiverIO, seed: int) -> tuple[float, float]:
    """Mean errors where nothing was measured: the model's, and the nearest measured height's."""
    places, heights = measure(MEASURED, np.random.default_rng(seed))
    asked, true = measure(1000, np.random.default_rng([seed, 1]))
    mapped = model(heights, positions=places, queries=asked).data
    nearest = heights[torch.cdist(asked, places).argmin(1)]
    return (mapped - true).abs().mean().item(), (nearest - true).abs().mean().item()


def draw(model: PerceiverIO, seed: int) -> str:
    """The landscape on a regular grid, from low to high, as text."""
    places, heights = measure(MEASURED, np.random.default_rng(seed))
    line = torch.linspace(0, SIZE, 24)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
    mapped = model(heights, positions=places, queries=grid).data[..., 0]
    shades = " .:-=+*#%@"
    levels = ((mapped + 2) / 4 * len(shades)).long().clamp(0, len(shades) - 1)
    return "\n".join("".join(2 * shades[level] for level in row) for row in levels.tolist())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ivy.set_backend("torch")
    torch.set_num_threads(1)
    model = train(PerceiverIO(SPEC, seed=arguments.seed), arguments.steps, arguments.seed)
    ours, nearest = errors(model, arguments.seed)
    print(f"mean error: {100 * ours:.0f} m; of the nearest measured height: {100 * nearest:.0f} m")
    print(draw(model, arguments.seed))
