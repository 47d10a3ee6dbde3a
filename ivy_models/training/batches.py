"""The batch of each step, a function of the seed and the step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from ivy_models.errors import InputError
from ivy_models.training.data import TrainingData
from ivy_models.training.goals import balanced_weights, encode_goals
from ivy_models.training.settings import Settings

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Number of batches that are prepared while the framework computes."""

_ORDER, _AUGMENTATION, _MIXUP = range(3)
"""Streams of random numbers of a run."""


@dataclass(frozen=True)
class TrainingBatch:
    """Examples of one step.

    Parameters
    ----------
    data, mask
        As in :class:`.Batch`.
    goals, weights
        As in :func:`.target_loss`.
    """

    data: np.ndarray | dict[str, np.ndarray]
    mask: np.ndarray | dict[str, np.ndarray] | None
    goals: np.ndarray
    weights: np.ndarray

    def select(self, rows: slice | np.ndarray) -> TrainingBatch:
        """Return some of the examples, with the same weights."""
        return TrainingBatch(
            _map(lambda x: x[rows], self.data),
            _map(lambda x: x[rows], self.mask),
            self.goals[rows],
            self.weights[rows],
        )

    def parts(self, number: int) -> list[TrainingBatch]:
        """Split into equal parts; the sum of their losses is the loss of the batch."""
        size = len(self.goals) // number
        return [self.select(slice(i * size, (i + 1) * size)) for i in range(number)]


class Batches:
    """The batches of a run. A resumed run gets the same batches without saved state.

    Parameters
    ----------
    data, settings
        The arguments of :func:`.fit`.

    Raises
    ------
    InputError
        If there are no examples, or they cannot be divided as the settings ask.
    """

    def __init__(self, data: TrainingData, settings: Settings):
        self.data, self.settings = data, settings
        self.size = min(settings.batch_size, len(data.train))
        if not self.size or not len(data.validation):
            raise InputError(
                f"There are {len(data.train)} examples for training and {len(data.validation)} for "
                "validation; expected at least one of each."
            )
        if self.size % settings.accumulation:
            raise InputError(
                f"A batch has {self.size} examples, which cannot be divided into "
                f"{settings.accumulation} equal parts (accumulation). Choose another batch_size."
            )
        self.per_epoch = len(data.train) // self.size
        self.steps = max(1, round(settings.epochs * self.per_epoch))
        self._class_weights = None
        if settings.class_weights == "balanced":
            self._class_weights = balanced_weights(data.targets, data.train.encoded_targets())

    def __call__(self, step: int) -> TrainingBatch:
        """Read the batch of a step. An epoch leaves out the last, incomplete batch."""
        epoch, place = divmod(step, self.per_epoch)
        order = self._rng(_ORDER, epoch).permutation(len(self.data.train))
        chosen = order[place * self.size : (place + 1) * self.size]
        batch = self.data.train.batch(chosen.tolist(), self._rng(_AUGMENTATION, step))
        goals, weights = encode_goals(
            self.data.targets, batch.targets, self.settings.label_smoothing, self._class_weights
        )
        read = TrainingBatch(batch.data, batch.mask, goals, weights)
        return self._mixed(read, self._rng(_MIXUP, step)) if self.settings.mixup else read

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng((self.settings.seed, stream, number))

    def _mixed(self, batch: TrainingBatch, rng: np.random.Generator) -> TrainingBatch:
        """Mix each example with another one (mixup), data and goals alike."""
        share = np.float32(rng.beta(self.settings.mixup, self.settings.mixup))
        other = batch.select(rng.permutation(len(batch.goals)))

        def mix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            if not np.issubdtype(a.dtype, np.floating):
                raise InputError(
                    "mixup averages numbers, but the model reads tokens or categories. Use mixup=0."
                )
            return share * a + (1 - share) * b

        known = (batch.weights > 0) & (other.weights > 0)
        return TrainingBatch(
            _map(mix, batch.data, other.data),
            _map(np.logical_and, batch.mask, other.mask),  # an average needs both
            mix(batch.goals, other.goals),
            np.where(known, mix(batch.weights, other.weights), np.float32(0)),
        )


def _map(function: Callable[..., Any], *parts: Any) -> Any:
    """Apply a function to arrays, or to those of each modality. None stays None."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: _map(function, *(part[name] for part in parts)) for name in first}
    return None if first is None else function(*parts)


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
    """Yield ``function(item)`` of each item. A thread prepares the next results meanwhile."""
    remaining = iter(items)
    pool = ThreadPoolExecutor(1)
    try:
        pending = deque(pool.submit(function, item) for item in islice(remaining, AHEAD))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
