"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass


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
        Examples of one update of the weights.
    learning_rate
        Highest learning rate, after the warm-up.
    warmup_epochs
        Length of the linear warm-up. A cosine schedule follows.
    weight_decay
        AdamW's decay of the matrices.
    label_smoothing
        Probability that is spread over all classes.
    clip_norm
        Upper bound on the gradients' global norm.
    dropout
        Dropout rate of the MLPs' outputs.
    seed
        Seed of the weights, the order of the examples, dropout and augmentation.
    """

    backend: str
    epochs: float
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_epochs: float = 1
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    dropout: float = 0.0
    seed: int = 0
