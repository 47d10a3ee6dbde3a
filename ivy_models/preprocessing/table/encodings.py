"""Numbers and cycles as a model reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def edges_of(numbers: np.ndarray, bins: int) -> tuple[float, ...]:
    """Edges of at most ``bins`` ranges that hold equally many of some numbers (n,), n >= 1.

    They are numbers of the data, so that each of a few different numbers is an edge.
    """
    shares = np.linspace(0, 1, bins + 1)
    return tuple(np.unique(np.quantile(numbers, shares, method="inverted_cdf")).tolist())


def encode_numbers(
    numbers: np.ndarray, mean: float, std: float, edges: Sequence[float]
) -> np.ndarray:
    """Encode numbers so that linear layers can follow any curve.

    The first channel is the standardised number, at most 10 standard deviations. The others are
    the piecewise linear encoding of Gorishniy et al., 2022 ("On Embeddings for Numerical Features
    in Tabular Deep Learning", arXiv:2203.05556): one channel for each range between two edges, 0
    below it, 1 above it, and linear within.

    Parameters
    ----------
    numbers
        Float64 (B,). NaN becomes zeros.
    mean, std
        Of the training examples.
    edges
        Increasing.

    Returns
    -------
    numpy.ndarray
        Float32 (B, len(edges)).
    """
    low, high = np.array(edges[:-1], np.float64), np.array(edges[1:], np.float64)
    column = numbers[:, None]
    with np.errstate(all="ignore"):
        standardised = np.clip((column - mean) / std, -10, 10)
        shares = np.clip((column - low) / (high - low), 0, 1)
    return np.nan_to_num(np.concatenate([standardised, shares], 1)).astype(np.float32)


def encode_cycle(shares: np.ndarray) -> np.ndarray:
    """Encode shares (B,) of a cycle as float32 (B, 4), so that its end is near its beginning."""
    turns = 2 * np.pi * shares[:, None] * np.array([1, 2])
    return np.nan_to_num(np.concatenate([np.sin(turns), np.cos(turns)], 1)).astype(np.float32)
