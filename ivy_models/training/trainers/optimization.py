"""What the optimizers of all frameworks have in common."""

from __future__ import annotations

import fnmatch
import math
from typing import NamedTuple

import numpy as np

from ivy_models.errors import SpecError
from ivy_models.layers.parameters import flatten
from ivy_models.training.finetuning import layer_wise_scales
from ivy_models.training.settings import Settings
from ivy_models.transformers.perceiver_io import PerceiverIOSpec
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

START = 0.01
"""Warm-up starts at this fraction of the learning rate."""

EPSILON = 1e-10
"""AdamW's epsilon, too small to matter although Keras adds it before bias correction."""

_DROPOUT = 3
"""Stream of random numbers, beside those of the batches."""


class Rule(NamedTuple):
    """How a weight is trained.

    Parameters
    ----------
    scale
        Factor of the learning rate.
    decays
        Whether weight decay applies.
    """

    scale: float
    decays: bool


def weight_rules(spec: PerceiverIOSpec, settings: Settings) -> dict[str, Rule]:
    """Return the rules of all weights that are trained, by name.

    Raises
    ------
    SpecError
        If a pattern of ``settings.frozen`` fits no weight, or nothing is left to train.
    """
    parameters = flatten(PerceiverIOCore(spec).parameters())
    names = [name for name, parameter in parameters if parameter.trainable]
    for pattern in settings.frozen:
        if not any(_matches(name, pattern) for name in names):
            branches = ", ".join(dict.fromkeys(name.split("/")[0] for name in names))
            raise SpecError(
                f"frozen: no weight matches {pattern!r}. The branches of this model are {branches}."
            )
    scales = layer_wise_scales(spec, settings.layer_decay)
    rules = {
        name: Rule(scales[name], name.endswith("/weight"))
        for name in names
        if not any(_matches(name, pattern) for pattern in settings.frozen)
    }
    if not rules:
        raise SpecError(f"frozen={settings.frozen} leaves no weight to train. Freeze less.")
    return rules


def _matches(name: str, pattern: str) -> bool:
    """Whether a pattern describes a weight or a branch that has it."""
    return any(fnmatch.fnmatchcase(name, p) for p in (pattern, f"{pattern.rstrip('/')}/*"))


def warmup_steps(settings: Settings, steps: int) -> int:
    return min(round(settings.warmup * steps), steps - 1)


def share_of_rate(settings: Settings, steps: int, step: int) -> float:
    """Share of the highest learning rate in a step, for frameworks without such a schedule."""
    warmup = warmup_steps(settings, steps)
    if step < warmup:
        return START + (1 - START) * step / warmup
    return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def average_decay(settings: Settings, step: int) -> float:
    """Decay of the moving average after a step: smaller at first, to forget the first weights."""
    return min(settings.ema, (1 + step) / (10 + step))


def dropout_seed(settings: Settings, step: int, part: int) -> int:
    """Return the seed of a generator of a part of a step, so that no generator has to be saved."""
    entropy = (settings.seed, _DROPOUT, step, part)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
