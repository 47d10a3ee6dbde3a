"""The batch of each step, a function of the seed and the step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from ivy_models.datasets import TrainingData
from ivy_models.errors import InputError, SpecError
from ivy_models.training.goals import balanced_weights, encode_goals
from ivy_models.training.settings import Settings

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Number of batches that are prepared while the framework computes."""

MAX_STEPS = 2**31 - 1
"""The frameworks count the steps in 32 bits."""

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
    SpecError
        If there are more than MAX_STEPS steps.
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
        steps = settings.epochs * self.per_epoch
        if steps > MAX_STEPS:
            raise SpecError(
                f"epochs={settings.epochs:g} are {steps:g} updates of the weights; at most "
                f"{MAX_STEPS:,} are possible."
            )
        self.steps = max(1, round(steps))
        # Once for each epoch: a million numbers take 50 ms. Two, because batches are read ahead.
        self._order = lru_cache(maxsize=2)(self._draw_order)
        self._encoded = data.train.encoded_targets()
        self._class_weights = None
        if settings.class_weights == "balanced":
            self._class_weights = balanced_weights(data.targets, self._encoded)

    def __call__(self, step: int, share: Callable[[int], slice] = slice) -> TrainingBatch:
        """Read the batch of a step. An epoch leaves out the last, incomplete batch.

        Parameters
        ----------
        step
            The number of the step, from 0.
        share
            Chooses which examples of each part of the batch are read. Their weights are those in
            the whole batch.
        """
        epoch, place = divmod(step, self.per_epoch)
        chosen = self._order(epoch)[place * self.size : (place + 1) * self.size]
        goals, weights = encode_goals(
            self.data.targets,
            {name: values[chosen] for name, values in self._encoded.items()},
            self.settings.label_smoothing,
            self._class_weights,
        )
        parts = np.split(np.arange(self.size), self.settings.accumulation)
        own = np.concatenate([part[share(len(part))] for part in parts])

        def read(rows: np.ndarray) -> TrainingBatch:
            rng = self._rng(_AUGMENTATION, step, int(own[0]))
            batch = self.data.train.batch(chosen[rows].tolist(), rng)
            return TrainingBatch(batch.data, batch.mask, goals[rows], weights[rows])

        if not self.settings.mixup:
            return read(own)
        rng = self._rng(_MIXUP, step)
        ratio = np.float32(rng.beta(self.settings.mixup, self.settings.mixup))
        pairs = np.stack([own, rng.permutation(self.size)[own]])
        rows, places = np.unique(pairs, return_inverse=True)
        first, second = map(read(rows).select, places.reshape(pairs.shape))
        return _mixed(first, second, ratio)

    def _draw_order(self, epoch: int) -> np.ndarray:
        return self._rng(_ORDER, epoch).permutation(len(self.data.train))

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng((self.settings.seed, *stream))


def cannot_share(sharers: str, size: int, otherwise: str) -> InputError:
    """An error about a batch with fewer examples than there are devices or processes."""
    return InputError(
        f"{sharers} cannot share {size} examples. Use a larger batch_size, a smaller accumulation, "
        f"or {otherwise}."
    )


def _mixed(first: TrainingBatch, second: TrainingBatch, ratio: np.float32) -> TrainingBatch:
    """Mix pairs of examples (mixup), data and goals alike."""

    def mix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if not np.issubdtype(a.dtype, np.floating):
            raise InputError(
                "mixup averages numbers, but the model reads tokens or categories. Use mixup=0."
            )
        return ratio * a + (1 - ratio) * b

    known = (first.weights > 0) & (second.weights > 0)
    return TrainingBatch(
        _map(mix, first.data, second.data),
        _map(np.logical_and, first.mask, second.mask),  # an average needs both
        mix(first.goals, second.goals),
        np.where(known, mix(first.weights, second.weights), np.float32(0)),
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
