"""A linear model of languages: the mean of the embeddings of a text's n-grams, and one layer.

It is that of fastText (Joulin et al., 2016, "Bag of tricks for efficient text classification").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from ivy_models.preprocessing import NgramPreprocessing

BATCH = 1024

RATES = {"embeddings": 0.1, "head": 0.02}
"""Learning rates of Adam at the start; they fall to zero."""


class LinearModel(NamedTuple):
    """Embeddings (V, C) of n-grams, whose root mean square is 1, and a layer (C, L) with bias."""

    embeddings: np.ndarray
    weight: np.ndarray
    bias: np.ndarray


def learn(
    ngrams: NgramPreprocessing, texts: list[str], classes: np.ndarray, dim: int
) -> LinearModel:
    """Learn a linear model of ``dim`` channels in one pass over the texts."""
    torch.manual_seed(0)
    table = torch.nn.Parameter(0.1 * torch.randn(ngrams.vocabulary_size, dim))
    head = torch.nn.Linear(dim, int(classes.max()) + 1)
    optimizers = {
        "embeddings": torch.optim.SparseAdam([table], RATES["embeddings"]),
        "head": torch.optim.Adam(head.parameters(), RATES["head"]),
    }
    steps = len(texts) // BATCH
    seen = np.zeros(ngrams.vocabulary_size)
    mean = 0.0
    for step in range(steps):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        tokens, mask = ngrams.tokens(texts[rows])
        own, numbers = tokens[mask], mask.sum(1)
        seen += np.bincount(own, minlength=len(seen))
        arrays = own.astype(np.int64), np.cumsum(numbers) - numbers, classes[rows]
        *bags, goals = map(torch.from_numpy, arrays)
        means = functional.embedding_bag(bags[0], table, bags[1], mode="mean", sparse=True)
        loss = functional.cross_entropy(head(means), goals, label_smoothing=0.1)
        for name, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = RATES[name] * (1 - step / steps)
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
        mean += (loss.item() - mean) / min(step + 1, 100)
        if (step + 1) % 100 == 0:
            print(f"step {step + 1:,} of {steps:,}: loss {mean:.3f}", flush=True)
    embeddings, weight, bias = (each.detach().numpy() for each in (table, head.weight.T, head.bias))
    size = np.sqrt(np.average((embeddings**2).mean(1), weights=seen))
    return LinearModel(embeddings / size, weight * size, bias)
