"""Protection from programs that turn NumPy's floating-point warnings into errors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")


def whatever_seterr_says(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function without floating-point errors, because underflow is harmless in a model.

    A program can turn NumPy's warnings into exceptions with ``np.seterr(all="raise")``.
    """

    @functools.wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> T:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return quiet
