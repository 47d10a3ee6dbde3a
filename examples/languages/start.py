"""Make a model of languages to train on from, whose embeddings are those of a linear model.

    python examples/languages/start.py /tmp/languages --output languages_start

The linear model gives a text the mean of the embeddings of its n-grams, as fastText does (Joulin
et al., 2016, "Bag of tricks for efficient text classification"). It learns these some thirty times
faster than the Perceiver, which begins with them. /tmp/languages is a folder of ``pieces.py``;
``ivy-models train --model languages_start`` continues.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from ivy_models import PerceiverIO, spec_for
from ivy_models.layers.parameters import initialise
from ivy_models.preprocessing import (
    ClassTarget,
    NgramPreprocessing,
    TablePreprocessing,
    TextColumn,
)
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

NGRAMS = NgramPreprocessing(64, sizes=(1, 2, 3, 4), vocabulary_size=1 << 16)

SHARED = 1 << 13
"""Tokens that the rare n-grams share."""

COUNTED = 200_000
"""Texts in which n-grams are counted."""

SIZES = {
    "num_latents": 4,
    "latent_dim": 96,
    "queries_dim": 96,
    "num_lat_att_per_layer": 1,
    "num_cross_att_heads": 4,
    "num_self_att_heads": 4,
}

BATCH = 1024

RATES = {"embeddings": 0.1, "head": 0.02}
"""Learning rates of Adam at the start; they fall to zero."""

SCALE = 1.0
"""Root mean square of the embeddings, by how often n-grams occur, in the Perceiver."""


def read(path: Path) -> tuple[list[str], list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["language"]) for row in csv.DictReader(file)]
    texts, languages = zip(*rows, strict=True)
    return list(texts), list(languages)


def learned_embeddings(
    ngrams: NgramPreprocessing, texts: list[str], classes: np.ndarray, dim: int
) -> np.ndarray:
    """Embeddings (V, dim) of n-grams, learned in one pass over the texts."""
    torch.manual_seed(0)
    table = torch.nn.EmbeddingBag(ngrams.vocabulary_size, dim, mode="mean", sparse=True)
    torch.nn.init.normal_(table.weight, std=0.1)
    head = torch.nn.Linear(dim, int(classes.max()) + 1)
    optimizers = {
        "embeddings": torch.optim.SparseAdam(table.parameters(), RATES["embeddings"]),
        "head": torch.optim.Adam(head.parameters(), RATES["head"]),
    }
    steps = len(texts) // BATCH
    seen = np.zeros(ngrams.vocabulary_size)
    mean = 0.0
    for step in range(steps):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        tokens, mask = ngrams.tokens(texts[rows])
        own, ends = tokens[mask], np.cumsum(mask.sum(1))
        seen += np.bincount(own, minlength=len(seen))
        bags = torch.from_numpy(own.astype(np.int64)), torch.from_numpy(ends - mask.sum(1))
        goals = torch.from_numpy(classes[rows])
        loss = torch.nn.functional.cross_entropy(head(table(*bags)), goals, label_smoothing=0.1)
        for name, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = RATES[name] * (1 - step / steps)
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
        mean += (loss.item() - mean) / min(step + 1, 100)
        if (step + 1) % 100 == 0:
            print(f"step {step + 1:,} of {steps:,}: loss {mean:.3f}", flush=True)
    found = table.weight.detach().numpy()
    return found * SCALE / np.sqrt(np.average((found**2).mean(1), weights=seen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    texts, languages = read(arguments.data / "train.csv")
    labels, classes = np.unique(languages, return_inverse=True)
    ngrams = NGRAMS.with_most_frequent(texts[:COUNTED], NGRAMS.vocabulary_size - SHARED)
    preprocessing = TablePreprocessing([TextColumn("text", ngrams)])
    targets = (ClassTarget("language", tuple(map(str, labels))),)
    spec = spec_for(preprocessing, targets, len(texts), "tiny", **SIZES)
    weights = initialise(PerceiverIOCore(spec).parameters(), 0)
    own = weights["input"]["text_0"]
    own["embedding"] = learned_embeddings(ngrams, texts, classes, own["embedding"].shape[1])
    # Layer norm keeps the ratio of an embedding's length to that of the constant channels.
    own["padding"] = np.resize(np.float32([SCALE, -SCALE]), own["padding"].shape)
    model = PerceiverIO(spec, v=weights)
    model.preprocessing, model.targets, model.labels = preprocessing, targets, targets[0].labels
    model.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
