"""Devices by the names and objects of all frameworks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ivy_models.errors import SpecError

_NAME = re.compile(
    r"(?:.*/device:|/physical_device:|/|Place\()?([a-z]+)(?::(\d+))?\)?", re.IGNORECASE | re.ASCII
)
"""Matches "cpu", "cuda:1", "/GPU:0", "/job:localhost/replica:0/task:0/device:GPU:0",
"/physical_device:GPU:0", and a place of Paddle, "Place(gpu:0)"."""


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
    kind, index = _kind_and_index(device)
    if not isinstance(kind, str):
        raise SpecError(
            f'device must be a name such as "cpu", "cuda" or "cuda:1", or a device of a '
            f"framework, got {device!r}."
        )
    kind = kind.lower()
    if kind == "cpu" and index == 0:
        index = None
    return Device("cuda" if kind == "gpu" else kind, index)


def _kind_and_index(device: Any) -> tuple[Any, Any]:
    """What a device consists of. Of anything else, the kind is no string."""
    if hasattr(device, "platform"):  # a device of JAX
        return device.platform, getattr(device, "id", None)
    is_text = isinstance(device, str)
    if not is_text and hasattr(device, "type"):  # a device of torch
        return device.type, getattr(device, "index", None)
    if not is_text and hasattr(device, "to_string"):  # tf.DeviceSpec
        name = device.to_string()
    elif type(device).__name__.endswith("Place"):  # a device of Paddle
        name = str(device)
    else:
        name = getattr(device, "name", device)  # a device of TensorFlow, or a name
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    return (match[1], match[2] and int(match[2])) if match else (None, None)


def device_name(field: str, value: Any) -> str:
    """Validate the field of a spec, and give the device's name."""
    return str(parse_device(value))
