"""Make a model of languages to train on from, which answers as a linear model does.

    python examples/languages/start.py /tmp/languages --output languages_start

The linear model of ``linear.py`` learns some thirty times faster than the Perceiver, which begins
with it. /tmp/languages is a folder of ``pieces.py``; ``ivy-models train --model languages_start``
continues.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from linear import LinearModel, learn
from vocabulary import informative_ngrams

from ivy_models import PerceiverIO, PerceiverIOSpec, spec_for
from ivy_models.layers.parameters import Tree, initialise
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

OF_INPUT, OF_LATENT = 30.0, 4.0
"""Size of constant channels beside those of the linear model, whose embeddings are about 1.

They are so large that layer norm divides all inputs by nearly the same number.
"""

HIDING = 12.0
"""How much smaller the scores of the mask token are than those of n-grams."""


def read(path: Path) -> tuple[list[str], list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["language"]) for row in csv.DictReader(file)]
    texts, languages = zip(*rows, strict=True)
    return list(texts), list(languages)


def linear_weights(spec: PerceiverIOSpec, linear: LinearModel) -> Tree:
    """Weights with which the Perceiver's answers are nearly those of a linear model.

    The latents attend equally to all n-grams, so that their first channels get the mean of the
    embeddings, and the query attends equally to the latents. The MLPs and self-attention add
    nothing yet. The other weights are random, for the training.
    """
    weights = initialise(PerceiverIOCore(spec).parameters(), 0)
    dim = linear.embeddings.shape[1]
    words, latents, queries = weights["input"]["text_0"], weights["latents"], weights["queries"]
    number = words["padding"].size
    words["embedding"], words["positions"] = linear.embeddings, 0 * words["positions"]
    words["padding"] = signs(number) * OF_INPUT
    words["mask_token"] = np.append(np.zeros(dim), -signs(number, 2) * OF_INPUT)
    latents[:], queries[:] = 0, 0
    rng = np.random.default_rng(0)
    for latent in latents:
        latent[dim:] = rng.permutation(signs(latent.size - dim)) * OF_LATENT
    queries[:, dim:] = signs(queries.shape[1] - dim)

    reader, decoder = weights["reader"]["layer_0"], weights["decoder"]["cross_attention"]
    pass_on(reader["attention"], dim, number, OF_INPUT)
    pass_on(decoder["attention"], dim, latents.shape[1] - dim, OF_LATENT)
    heads = slice(None, None, words["mask_token"].size // spec.num_cross_att_heads)
    hide_mask_token(reader["attention"], number, heads)
    refine = weights["processor"]["layer_0"]["self_attention_0"]
    for layer in (reader["mlp"], refine["attention"], refine["mlp"], decoder["mlp"]):
        layer["output"]["weight"][:] = 0
    head = weights["decoder"]["head"]
    head["weight"][:], head["weight"][:dim], head["bias"] = 0, linear.weight, linear.bias
    return weights


def signs(number: int, each: int = 1) -> np.ndarray:
    """1 and -1 in turn, each several times, (number,)."""
    return np.resize(np.repeat(np.float32([1, -1]), each), number)


def pass_on(attention: Tree, dim: int, number: int, size: float) -> None:
    """Make attention return the mean of the first ``dim`` channels as they are before layer norm.

    The other channels are ``number`` constants of size ``size``, whose mean is 0.
    """
    width = dim + number
    without_mean = np.eye(dim) - 1 / width
    attention["key"]["weight"][:] = 0
    for name in ("value", "output"):
        attention[name]["weight"][:] = 0
    deviation = size * np.sqrt(number / width)
    attention["value"]["weight"][:dim, :dim] = deviation * np.linalg.inv(without_mean)
    attention["output"]["weight"][:dim, :dim] = np.eye(dim)


def hide_mask_token(attention: Tree, number: int, heads: slice) -> None:
    """Make the score of the mask token in each head ``HIDING`` smaller than that of n-grams.

    Its constants are those of a direction in which n-grams are 0.
    """
    key, query = attention["key"], attention["query"]
    width, channels = key["weight"].shape[0], heads.step
    key["weight"][-number:, heads] = signs(number, 2)[:, None]
    query["weight"][:, heads] = 0
    query["bias"][heads] = HIDING * np.sqrt(channels / (width * number))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    texts, languages = read(arguments.data / "train.csv")
    labels, classes = np.unique(languages, return_inverse=True)
    own_tokens = informative_ngrams(
        NGRAMS, texts[:COUNTED], classes[:COUNTED], NGRAMS.vocabulary_size - SHARED
    )
    ngrams = replace(NGRAMS, frequent=own_tokens)
    preprocessing = TablePreprocessing([TextColumn("text", ngrams)])
    targets = (ClassTarget("language", tuple(map(str, labels))),)
    spec = spec_for(preprocessing, targets, len(texts), "tiny", **SIZES)
    dim = spec.input_modalities[0].input_dim
    model = PerceiverIO(spec, v=linear_weights(spec, learn(ngrams, texts, classes, dim)))
    model.preprocessing, model.targets, model.labels = preprocessing, targets, targets[0].labels
    model.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
