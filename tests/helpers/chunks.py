"""Smaller chunks, so that small models have several."""

from collections.abc import Iterator

import pytest

from ivy_models.ops import Ops


def set_scores_per_chunk(patch: pytest.MonkeyPatch, number: int) -> None:
    """Set how many scores of cross-attention a chunk holds, in every framework."""
    for cls in _classes(Ops):
        if "scores_per_chunk" in vars(cls):
            patch.setattr(cls, "scores_per_chunk", lambda self, like: number)


def _classes(cls: type) -> Iterator[type]:
    yield cls
    for derived in cls.__subclasses__():
        yield from _classes(derived)
