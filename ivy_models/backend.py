"""Choosing Ivy's backend, with an error that says what to install."""

from __future__ import annotations

import ivy

from ivy_models.errors import not_installed
from ivy_models.ops import ops_named


def set_backend(name: str) -> None:
    """Do ``ivy.set_backend(name)``, refusing what the models do not run on.

    Raises
    ------
    BackendError
        If there is no such backend, or a package that it needs is not installed.
    """
    ops_named(name)
    try:
        ivy.set_backend(name)
    except ImportError as error:
        raise not_installed(f"Ivy's {name} backend needs", error, name) from error
