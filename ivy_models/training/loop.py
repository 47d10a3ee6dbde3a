"""The training loop: steps, validation, the best weights, checkpoints and records."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.datasets import Batch, Examples, TrainingData
from ivy_models.errors import InputError, SpecError, TrainingError
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.ops import ops_for
from ivy_models.ops.base import HALF_TYPES
from ivy_models.preprocessing.targets import is_known
from ivy_models.training import checkpoint
from ivy_models.training.batches import Batches, TrainingBatch, ahead
from ivy_models.training.identity import Identity
from ivy_models.training.interruption import Interruption, heeded_interruptions
from ivy_models.training.measures import (
    default_metric,
    is_perfect,
    measures,
    names_of,
    score,
)
from ivy_models.training.records import STEP
from ivy_models.training.settings import Settings
from ivy_models.training.trainers import Trainer, make_trainer
from ivy_models.training.trainers.optimization import weight_rules
from ivy_models.training.writing import Results, Writer
from ivy_models.transformers.perceiver_io import PerceiverIO


class TrainingStopped(KeyboardInterrupt):
    """Ctrl-C during training, after the checkpoint was written."""


@dataclass(frozen=True)
class Fitted:
    """The result of a training run.

    Parameters
    ----------
    model : ~ivy_models.transformers.perceiver_io.PerceiverIO
        The model with the weights of the best epoch, or of the last one if ``settings.keep`` says
        so, and with the preprocessing and the targets of the data.
    history
        The results of each epoch: "epoch", "step", "learning_rate", "loss" and the validation's,
        such as "validation_loss" and "validation_accuracy".
    best
        The row of the history that ``model`` belongs to.
    metric
        The result by which epochs are compared, such as "accuracy".
    """

    model: PerceiverIO
    history: tuple[Results, ...]
    best: Results
    metric: str


def fit(
    model: PerceiverIO,
    data: TrainingData,
    settings: Settings,
    folder: str | Path,
    resume: bool = False,
    on_epoch: Callable[[Results], None] | None = None,
    finish: bool = False,
    clear: Callable[[], None] | None = None,
) -> Fitted:
    """Train a model and keep the weights of the epoch that is best on the validation examples.

    Batches, augmentation and dropout are functions of the seed and the step. So a run that was
    stopped at any moment and resumed gives the same weights as a run that was not stopped, on the
    same machine.

    Parameters
    ----------
    model
        A model with outputs (B, W) or (B, 1, W), where W is the sum of the targets' widths. It
        stays as it is.
    data
        The examples.
    settings
        Everything else that the run depends on.
    folder
        For ``checkpoint.safetensors``, ``metrics.csv`` and event files of TensorBoard (if it is
        installed); created if it does not exist.
    resume
        Whether to continue from the folder's checkpoint, if there is one.
    on_epoch
        Called with the results of each epoch.
    finish
        Whether to make no further step: return the weights that the folder's checkpoint keeps.
    clear
        Removes an earlier run from the folder. It is called after the first step, before anything
        is written, so that a run that fails before replaces nothing. None: an earlier run is
        refused.

    Returns
    -------
    Fitted
        The trained model and the results of each epoch.

    Raises
    ------
    InputError
        If the model's output does not fit the targets, its weights are in half precision, the data
        do not fit the settings, or no example of a part has a known value of a target.
    SpecError
        If ``settings.metric`` or ``settings.frozen`` names what this run does not have.
    TrainingError
        If the folder has a checkpoint of another run, or one without ``resume``, ``finish`` or
        ``clear``; if ``finish`` finds no complete epoch; if the loss is not a finite number; or if
        the folder cannot be written.
    TrainingStopped
        After Ctrl-C and a checkpoint.
    """
    batches, folder = Batches(data, settings), Path(folder)
    _check_run(model, data, settings)
    identity = Identity(model.spec, data, settings)
    trained = model
    if settings.dropout:
        weights: Any = model.v
        trained = type(model)(model.spec.replace(fc_dropout=settings.dropout), v=weights)
    saved = None
    if resume or finish:
        saved = checkpoint.load(folder)
    elif clear is None:
        _refuse_existing(folder)
    if saved is not None:
        identity.check(saved, folder / checkpoint.FILE)
    trainer = make_trainer(trained, data.targets, settings, batches.steps)
    loop = _Loop(trainer, batches, settings, folder, identity, clear)
    if saved is not None:
        loop.load(saved)
    if not finish:
        with heeded_interruptions() as interruption:
            loop.run(interruption, on_epoch)
    if not loop.history:
        raise TrainingError(
            f"{folder} has no checkpoint with a complete epoch, so there are no weights to keep. "
            "resume=True trains on."
        )
    kept = model.with_weights(unflatten(loop.kept_weights))
    kept.targets = data.targets
    if data.labels is not None:
        kept.labels = data.labels
    if data.preprocessing is not None:
        kept.preprocessing = data.preprocessing
    return Fitted(kept, tuple(loop.history), loop.history[loop.kept], loop.metric)


class _Loop:
    """A run: its trainer and everything that changes from step to step."""

    def __init__(
        self,
        trainer: Trainer,
        batches: Batches,
        settings: Settings,
        folder: Path,
        identity: Identity,
        clear: Callable[[], None] | None,
    ):
        self.trainer, self.batches, self.settings = trainer, batches, settings
        self.data, self.folder, self.identity = batches.data, folder, identity
        self.clear = clear
        self.names = names_of(self.data.targets)
        self.metric = settings.metric or default_metric(self.data.targets)
        self.done = 0
        """Number of steps."""
        self.losses: list[float] = []
        """Losses of the steps since the last validation."""
        self.history: list[Results] = []
        self.best = 0
        """Index of the best epoch in the history."""
        self.kept_weights: dict[str, np.ndarray] = {}

    @property
    def kept(self) -> int:
        """Index of the epoch whose weights are kept."""
        return self.best if self.settings.keep == "best" else len(self.history) - 1

    def run(
        self, interruption: Interruption, on_epoch: Callable[[Results], None] | None = None
    ) -> None:
        """Make the remaining steps."""
        with ExitStack() as stack:
            writer = None
            if self.trainer.is_main:
                writer = Writer(self.folder, self.names, self.batches.steps, self.done, self.clear)
                stack.enter_context(closing(writer))
            read = stack.enter_context(closing(self._remaining_batches()))
            for batch in read:
                row = self._step(batch)
                if self.done % self.batches.per_epoch == 0 or self.done == self.batches.steps:
                    row |= self._validate(row["learning_rate"])
                due = writer is not None and writer.is_due()
                signs = np.array([interruption.asked, due], np.float32)
                stops, due = self.trainer.sum(signs) > 0  # whether any process says so
                save = None
                if stops or due or self._is_over():
                    save = functools.partial(self.save, self.trainer.state())
                if writer is not None:
                    writer.step(row, save)
                    if len(row) > len(STEP):
                        writer.epoch(self.history[-1], self.best == len(self.history) - 1)
                        if on_epoch is not None:
                            on_epoch(dict(self.history[-1]))
                if self._is_over():
                    break
                if stops:
                    raise TrainingStopped(
                        f"Stopped after step {self.done} of {self.batches.steps}. "
                        "resume=True continues the run."
                    )

    def _remaining_batches(self) -> Generator[TrainingBatch]:
        steps = () if self._is_over() else range(self.done, self.batches.steps)
        return ahead(lambda step: self.batches(step, self.trainer.share), steps)

    def _is_over(self) -> bool:
        if self.done == self.batches.steps:
            return True
        patience = self.settings.patience
        if patience is None or len(self.history) <= patience:
            return False
        return len(self.history) - 1 - self._last_gain() >= patience

    def _last_gain(self) -> int:
        """Index of the last epoch that was better: once all is right, a lower loss is no gain."""
        if not self._is_perfect(self.best):  # so none is; this runs after each step
            return self.best
        return next(filter(self._is_perfect, range(len(self.history))))

    def _is_perfect(self, epoch: int) -> bool:
        return is_perfect(self._validated(epoch), self.metric)

    def _step(self, batch: TrainingBatch) -> Results:
        parts = batch.parts(self.settings.accumulation)
        loss, learning_rate = self.trainer.step(self.done, parts)
        self.done += 1
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} in step {self.done}. Check the data for huge numbers, or "
                f"lower the learning rate, which was {learning_rate:.2g}."
            )
        self.losses.append(loss)
        epoch = math.ceil(self.done / self.batches.per_epoch)
        return {"step": self.done, "epoch": epoch, "learning_rate": learning_rate, "loss": loss}

    def _validate(self, learning_rate: float) -> Results:
        """Add a row to the history, and keep the weights if they are wanted; return the results."""
        output = outputs_of(self.trainer, self.data.validation, self.batches.size)
        encoded = self.data.validation.encoded_targets()
        found = measures(output, encoded, self.data.targets, self.settings.number_loss)
        results = {f"validation_{name}": value for name, value in found.items()}
        row: Results = {"step": self.done, "epoch": len(self.history) + 1}
        row |= {"learning_rate": learning_rate, "loss": math.fsum(self.losses) / len(self.losses)}
        self.history.append(row | results)
        self.losses = []
        if len(self.history) == 1 or self._score(-1) > self._score(self.best):
            self.best = len(self.history) - 1
        if self.kept == len(self.history) - 1:
            self.kept_weights = {
                name: _copied(weight) for name, weight in flatten(self.trainer.weights())
            }
        return results

    def _score(self, epoch: int) -> tuple[float, float]:
        return score(self._validated(epoch), self.metric)

    def _validated(self, epoch: int) -> dict[str, float]:
        row = self.history[epoch]
        return {name: row[f"validation_{name}"] for name in self.names}

    def save(self, state: dict[str, np.ndarray]) -> None:
        """Write a checkpoint with the state of the trainer."""
        arrays = {f"trainer/{name}": array for name, array in state.items()}
        arrays |= {f"kept/{name}": array for name, array in self.kept_weights.items()}
        arrays |= {f"digests/{part}": own for part, own in self.identity.digests.items()}
        record = {name: getattr(self, name) for name in _RECORD}
        checkpoint.save(self.folder, arrays, self.identity.run, record)

    def load(self, saved: checkpoint.Saved) -> None:
        """Continue from a checkpoint."""
        parts = checkpoint.by_part(saved.arrays)
        self.kept_weights = parts["kept"]
        vars(self).update({name: saved.record[name] for name in _RECORD})
        self.trainer.load(parts["trainer"], self.done)


_RECORD = ("done", "losses", "history", "best")
"""Attributes of a loop that a checkpoint stores as JSON."""


def outputs_of(trainer: Trainer, examples: Examples, size: int) -> np.ndarray:
    """Outputs (n, W) for all examples, which the processes share, in batches of one size."""
    own = np.arange(len(examples))[trainer.share(len(examples))]
    size = min(size, len(own))

    def read(start: int) -> Batch:
        chosen = own[start : start + size]
        return examples.batch(np.resize(chosen, size).tolist())  # fills up the last batch

    batches = ahead(read, range(0, len(own), size))
    outputs = [trainer.outputs(batch.data, batch.mask) for batch in batches]
    found = np.zeros((len(examples), outputs[0].shape[1]), np.float32)
    found[own] = np.concatenate(outputs)[: len(own)]
    return trainer.sum(found)


def _check_run(model: PerceiverIO, data: TrainingData, settings: Settings) -> None:
    """Check a run before it begins, so that a refused one replaces nothing."""
    _check_model(model, data)
    _check_targets(data)
    names = names_of(data.targets)
    if settings.metric not in (None, *names):
        raise SpecError(f"metric must be one of {', '.join(names)}, got {settings.metric!r}.")
    weight_rules(model.spec, settings)


def _check_model(model: PerceiverIO, data: TrainingData) -> None:
    """Check that the output fits the targets, and that small steps change the weights."""
    spec, width = model.spec, sum(target.width for target in data.targets)
    expected = {
        "with_decoder": True,
        "with_final_head": True,
        "output_dim": width,
        "output_modalities": None,
        "query_per_input": False,
        "learn_query": spec.learn_query if spec.pooling else True,
    }
    differing = [name for name, value in expected.items() if getattr(spec, name) != value]
    if tuple(spec.query_shape or ()) not in ((), (1,)):
        differing.append("query_shape")
    if differing:
        raise InputError(
            f"The targets need a model with outputs (B, {width}): query_shape=[] and "
            f"output_dim={width}. This model has "
            f"{', '.join(f'{name}={getattr(spec, name)!r}' for name in differing)}."
        )
    if spec.dtype in HALF_TYPES:
        raise InputError(
            f'Weights of dtype="{spec.dtype}" round small steps away. Train a model with '
            'dtype="float32"; with precision="bfloat16" it computes in half precision.'
        )


def _check_targets(data: TrainingData) -> None:
    """Check that there is something to learn and to measure of each target."""
    for part, examples in (("training", data.train), ("validation", data.validation)):
        encoded = examples.encoded_targets()
        for target in data.targets:
            if not is_known(target, encoded[target.name]).any():
                raise InputError(f"No example for {part} has a known value of {target.name!r}.")


def _refuse_existing(folder: Path) -> None:
    if (folder / checkpoint.FILE).exists():
        raise TrainingError(
            f"{folder} has the checkpoint of an earlier run. Continue that run with resume=True, "
            "delete the folder, or choose another one."
        )


def _copied(weight: Any) -> np.ndarray:
    ops = ops_for(weight)
    return np.array(ops.to_numpy(ops.detach(weight)))
