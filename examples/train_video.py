"""Train a small autoencoder of video, sound and label, on generated clips.

    python examples/train_video.py                    # a minute or two on two cores
    python examples/train_video.py --output clips     # pictures of a clip and its reconstruction

A clip shows a square that moves in one of four directions, each with its own tone. The label is
hidden half of the time, so that the model learns to predict it. A step decodes some of the pixels
and some of the sound, as in the paper.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import trange

from ivy_models import perceiver_io_video, reconstruct_video
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.training.losses import classification_loss, reconstruction_loss, weighted_sum
from ivy_models.transformers.perceiver_io import (
    InputModality,
    OutputModality,
    PerceiverIO,
    PerceiverIOSpec,
)
import ivy

FRAMES, SIZE, SAMPLES, PATCH = 4, 16, 256, 8
DIRECTIONS = ("right", "down", "left", "up")
STEP = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
LOSS_WEIGHTS = {"image": 3.0, "audio": 0.3, "label": 0.03}

SPEC = PerceiverIOSpec(
    input_dim=48,
    num_input_axes=1,
    output_dim=64,
    queries_dim=64,
    network_depth=1,
    num_latents=16,
    latent_dim=64,
    num_self_att_heads=4,
    num_lat_att_per_layer=2,
    learn_query=False,
    fourier_encode_input=False,
    query_residual=False,
    input_modalities=[
        InputModality("image", 3, 3, num_fourier_freq_bands=4, patch_shape=[1, 2, 2]),
        InputModality("audio", 1, 1, num_fourier_freq_bands=16, patch_shape=[PATCH]),
        InputModality("label", len(DIRECTIONS), 0),
    ],
    output_modalities=[
        OutputModality("image", 3, [FRAMES, SIZE, SIZE], num_fourier_freq_bands=8),
        OutputModality(
            "audio", 1, [SAMPLES // PATCH], num_fourier_freq_bands=16, patch_shape=[PATCH]
        ),
        OutputModality("label", len(DIRECTIONS), [1], learned_query_dim=32),
    ],
)


def make_clips(number: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Draw clips: "image" (n, 4, 16, 16, 3), "audio" (n, 256, 1) and "label" (n,)."""
    label = rng.integers(len(DIRECTIONS), size=number)
    corner = rng.integers(6, 8, (number, 1, 2)) - 4 * STEP[label][:, None]
    corner = corner + 2 * STEP[label][:, None] * np.arange(FRAMES)[:, None]  # (n, frames, 2)
    place = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij"), -1)
    offset = place - corner[:, :, None, None]
    inside = ((offset >= 0) & (offset < 6)).all(-1, keepdims=True)
    colour = rng.uniform(0.4, 1, (number, 1, 1, 1, 3))
    cycles = np.array([4, 6, 9, 13])[label][:, None]
    loudness = rng.uniform(0.5, 1, (number, 1))
    tone = loudness * np.sin(2 * np.pi * cycles * np.arange(SAMPLES) / SAMPLES)
    arrays = {"image": inside * colour, "audio": tone[..., None]}
    clips = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    return clips | {"label": torch.from_numpy(label)}


def loss_of(core, params, clips: dict[str, torch.Tensor], generator: torch.Generator):
    """Weighted sum of the losses at random positions, with half of the labels hidden."""
    number = len(clips["label"])
    one_hot = torch.nn.functional.one_hot(clips["label"], len(DIRECTIONS)).float()
    seen = {"label": torch.rand((number, 1), generator=generator) < 0.5}
    pixels = torch.randperm(FRAMES * SIZE * SIZE, generator=generator)[:256]
    patches = torch.randperm(SAMPLES // PATCH, generator=generator)[:16]
    where = {"image": pixels, "audio": patches, "label": None}
    outputs = core(params, clips | {"label": one_hot}, seen, where)
    losses = {
        "image": reconstruction_loss(
            outputs["image"], clips["image"].reshape(number, -1, 3)[:, pixels]
        ),
        "audio": reconstruction_loss(
            outputs["audio"], clips["audio"].reshape(number, -1, PATCH, 1)[:, patches]
        ),
        "label": classification_loss(outputs["label"], clips["label"][:, None]),
    }
    return weighted_sum(losses, LOSS_WEIGHTS)


def train(model: PerceiverIO, steps: int, seed: int) -> None:
    """Train the model's own weights, in place."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    weights = {name: leaf.data.requires_grad_() for name, leaf in flatten(model.v)}
    params = unflatten(weights)
    optimizer = torch.optim.AdamW(weights.values(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    progress = trange(steps, unit="step")
    for _ in progress:
        loss = loss_of(model.core, params, make_clips(32, rng), generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    for weight in weights.values():
        weight.requires_grad_(False)


def decibels(output: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio of pixels in [0, 1]."""
    return float(-10 * np.log10(np.square(output - target).mean()))


def write_frames(path: Path, frames: np.ndarray) -> None:
    """Write the frames of a clip side by side."""
    pixels = np.round(255 * np.concatenate(list(frames), axis=1)).astype(np.uint8)
    Image.fromarray(pixels).resize((pixels.shape[1] * 8, pixels.shape[0] * 8), 0).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, help="folder for pictures of a clip and its reconstruction"
    )
    arguments = parser.parse_args()

    ivy.set_backend("torch")
    torch.set_num_threads(1)  # more do not help a model this small, and would wait for busy cores
    model = perceiver_io_video(SPEC, pretrained=False, seed=arguments.seed)
    model.labels = DIRECTIONS
    train(model, arguments.steps, arguments.seed)

    clips = make_clips(100, np.random.default_rng([arguments.seed, 1]))
    frames, sounds, labels = (clips[name].numpy() for name in ("image", "audio", "label"))
    results = [reconstruct_video(model, *clip) for clip in zip(frames, sounds, strict=True)]
    named = [result.predictions[0].label for result in results]
    right = np.mean([name == DIRECTIONS[label] for name, label in zip(named, labels, strict=True)])
    decoded = np.stack([result.frames for result in results])
    error = np.abs(np.stack([result.sound for result in results]) - sounds).mean()
    print(f"right labels: {right:.1%}")
    grey = decibels(frames.mean(), frames)
    print(f"frames: {decibels(decoded, frames):.1f} dB (grey: {grey:.1f})")
    print(f"sound: error {error:.3f} (silence: {np.abs(sounds).mean():.3f})")
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        write_frames(arguments.output / "clip.png", frames[0])
        write_frames(arguments.output / "reconstruction.png", decoded[0])


if __name__ == "__main__":
    main()
