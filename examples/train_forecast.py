"""Forecast a day of power demand from the hours before it and from a table of facts.

    python examples/train_forecast.py                        # a minute on two cores

The model is built from modalities, because no published model has this task. It reads a time series
and a row of a table, and predicts the hours of the next day and the time of its peak. The script
generates the data: demand follows the time of day and the weather. A holiday tomorrow, which only
the table knows, nearly halves it. A training step decodes a few random hours. At the end all hours
are decoded, with and without the table.
"""

import argparse

import numpy as np
import torch
from tqdm import trange

from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.transformers.perceiver_io import (
    InputModality,
    OutputModality,
    PerceiverIO,
    PerceiverIOSpec,
)
import ivy

PAST, NEXT = 48, 24  # hours
PEAKS = ("morning", "midday", "evening")

SPEC = PerceiverIOSpec(
    input_dim=32,
    num_input_axes=1,
    output_dim=32,
    queries_dim=32,
    network_depth=1,
    num_latents=16,
    latent_dim=64,
    num_self_att_heads=4,
    num_lat_att_per_layer=3,
    learn_query=False,
    fourier_encode_input=False,
    input_modalities=[
        InputModality("hours", input_dim=2, num_input_axes=1, num_fourier_freq_bands=8),
        InputModality("facts", input_dim=2, num_input_axes=0),
    ],
    output_modalities=[
        OutputModality("demand", output_dim=1, query_shape=[NEXT], num_fourier_freq_bands=6),
        OutputModality("peak", output_dim=len(PEAKS), query_shape=[1], learned_query_dim=16),
    ],
)


def make_days(number: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Draw days.

    "hours" (n, 48, 2) are demand and temperature; "facts" (n, 2) are whether tomorrow is a holiday,
    and its temperature; "demand" (n, 24, 1) and "peak" (n,) are those of tomorrow.
    """
    hours = np.arange(PAST + NEXT)
    peak = rng.integers(len(PEAKS), size=number)
    daily = np.exp(-(((hours % 24 - np.array([8, 13, 19])[peak][:, None]) / 3) ** 2))
    temperature = rng.normal(0, 1, (number, 3)).repeat(24, axis=1)  # one per day
    holiday = rng.random(number) < 0.3
    demand = daily * rng.uniform(0.8, 1.2, (number, 1)) + 0.2 * temperature
    demand[:, PAST:] *= np.where(holiday, 0.55, 1)[:, None]
    demand += 0.03 * rng.standard_normal(demand.shape)
    series = np.stack([demand, temperature], -1)[:, :PAST]
    arrays = {
        "hours": series,
        "facts": np.stack([holiday, temperature[:, -1]], -1),
        "demand": demand[:, PAST:, None],
    }
    days = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    return days | {"peak": torch.from_numpy(peak)}


def train(model: PerceiverIO, steps: int, seed: int) -> None:
    """Train the model's own weights, in place."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    weights = {name: leaf.data.requires_grad_() for name, leaf in flatten(model.v)}
    params = unflatten(weights)
    optimizer = torch.optim.AdamW(weights.values(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    progress = trange(steps, unit="step")
    for _ in progress:
        days = make_days(64, rng)
        data = {name: days[name] for name in ("hours", "facts")}
        # Hide half of the rows of the table, so that the model learns to work without one.
        seen = {"facts": torch.rand((64, 1), generator=generator) < 0.5}
        some_hours = torch.randperm(NEXT, generator=generator)[:8]
        outputs = model.core(params, data, seen, {"demand": some_hours, "peak": None})
        loss = torch.nn.functional.l1_loss(outputs["demand"], days["demand"][:, some_hours])
        loss += 0.1 * torch.nn.functional.cross_entropy(outputs["peak"][:, 0], days["peak"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    for weight in weights.values():
        weight.requires_grad_(False)


def evaluate(model: PerceiverIO, days: dict[str, torch.Tensor], facts: bool) -> tuple[float, float]:
    """Mean absolute error of the demand and share of correct peaks, with or without the table."""
    data = {name: days[name] for name in (("hours", "facts") if facts else ("hours",))}
    outputs = {name: output.data for name, output in model(data).items()}
    error = (outputs["demand"] - days["demand"]).abs().mean()
    right = outputs["peak"][:, 0].argmax(-1) == days["peak"]
    return error.item(), right.float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    ivy.set_backend("torch")
    torch.set_num_threads(1)  # more do not help a model this small, and would wait for busy cores
    model = PerceiverIO(SPEC, seed=arguments.seed)
    train(model, arguments.steps, arguments.seed)

    held_out = make_days(500, np.random.default_rng([arguments.seed, 1]))
    yesterday = (held_out["hours"][:, -NEXT:, :1] - held_out["demand"]).abs().mean()
    print(f"error of repeating yesterday: {yesterday:.3f}")
    for facts in (True, False):
        error, right = evaluate(model, held_out, facts)
        print(f"error {'with' if facts else 'without'} the table: {error:.3f}, peaks: {right:.1%}")


if __name__ == "__main__":
    main()
