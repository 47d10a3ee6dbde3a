"""Calls that run a part of a model: fewer blocks, layers or latents than it has."""

from __future__ import annotations

import functools
import operator
from dataclasses import replace
from typing import Any

from ivy_models.errors import InputError, shown
from ivy_models.layers.parameters import Tree
from ivy_models.ops import ops_for
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

_FIELDS = {
    "depth": "network_depth",
    "num_layers": "num_lat_att_per_layer",
    "num_latents": "num_latents",
}
"""The arguments of a call, and the fields of the spec that they replace."""


def shorter(core: PerceiverIOCore, params: Tree, **sizes: Any) -> tuple[PerceiverIOCore, Tree]:
    """Return the core and the weights of a part of a model, or of all of it.

    Parameters
    ----------
    core, params
        The model's. A core does not read blocks and layers that it does not have, so of the
        weights only the latents change.
    sizes
        ``depth``, ``num_layers`` and ``num_latents`` of a call. None: the model's.

    Raises
    ------
    InputError
        If a size is not an integer from 1 to the model's.
    """
    part = shorter_core(core, **sizes)
    if part.spec.num_latents != core.spec.num_latents:
        latents = params["latents"]
        with ops_for(latents).on_device_of(latents):
            params = {**params, "latents": latents[: part.spec.num_latents]}
    return part, params


def shorter_core(core: PerceiverIOCore, **sizes: Any) -> PerceiverIOCore:
    """Return the core alone; arguments and errors as of :func:`shorter`."""
    given = {name: size for name, size in sizes.items() if size is not None}
    if not given:
        return core
    return _replaced(core, *((_FIELDS[name], _checked(core, name, given[name])) for name in given))


@functools.lru_cache(maxsize=32)
def _replaced(core: PerceiverIOCore, *fields: tuple[str, int]) -> PerceiverIOCore:
    return replace(core, spec=core.spec.replace(**dict(fields)))


def _checked(core: PerceiverIOCore, name: str, size: Any) -> int:
    largest = getattr(core.spec, _FIELDS[name])
    number, hint = 0, ""
    try:
        number = 0 if isinstance(size, bool) else operator.index(size)
    except TypeError:  # such as an array that is being traced
        hint = " A function that is compiled needs it as a constant."
    if not 1 <= number <= largest:
        raise InputError(
            f"{name} must be an integer from 1 to {largest}, the model's {_FIELDS[name]}, got "
            f"{shown(size)}.{hint}"
        )
    return number
