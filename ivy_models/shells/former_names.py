"""Weights by the names that they had in the first ``ivy_models``."""

from __future__ import annotations

from typing import Any

FORMER_NAMES = {"z_latents": "latents", "decoder_queries": "queries"}
"""Former name -> name in ``model.v``."""


def with_former_names(v: Any) -> Any:
    """Let attributes of an ``ivy.Container`` with former names read and replace its weights."""
    for former, name in FORMER_NAMES.items():
        if former in v:  # a script has assigned v.z_latents
            v[name] = v.pop(former)
        if name in v:
            vars(v)[former] = v[name]
    return v
