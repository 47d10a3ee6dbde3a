"""Data types by the names and objects of all frameworks."""

from __future__ import annotations

import re
from typing import Any

from ivy_models.errors import SpecError

_NAME = re.compile(r"(?:torch\.|paddle\.)?([a-z]+\d+)")


def dtype_name(field: str, value: Any) -> str:
    """Validate the field of a spec, and give the data type's name.

    Parameters
    ----------
    field
        The field's name.
    value
        A name such as "float32" or "torch.float32"; or a data type of Ivy, NumPy, torch, JAX,
        TensorFlow or Paddle.

    Raises
    ------
    SpecError
        If it is not a data type.
    """
    # Types of NumPy and JAX may be classes; those of TensorFlow have a name.
    for written in (value, str(value), getattr(value, "name", 0), getattr(value, "__name__", 0)):
        if isinstance(written, str) and (match := _NAME.fullmatch(written)):
            return match[1]
    raise SpecError(
        f'{field} must be a name such as "float32", or a data type of a framework, got {value!r}.'
    )
