"""The parameter tree: the weights of a layer, and how to draw them.

A tree is a nested dict. Its leaves are :class:`Parameter` in a description and arrays in
a set of weights; both have the same names. Everything that handles weights (drawing,
counting, file formats, native modules) is driven by the description.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Tree = dict[str, Any]
"""Nested dict of :class:`Parameter`, or of arrays."""

Initialiser = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Parameter:
    """One weight: its shape, its initialiser, and whether training changes it."""

    shape: tuple[int, ...]
    initialiser: Initialiser
    trainable: bool = True


# Initialisers


def zeros(_rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, np.float32)


def ones(_rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape, np.float32)


def truncated_normal(stddev: float) -> Initialiser:
    """Normal distribution with that standard deviation, truncated at two deviations."""

    def draw(rng, shape):
        values = rng.standard_normal(shape, np.float32)
        outside = np.flatnonzero(np.abs(values) > 2)
        while outside.size:
            redrawn = rng.standard_normal(outside.size, np.float32)
            values.flat[outside] = redrawn
            outside = outside[np.abs(redrawn) > 2]
        values *= np.float32(stddev)
        return values

    return draw


def lecun_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Truncated normal scaled by the fan-in only: Haiku's default, for heads and convolutions."""
    return truncated_normal(_fan_in(shape) ** -0.5)(rng, shape)


def variance_scaling(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Truncated normal whose variance after truncation is 1 / fan-in, for attention and MLP."""
    deviation_after_cut = 0.87962566103423978  # of a unit normal cut off at two deviations
    return truncated_normal(_fan_in(shape) ** -0.5 / deviation_after_cut)(rng, shape)


def _fan_in(shape: tuple[int, ...]) -> int:
    return max(1, int(np.prod(shape[:-1])))


# Descriptions of the layers that all parts share


def linear(in_dim: int, out_dim: int, initialiser: Initialiser = variance_scaling) -> Tree:
    return {
        "weight": Parameter((in_dim, out_dim), initialiser),
        "bias": Parameter((out_dim,), zeros),
    }


def layer_norm(dim: int) -> Tree:
    return {"scale": Parameter((dim,), ones), "offset": Parameter((dim,), zeros)}


def table(rows: int, dim: int) -> Parameter:
    """Learned latents, queries or positions, (rows, dim)."""
    return Parameter((rows, dim), truncated_normal(0.02))


def vector(dim: int) -> Parameter:
    """One learned vector, (dim,), such as padding or a mask token."""
    return Parameter((dim,), truncated_normal(0.02))


# Trees


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name, leaf), names joined by "/", in the order of the description."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def unflatten(leaves: Mapping[str, Any]) -> Tree:
    """Rebuild the tree from its flat names."""
    tree: Tree = {}
    for name, leaf in leaves.items():
        *path, last = name.split("/")
        branch = tree
        for key in path:
            branch = branch.setdefault(key, {})
        branch[last] = leaf
    return tree


def is_within(name: str, branches: Sequence[str]) -> bool:
    """Whether a weight or branch is one of ``branches`` or part of one."""
    return any(name == branch or name.startswith(f"{branch}/") for branch in branches)


def map_tree(function: Callable[[Any], Any], tree: Any) -> Tree:
    """Apply ``function`` to every leaf. Layers and blocks that are called do not change."""
    if callable(tree):
        called: Any = tree
        return called
    return {
        key: map_tree(function, value)
        if isinstance(value, Mapping) or callable(value)
        else function(value)
        for key, value in tree.items()
    }


# A shell may replace a branch by a function. For a layer (linear, norm, embedding) it is
# ``function(x)``. For a block it is ``function(x, compute)``, which calls ``compute(params, x)``.


def apply(params: Any, x: Any, compute: Callable[[Tree, Any], Any]) -> Any:
    """Return ``compute(params, x)``, or call the block if ``params`` is a function."""
    return params(x, compute) if callable(params) else compute(params, x)


def is_plain(tree: Any) -> bool:
    """Whether a tree contains only arrays, without functions that call a layer or block."""
    if isinstance(tree, Mapping):
        return all(map(is_plain, tree.values()))
    return not callable(tree)


def initialise(description: Tree, seed: int = 0) -> Tree:
    """Draw random weights.

    Each weight has its own generator, seeded by ``seed`` and its name. So a seed gives the same
    weights on every backend, whatever other weights the model has.

    Parameters
    ----------
    description
        The parameter tree, from ``parameters()`` of a model or a part.
    seed
        Seed of the weights.

    Returns
    -------
    dict
        The tree with a float32 NumPy array for each weight.
    """
    return unflatten(
        {
            name: parameter.initialiser(
                np.random.default_rng([seed, zlib.crc32(name.encode())]), parameter.shape
            )
            for name, parameter in flatten(description)
        }
    )


def count(description: Tree) -> int:
    """Number of trainable scalars."""
    return sum(
        int(np.prod(parameter.shape))
        for _, parameter in flatten(description)
        if parameter.trainable
    )
