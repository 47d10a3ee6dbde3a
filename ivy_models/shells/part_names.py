"""Names of a model's parts in torch and Paddle, whose modules have attributes of their own."""

from __future__ import annotations

from typing import Any


def attribute_name(name: str, module: Any) -> str:
    """The name of a part of the parameter tree as an attribute of a module.

    A modality can be called like an attribute that the module has, such as "type". It gets a slash
    at the end, which no modality's own name has.
    """
    return f"{name}/" if hasattr(module, name) else name


def tree_name(name: str) -> str:
    """Return the name in the parameter tree of a parameter of a torch or Paddle module.

    Parameters
    ----------
    name
        As in ``named_parameters()``, such as "input.embedding.weight". A modality whose name is
        also an attribute of modules ends in a slash there, as in "input.type/.mask_token".
    """
    name = name.replace("/.", ".").replace(".", "/")
    return name.removesuffix("/weight") if name.endswith("embedding/weight") else name
