"""Weights that are split into several files (shards), with an index of their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ivy_models.checkpoints.files import check_size, read_json
from ivy_models.errors import WeightsError, shown


def index_name(weights_file: str) -> str:
    """Name of the index that replaces a weights file."""
    return f"{weights_file}.index.json"


def read_index(path: Path) -> dict[str, set[str]]:
    """Read which weights are in which shard.

    Parameters
    ----------
    path
        Path of the index, with a name of :func:`index_name`.

    Returns
    -------
    dict
        The names of the weights in each shard. A shard is a file in the index's folder, with the
        same suffix as the file that the index replaces.

    Raises
    ------
    WeightsError
        If it cannot be read, or names another kind of file as a shard.
    """
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightsError(f'{path} is not an index of shards, {{"weight_map": {{name: shard}}}}.')
    suffix = Path(path.name.removesuffix(index_name(""))).suffix
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not re.fullmatch(rf"\w[\w.-]*\{suffix}", shard):
            raise WeightsError(
                f"{path} names '{shown(shard)}' as a shard, which is not a {suffix} file beside it."
            )
        shards.setdefault(shard, set()).add(name)
    return shards


def read_shards(path: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Read the weights of an index from all of its shards.

    Parameters
    ----------
    path
        Path of the index.
    read
        Function that reads a shard.

    Raises
    ------
    WeightsError
        If the index or a shard cannot be read, or they contradict each other.
    """
    arrays, index = {}, read_index(path)
    for shard in index:
        if not (path.parent / shard).exists():
            raise WeightsError(f"{path} names the shard {shard}, which does not exist.")
    check_size(path.parent / shard for shard in index)
    for shard, names in index.items():
        part = read(path.parent / shard)
        if differing := sorted(part.keys() ^ names, key=str):
            raise WeightsError(
                f"{path} and {shard} contradict each other: {len(differing)} weights are in only "
                f"one of them, such as {shown(differing[0])}."
            )
        arrays |= part
    return arrays
