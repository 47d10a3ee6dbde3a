"""A spec that fits the data: how each kind of data is read, and how large the model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ivy_models.errors import SpecError
from ivy_models.preprocessing import (
    ImagePreprocessing,
    NgramPreprocessing,
    SoundPreprocessing,
    TablePreprocessing,
    TextPreprocessing,
)
from ivy_models.preprocessing.modalities import modality
from ivy_models.preprocessing.targets import Target
from ivy_models.transformers.perceiver_io import InputModality, PerceiverIOSpec

PADDING = 8
"""Least number of learned channels by which a model distinguishes its modalities."""


@dataclass(frozen=True)
class Size:
    """The size of a model.

    Parameters
    ----------
    num_examples
        Least number of training examples for which this size is chosen.
    num_latents, latent_dim
        N and D.
    num_heads
        Heads of the self-attention.
    num_layers
        Self-attention layers.
    input_dim
        Channels of an input, half of them for its position.
    learning_rate
        Highest learning rate by default.
    """

    num_examples: int
    num_latents: int
    latent_dim: int
    num_heads: int
    num_layers: int
    input_dim: int
    learning_rate: float


SIZES = {
    "tiny": Size(
        0,
        num_latents=32,
        latent_dim=64,
        num_heads=4,
        num_layers=2,
        input_dim=64,
        learning_rate=2e-3,
    ),
    "small": Size(
        10_000,
        num_latents=64,
        latent_dim=192,
        num_heads=6,
        num_layers=4,
        input_dim=96,
        learning_rate=1e-3,
    ),
    "base": Size(
        200_000,
        num_latents=256,
        latent_dim=512,
        num_heads=8,
        num_layers=8,
        input_dim=192,
        learning_rate=5e-4,
    ),
}
"""Sizes by name, in increasing order."""


def spec_for(
    preprocessing: Any,
    targets: Sequence[Target],
    num_examples: int,
    size: str | None = None,
    **changes: Any,
) -> PerceiverIOSpec:
    """Describe a model that fits some data.

    Images are read by a stem of two convolutions, or pixel by pixel if they are small; sounds in
    patches of samples; texts as bytes with learned positions; each part of a table as a modality.

    Parameters
    ----------
    preprocessing
        What prepares the data, such as that of :func:`.read_training_data`.
    targets
        What the model predicts. Its output (B, channels) has the channels of each.
    num_examples
        Number of training examples, by which the size is chosen.
    size
        "tiny", "small" or "base" instead.
    changes
        Fields of the spec to set to other values.

    Raises
    ------
    SpecError
        If there is no such size or field, or a value does not fit.

    Examples
    --------
    >>> from ivy_models import spec_for
    >>> from ivy_models.preprocessing import ClassTarget, ImagePreprocessing
    >>> shapes = ClassTarget("label", ("circle", "square"))
    >>> spec = spec_for(ImagePreprocessing((64, 64)), [shapes], num_examples=400)
    >>> spec.stem, spec.num_latents, spec.output_dim
    ('two_convolutions', 32, 2)
    """
    chosen = SIZES[size_for(num_examples) if size is None else _known(size)]
    return PerceiverIOSpec(
        **_inputs(preprocessing, chosen.input_dim),
        output_dim=sum(target.width for target in targets),
        query_shape=(),
        queries_dim=chosen.latent_dim,
        network_depth=1,
        num_latents=chosen.num_latents,
        latent_dim=chosen.latent_dim,
        num_self_att_heads=chosen.num_heads,
        num_lat_att_per_layer=chosen.num_layers,
    ).replace(**changes)


def size_for(num_examples: int) -> str:
    """Name of the size for a number of training examples."""
    return max(
        (name for name, size in SIZES.items() if size.num_examples <= num_examples),
        key=list(SIZES).index,
    )


def learning_rate_for(spec: PerceiverIOSpec) -> float:
    """Learning rate of the largest size whose latents are not wider than those of a spec."""
    fitting = [size for size in SIZES.values() if size.latent_dim <= spec.latent_dim]
    return fitting[-1].learning_rate if fitting else next(iter(SIZES.values())).learning_rate


def _known(size: str) -> str:
    if size not in SIZES:
        raise SpecError(f"size must be one of {', '.join(SIZES)}, got {size!r}.")
    return size


def _inputs(preprocessing: Any, dim: int) -> dict[str, Any]:
    """Fields of a spec that describe its inputs."""
    if isinstance(preprocessing, TablePreprocessing):
        modalities = preprocessing.modalities(dim // 2)
        widest = max(m.adapter().num_channels for m in modalities)
        return {
            "input_dim": widest + PADDING,
            "num_input_axes": 1,
            "fourier_encode_input": False,
            "input_modalities": modalities,
        }
    known = (ImagePreprocessing, SoundPreprocessing, TextPreprocessing, NgramPreprocessing)
    if not isinstance(preprocessing, known):
        names = ", ".join(kind.__name__ for kind in known)
        raise SpecError(
            f"preprocessing must be an {names} or TablePreprocessing, got {preprocessing!r}."
        )
    described = modality("data", preprocessing, dim)
    names = {field.name for field in fields(InputModality)} - {"name", "num_fourier_freq_bands"}
    inputs = {name: getattr(described, name) for name in names}
    inputs["fourier_encode_input"] = described.fourier_encode_input
    if described.num_fourier_freq_bands is not None:
        inputs["num_fourier_freq_bands"] = described.num_fourier_freq_bands
    return inputs
