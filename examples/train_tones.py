"""Train a classifier of waveforms on raw samples, then use it on a sound file.

    python examples/train_tones.py                           # under a minute on a CPU core
    python examples/train_tones.py --output /tmp/my_tones --steps 1000

The script generates the tones: a sine, a square, a sawtooth or noise of random pitch and loudness,
a quarter of a second long. Each training step uses new tones, and the accuracy is measured on
others. The output folder gets the model and one tone.
"""

import argparse
import wave
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch
from tqdm import trange

from ivy_models import classify
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.preprocessing import SoundPreprocessing
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec
import ivy

SAMPLE_RATE = 8000
NUM_SAMPLES = 2048
WAVEFORMS = ("sine", "square", "sawtooth", "noise")


def make_tones(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Sounds, float32 (number, samples, 1) in [-1, 1], and the index of each one's waveform."""
    pitch = rng.uniform(100, 400, (number, 1))
    turns = pitch * np.arange(NUM_SAMPLES) / SAMPLE_RATE + rng.random((number, 1))
    within = turns % 1  # position within the wave's period
    waves = [np.sin(2 * np.pi * within), np.sign(within - 0.5), 2 * within - 1]
    waves.append(rng.uniform(-1, 1, within.shape))
    labels = rng.integers(len(WAVEFORMS), size=number)
    sounds = rng.uniform(0.1, 0.8, (number, 1)) * np.choose(labels[:, None], waves)
    sounds += 0.03 * rng.standard_normal(sounds.shape)
    return np.float32(sounds.clip(-1, 1))[..., None], labels


def make_model(seed: int) -> PerceiverIO:
    spec = PerceiverIOSpec(
        input_dim=1,
        num_input_axes=1,
        patch_shape=[16],  # an input is 2 ms of sound
        output_dim=len(WAVEFORMS),
        query_shape=[1],
        queries_dim=32,
        network_depth=1,
        num_latents=16,
        latent_dim=64,
        num_lat_att_per_layer=2,
    )
    model = PerceiverIO(spec, seed=seed)
    model.preprocessing = SoundPreprocessing(SAMPLE_RATE, NUM_SAMPLES)
    model.labels = WAVEFORMS
    return model


def train(model: PerceiverIO, steps: int, seed: int) -> None:
    """Train the model's own weights, in place."""
    rng = np.random.default_rng(seed)
    weights = {name: leaf.data for name, leaf in flatten(model.v)}
    for weight in weights.values():
        weight.requires_grad_()
    params = unflatten(weights)
    optimizer = torch.optim.AdamW(weights.values(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    progress = trange(steps, unit="step")
    for _ in progress:
        sounds, labels = map(torch.from_numpy, make_tones(rng, 64))
        logits = model.core(params, sounds)[:, 0]
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    for weight in weights.values():
        weight.requires_grad_(False)


def accuracy(model: PerceiverIO, sounds: np.ndarray, labels: np.ndarray) -> float:
    logits = ivy.to_numpy(model(sounds))[:, 0]
    return float((logits.argmax(-1) == labels).mean())


def write_wav(path: Path, sound: np.ndarray) -> None:
    """Write a sound (samples, 1) as 16-bit integers."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(gettempdir(), "perceiver_io_tones"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    ivy.set_backend("torch")
    torch.set_num_threads(1)  # more do not help a model this small, and would wait for busy cores
    model = make_model(arguments.seed)
    train(model, arguments.steps, arguments.seed)

    held_out, labels = make_tones(np.random.default_rng([arguments.seed, 1]), 1000)
    print(f"accuracy on 1000 held-out tones: {accuracy(model, held_out, labels):.3f}")

    model.save_pretrained(arguments.output)
    path = arguments.output / "tone.wav"
    write_wav(path, held_out[0])
    print(f"{path}: {WAVEFORMS[labels[0]]}")
    for source, sound in (("the file", path), ("the array", held_out[0])):
        best = classify(model, sound)[0]
        print(f"from {source}: {best.label} ({best.probability:.1%})")


if __name__ == "__main__":
    main()
