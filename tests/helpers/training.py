"""A small training run: a model, its data and its settings."""

import signal
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from ivy_models.datasets import ArrayExamples, TrainingData
from ivy_models.preprocessing.targets import MISSING, ClassTarget, NumberTarget
from ivy_models.training.settings import Settings
from ivy_models.transformers.perceiver_io import InputModality, PerceiverIOSpec

TARGETS = (ClassTarget("kind", ("small", "medium", "large")), NumberTarget("size", 5.0, 2.0))

SPEC = PerceiverIOSpec(
    input_dim=12,
    num_input_axes=1,
    output_dim=4,
    queries_dim=8,
    network_depth=1,
    num_latents=4,
    latent_dim=8,
    num_self_att_heads=2,
    query_shape=[],
    num_lat_att_per_layer=1,
    fourier_encode_input=False,
    input_modalities=[
        InputModality("table", 1, 1, num_fourier_freq_bands=2),
        InputModality("image", 1, 2, num_fourier_freq_bands=2),
    ],
)

# Every setting that all frameworks compute alike, each with a visible effect.
SETTINGS = Settings(
    backend="torch",
    epochs=3,
    batch_size=16,
    learning_rate=5e-3,
    warmup=0.3,
    weight_decay=2.0,
    clip_norm=0.5,
    number_loss="huber",
    class_weights="balanced",
    mixup=0.4,
    frozen=("latents", "reader/*/mlp"),
    layer_decay=0.8,
    ema=0.9,
    accumulation=2,
)


def examples(seed, number):
    """Examples of two modalities with masks, whose targets follow from the table."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((number, 5, 1), np.float32)
    size = table.sum((1, 2)) / 2
    kind = np.digitize(size, [-0.5, 0.7])
    size[rng.random(number) < 0.1] = np.nan
    kind[rng.random(number) < 0.1] = MISSING
    return ArrayExamples(
        {"table": table, "image": rng.standard_normal((number, 3, 4, 1), np.float32)},
        {"kind": kind, "size": np.float32(size)},
        {"table": rng.random((number, 5)) < 0.9, "image": rng.random((number, 3, 4)) < 0.8},
    )


DATA = TrainingData(examples(0, 72), examples(1, 20), None, TARGETS)


class BreakOff:
    """Examples that break off a run when they are read for the n-th time."""

    def __init__(self, examples, n, act):
        self.examples, self.left, self.act = examples, n, act
        self.encoded_targets, self.digests = examples.encoded_targets, examples.digests

    def __len__(self):
        return len(self.examples)

    def batch(self, indices, rng=None):
        self.left -= 1
        if not self.left:
            self.act()
        return self.examples.batch(indices, rng)


@contextmanager
def heeding_ctrl_c():
    """Install Python's own handler, which is not there in a job that runs in the background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def draw_nothing(monkeypatch):
    """Leave the drawings out of reports, which take longer than a small run."""
    monkeypatch.setattr("ivy_models.training.report.write._figures", lambda *_: ())


def break_off(act, n=10):
    return replace(DATA, train=BreakOff(DATA.train, n, act))
