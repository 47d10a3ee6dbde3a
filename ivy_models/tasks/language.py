"""Filling in masks with a masked language model."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.errors import InputError
from ivy_models.preprocessing.text import MASK, NUM_SPECIAL

if TYPE_CHECKING:
    from ivy_models.shells.any_model import AnyModel


class Candidate(NamedTuple):
    """A text to replace a mask, and its probability, between 0 and 1."""

    text: str
    probability: float


@np.errstate(all="ignore")
def fill_mask(model: AnyModel, text: str, top: int = 5, length: int = 1) -> list[list[Candidate]]:
    """Find the most probable texts for each ``[MASK]``.

    The model predicts each masked byte independently of the others, so a candidate's probability
    is the product over its bytes.

    Parameters
    ----------
    model
        A masked language model of ``perceiver_io_language`` or :func:`create_model`.
    text
        Text that contains ``[MASK]`` at least once.
    top
        Number of candidates to return for each mask.
    length
        Number of bytes that each mask stands for.

    Returns
    -------
    list of list of Candidate
        For each mask, in the order of the text, a list with the most probable candidate first.

    Raises
    ------
    InputError
        If the model is not a masked language model, or the text has no mask or is too long.
    """
    if model.tokenizer is None or not model.spec.tied_head:
        raise InputError("The model is not a masked language model: build perceiver_io_language.")
    if top < 1 or length < 1:
        raise InputError(f"top and length must be at least 1, got {top} and {length}.")
    check_masks(text)
    tokens = model.tokenizer.encode(text.replace("[MASK]", "[MASK]" * length))
    masked = np.flatnonzero(tokens == MASK)
    logits = to_numpy(model(tokens), "logits")[masked, NUM_SPECIAL:]
    log_probabilities = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
    return [_best(rows, top) for rows in log_probabilities.reshape(-1, length, logits.shape[-1])]


def check_masks(text: str) -> None:
    """Check that a text has a mask to fill in.

    Raises
    ------
    InputError
        If it has none.
    """
    if "[MASK]" not in text:
        raise InputError('The text has no "[MASK]"; write it where the model should fill in text.')


def _best(log_probabilities: np.ndarray, top: int) -> list[Candidate]:
    """The ``top`` most probable byte strings of independent bytes (length, 256)."""
    beams: list[tuple[float, bytes]] = [(0.0, b"")]
    for row in log_probabilities.astype(np.float64):
        likely = np.argsort(-row)[:top]
        longer = ((p + row[byte], text + bytes([byte])) for p, text in beams for byte in likely)
        beams = heapq.nlargest(top, longer)
    return [Candidate(text.decode("utf-8", "replace"), float(np.exp(p))) for p, text in beams]
