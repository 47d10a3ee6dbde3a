"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ivy_models.base.fields import (
    check_fields,
    count,
    flag,
    named_fields,
    number,
    one_of,
    optional,
    positive_int,
    positive_number,
    text,
)
from ivy_models.errors import SpecError
from ivy_models.preprocessing import TablePreprocessing
from ivy_models.preprocessing.table import ImageColumn, SoundColumn

BACKENDS = ("torch", "jax", "tensorflow", "paddle")

STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 600, 10, 40
"""The default number of epochs makes this number of updates, within these limits."""

WEIGHT_DECAY, MOST_DECAY = 0.05, 4.0
"""AdamW's decay by default, and at most for a small table."""

DECAY_EPOCHS = 5
"""The weights of a new model of a table are an average of the updates of this number of epochs."""

UPDATES = 8
"""Least number of updates in an epoch by default, where the examples suffice."""


@named_fields
@dataclass(frozen=True)
class Settings:
    """Everything that a run depends on except its model and its data.

    Parameters
    ----------
    backend
        "torch", "jax", "tensorflow" or "paddle".
    epochs
        Number of passes over the training examples.
    batch_size
        Examples of one update of the weights; all examples if there are fewer.
    learning_rate
        Highest learning rate, after the warm-up.
    warmup
        Share of the updates in which the learning rate rises linearly. It then falls to 0 on a
        cosine.
    weight_decay
        AdamW's decay of the matrices.
    label_smoothing
        Probability that is spread evenly over all classes.
    clip_norm
        Upper bound on the gradients' global norm.
    dropout
        Dropout rate of the MLPs' outputs. 0: the rate of the model's spec.
    number_loss
        Loss of a standardised number: "squared" error, or "huber", which outliers affect less.
    class_weights
        "balanced": each class has the same total weight in the loss. None: each example has.
    mixup
        Parameter of the beta distribution of mixup (arXiv 1710.09412). 0: no mixup.
    frozen
        Weights that do not change: names, names of branches, or patterns such as
        ``"processor/*/mlp"``.
    layer_decay
        Ratio of a layer's learning rate to that of the next layer; see
        :func:`.layer_wise_scales`.
    ema
        Decay of an exponential moving average of the weights, which replaces them for validation
        and in the result. 0: no average.
    accumulation
        Number of equal parts in which a batch is computed, to save memory.
    precision
        "float32", or "bfloat16" for mixed precision.
    rematerialise
        Whether to recompute layers in the backward pass, to save memory.
    shard
        Whether each process of torchrun keeps only a share of the weights, their gradients and the
        optimizer's moments (FSDP), to save memory.
    metric
        The validation result by which the best epoch is chosen, such as "loss", "macro_f1" or
        "mae". None: accuracy for a single class target, otherwise the loss.
    keep
        Whether the result has the weights of the "best" or of the "last" epoch.
    patience
        Epochs without improvement after which the run stops. None: never. When all validation
        examples are right by the metric, a lower loss is no improvement.
    seed
        Seed of the order of the examples, augmentation, mixup and dropout.

    Raises
    ------
    SpecError
        If a setting has a wrong type or value.
    """

    backend: str
    epochs: float
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = WEIGHT_DECAY
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    dropout: float = 0.0
    number_loss: Literal["squared", "huber"] = "squared"
    class_weights: Literal["balanced"] | None = None
    mixup: float = 0.0
    frozen: tuple[str, ...] = ()
    layer_decay: float = 1.0
    ema: float = 0.0
    accumulation: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    rematerialise: bool = False
    shard: bool = False
    metric: str | None = None
    keep: Literal["best", "last"] = "best"
    patience: int | None = None
    seed: int = 0

    def __post_init__(self):
        check_fields(
            self,
            backend=one_of(BACKENDS),
            epochs=positive_number,
            batch_size=positive_int,
            learning_rate=positive_number,
            warmup=_share,
            weight_decay=_not_negative,
            label_smoothing=_share,
            clip_norm=positive_number,
            dropout=_share,
            number_loss=one_of(("squared", "huber")),
            class_weights=optional(one_of(("balanced",))),
            mixup=_not_negative,
            frozen=_texts,
            layer_decay=_decay,
            ema=_share,
            accumulation=positive_int,
            precision=one_of(("float32", "bfloat16")),
            rematerialise=flag,
            shard=flag,
            metric=optional(text),
            keep=one_of(("best", "last")),
            patience=optional(positive_int),
            seed=count,
        )
        if self.shard and self.backend != "torch":
            raise SpecError(f'shard=True needs backend="torch", got {self.backend!r}.')


def _not_negative(name: str, value: Any) -> Any:
    if float(number(name, value)) < 0:
        raise SpecError(f"{name} must be at least 0, got {value!r}.")
    return value


def _share(name: str, value: Any) -> Any:
    if not 0 <= float(number(name, value)) < 1:
        raise SpecError(f"{name} must be at least 0 and below 1, got {value!r}.")
    return value


def _decay(name: str, value: Any) -> Any:
    if not 0 < float(number(name, value)) <= 1:
        raise SpecError(f"{name} must be above 0 and at most 1, got {value!r}.")
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise SpecError(f"{name} must be a list of strings, got {value!r}.")
    return tuple(value)


def default_batch_size(examples: int) -> int:
    """The largest power of two, from 8 to 64, with which an epoch has UPDATES updates.

    With fewer updates an epoch, early stopping would end a run before the model has learned.
    """
    return next((size for size in (64, 32, 16) if examples // size >= UPDATES), 8)


def default_epochs(examples: int, batch_size: int) -> int:
    """Number of epochs that makes about STEPS updates."""
    updates = max(1, examples // batch_size)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(STEPS / updates)))


def default_weight_decay(
    preprocessing: Any, examples: int, batch_size: int, learning_rate: float
) -> float:
    """AdamW's decay for a new model: more for a small table, which it would learn by heart.

    AdamW's weights are an average of the updates of about 1 / (learning rate x decay) steps; this
    number of epochs should not depend on the number of examples (Wang and Aitchison, 2024, "How to
    set AdamW's weight decay as you scale model and dataset size", arXiv 2405.13698).
    """
    files = (ImageColumn, SoundColumn)
    if not isinstance(preprocessing, TablePreprocessing) or any(
        isinstance(column, files) for column in preprocessing.columns
    ):
        return WEIGHT_DECAY
    steps = DECAY_EPOCHS * max(1, examples // batch_size)
    return 1 / max(learning_rate * steps, 1 / MOST_DECAY)
