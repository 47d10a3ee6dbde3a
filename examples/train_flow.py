"""Train a small model of optical flow on generated moving textures.

    python examples/train_flow.py                       # about two minutes on two cores
    python examples/train_flow.py --steps 500 --output flow.png

A frame has two halves that move independently. The textures are sums of waves, which are defined
between pixels too, so the true flow is exact. With ``--output``, a picture shows the flow of a new
pair of frames: estimated on the left, true on the right.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ivy_models import draw_flow, estimate_flow, perceiver_io_optical_flow
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.training.losses import end_point_error
from ivy_models.transformers.perceiver_io import PerceiverIOSpec
import ivy

SIZE = 16
FASTEST = 2.0
"""Largest motion along an axis, in pixels per frame."""

SPEC = PerceiverIOSpec(
    input_dim=3,
    num_input_axes=3,
    output_dim=2,
    queries_dim=32 + 2 * (2 * 4 + 1),  # the stem's channels; sines, cosines and positions
    network_depth=1,
    num_latents=32,
    latent_dim=64,
    num_self_att_heads=4,
    learn_query=False,
    num_lat_att_per_layer=2,
    num_fourier_freq_bands=4,
    max_fourier_freq=(SIZE, SIZE),
    stem="frame_pair",
    stem_dim=32,
    query_residual=False,
    queries_from_inputs=True,
)


def random_texture(rng: np.random.Generator, num: int) -> Callable[..., np.ndarray]:
    """Return a function from positions x, y (num, SIZE, SIZE) to colours (num, SIZE, SIZE, 3)."""
    num_waves = 6
    angle = rng.uniform(0, 2 * np.pi, (num, 1, 1, num_waves))
    frequency = 2 * np.pi / rng.uniform(SIZE / 2, 1.5 * SIZE, (num, 1, 1, num_waves))
    phase = rng.uniform(0, 2 * np.pi, (num, 1, 1, num_waves, 3))

    def colours(x, y):
        along = np.cos(angle) * x[..., None] + np.sin(angle) * y[..., None]
        waves = np.sin((frequency * along)[..., None] + phase)
        return (waves.sum(-2) / 4).clip(-1, 1)

    return colours


def moving_pairs(rng: np.random.Generator, num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of frames (num, 2, SIZE, SIZE, 3) in [-1, 1], and their flow (num, SIZE, SIZE, 2)."""
    y, x = np.mgrid[:SIZE, :SIZE]
    border = rng.uniform(0.3 * SIZE, 0.7 * SIZE, (num, 1, 1))
    textures = [random_texture(rng, num) for _ in range(2)]
    motions = rng.uniform(-FASTEST, FASTEST, (2, num, 1, 1, 2))
    frames = []
    for time in (0, 1):
        left, right = (
            colours(x - time * motion[..., 0], y - time * motion[..., 1])
            for colours, motion in zip(textures, motions, strict=True)
        )
        is_left = x < border + time * motions[0, ..., 0]
        frames.append(np.where(is_left[..., None], left, right))
    flow = np.where((x < border)[..., None], *motions)
    return torch.from_numpy(np.stack(frames, 1)).float(), torch.from_numpy(flow).float()


def train(model, steps: int, rng: np.random.Generator) -> list[float]:
    """Train the weights in ``model.v``; return the end-point error of each step, in pixels."""
    weights = {name: leaf.data for name, leaf in flatten(model.v)}
    for weight in weights.values():
        weight.requires_grad_()
    params = unflatten(weights)
    optimizer = torch.optim.AdamW(weights.values(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    losses = []
    progress = tqdm(range(steps), unit="step")
    for _ in progress:
        frames, flow = moving_pairs(rng, 16)
        estimated = model.core(params, frames).reshape(flow.shape)
        loss = end_point_error(estimated, flow)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress.set_postfix(loss=f"{losses[-1]:.3f}")
    for weight in weights.values():  # these are the tensors of model.v
        weight.requires_grad_(False)
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="where to write the picture")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    ivy.set_backend("torch")
    torch.set_num_threads(1)  # a second thread gains little for arrays this small
    rng = np.random.default_rng(arguments.seed)
    frames, flow = moving_pairs(rng, 100)  # held out: training draws other pairs
    model = perceiver_io_optical_flow(SPEC, pretrained=False, seed=arguments.seed)
    train(model, arguments.steps, rng)

    error = end_point_error(model(frames).data, flow)
    print(f"end-point error of {len(flow)} held-out pairs: {error:.2f} pixels")
    print(f"without any motion: {end_point_error(torch.zeros_like(flow), flow):.2f} pixels")

    if arguments.output is not None:
        first, second = (frames[0].numpy() + 1) / 2
        both = np.concatenate([estimate_flow(model, first, second), flow[0].numpy()], axis=1)
        picture = Image.fromarray(draw_flow(both))
        picture.resize((16 * picture.width, 16 * picture.height), 0).save(arguments.output)
        print(f"{arguments.output}: estimated and true flow of one pair")


if __name__ == "__main__":
    main()
