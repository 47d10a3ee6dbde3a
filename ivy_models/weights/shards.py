"""Weights in several files, shards, of which an index says what is in which."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ivy_models.errors import WeightsError


def index_name(weights_file: str) -> str:
    """The name of the index that stands in place of a file."""
    return f"{weights_file}.index.json"


def read_index(path: Path) -> dict[str, set[str]]:
    """Read which weights are in which shard.

    Parameters
    ----------
    path
        As :func:`index_name`.

    Returns
    -------
    dict
        Names of weights by the shard's, which is that of a file beside the index and of its kind.

    Raises
    ------
    WeightsError
        If it cannot be read, or names anything else as a shard.
    """
    try:
        weight_map = json.loads(path.read_text("utf-8"))["weight_map"]
        items = list(weight_map.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f'{path} is no index of shards, {{"weight_map": {{name: shard}}}} ({error!r}).'
        ) from error
    suffix = Path(path.name.removesuffix(index_name(""))).suffix
    shards: dict[str, set[str]] = {}
    for name, shard in items:
        if not isinstance(shard, str) or not re.fullmatch(rf"\w[\w.-]*\{suffix}", shard):
            raise WeightsError(
                f"{path} names {shard!r} as a shard, which is no {suffix} file beside it."
            )
        shards.setdefault(shard, set()).add(name)
    return shards


def read_shards(path: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Read the weights of an index from all of its shards.

    Parameters
    ----------
    path
        Of the index.
    read
        What reads a shard.

    Raises
    ------
    WeightsError
        If the index or a shard cannot be read, or they contradict each other.
    """
    arrays = {}
    for shard, names in read_index(path).items():
        if not (path.parent / shard).exists():
            raise WeightsError(f"{path} names the shard {shard}, which is not there.")
        part = read(path.parent / shard)
        if differing := sorted(part.keys() ^ names, key=str):
            raise WeightsError(
                f"{path} does not say what is in {shard}: {len(differing)} weights are in one "
                f"alone, such as {differing[0]}."
            )
        arrays |= part
    return arrays
