"""Devices by the names and objects of all frameworks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ivy_models.errors import SpecError

_NAME = re.compile(r"(?:.*/device:|/|Place\()?([a-z]+)(?::(\d+))?\)?", re.IGNORECASE)
"""Matches "cpu", "cuda:1", "/GPU:0", "/job:localhost/replica:0/task:0/device:GPU:0", and a place of
Paddle, "Place(gpu:0)"."""


@dataclass(frozen=True)
class Device:
    """A device of this machine.

    Parameters
    ----------
    kind
        "cpu", "cuda", "mps", "xpu", "tpu" or another name in lower case. "cuda" stands for every
        GPU that Ivy, JAX, TensorFlow and Paddle call "gpu".
    index
        Which of several devices of a kind. None: the one that the framework chooses.
    """

    kind: str
    index: int | None = None

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


def parse_device(device: Any) -> Device:
    """Read a device as any framework names it.

    Parameters
    ----------
    device
        A string such as "cpu", "gpu:0", "cuda:1" or TensorFlow's "/device:GPU:0"; or a device of
        Ivy, torch, JAX, TensorFlow or Paddle.

    Raises
    ------
    SpecError
        If it is not a device.
    """
    if hasattr(device, "platform"):  # a device of JAX
        kind, index = device.platform, device.id
    elif not isinstance(device, str) and hasattr(device, "type"):  # a device of torch
        kind, index = device.type, device.index
    else:
        is_of_paddle = type(device).__name__.endswith("Place")
        name = str(device) if is_of_paddle else device
        name = getattr(name, "name", name)  # a device of TensorFlow
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if not match:
            raise SpecError(
                f'device must be a name such as "cpu", "cuda" or "cuda:1", or a device of a '
                f"framework, got {device!r}."
            )
        kind, index = match[1], None if match[2] is None else int(match[2])
    kind = kind.lower()
    if kind == "cpu" and index == 0:
        index = None
    return Device("cuda" if kind == "gpu" else kind, index)


def device_name(field: str, value: Any) -> str:
    """Validate the field of a spec, and give the device's name."""
    return str(parse_device(value))
