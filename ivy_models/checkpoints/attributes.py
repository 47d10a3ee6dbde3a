"""A model's labels, preprocessing, targets and tokenizer as JSON, saved with spec and weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import fields, is_dataclass
from typing import Any

from ivy_models.errors import InputError, WeightsError, shown
from ivy_models.preprocessing import (
    ByteTokenizer,
    ClipPreprocessing,
    ImagePreprocessing,
    NgramPreprocessing,
    SoundPreprocessing,
    TablePreprocessing,
    TextPreprocessing,
    VideoPreprocessing,
)
from ivy_models.preprocessing.table import COLUMNS
from ivy_models.preprocessing.targets import ClassTarget, NumberTarget

PREPROCESSINGS = (
    ClipPreprocessing,
    ImagePreprocessing,
    NgramPreprocessing,
    SoundPreprocessing,
    TablePreprocessing,
    TextPreprocessing,
    VideoPreprocessing,
)

ATTRIBUTES = {
    "preprocessing": PREPROCESSINGS,
    "labels": tuple,
    "targets": tuple,
    "tokenizer": ByteTokenizer,
}
"""Attributes of a model that are saved, with their types. Each may be None."""

MEMBERS = {"labels": (str,), "targets": (ClassTarget, NumberTarget)}
"""Types of the members of attributes that are tuples."""

MAX_NUMBERS = 1 << 28
"""Upper bound on the numbers of one image, sound, text or video after a saved preprocessing."""

KINDS = {
    kind.__name__: kind
    for kind in (ByteTokenizer, ClassTarget, NumberTarget, *COLUMNS, *PREPROCESSINGS)
}


def attributes_to_json(model: Any) -> dict[str, Any]:
    """Describe a model's labels, preprocessing, targets and tokenizer.

    Raises
    ------
    WeightsError
        If one of them has a type that cannot be saved.
    """
    values = {name: getattr(model, name) for name in ATTRIBUTES}
    return {name: _to_json(value) for name, value in values.items() if value is not None}


def attributes_from_json(task: dict[str, Any], source: str) -> dict[str, Any]:
    """Read ATTRIBUTES from a description by :func:`attributes_to_json`.

    Raises
    ------
    WeightsError
        If the description is broken.
    """
    try:
        values = {name: _from_json(value) for name, value in task.items()}
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        message = f"{source}: the task cannot be read: {shown(repr(error))}."
        raise WeightsError(message) from error
    for name, value in values.items():
        if name not in ATTRIBUTES:
            raise WeightsError(
                f"{source}: the task has the unknown entry {shown(name)}; expected some of "
                f"{', '.join(ATTRIBUTES)}."
            )
        is_right = isinstance(value, ATTRIBUTES[name])
        if not is_right or not all(isinstance(m, MEMBERS[name]) for m in _members(name, value)):
            raise WeightsError(f"{source}: the task's {name} cannot be {shown(value)}.")
    return values


def _members(name: str, value: Any) -> Iterable[Any]:
    return value if name in MEMBERS else ()


def _to_json(value: Any) -> Any:
    if is_dataclass(value) and type(value).__name__ in KINDS:
        parts = {field.name: _to_json(getattr(value, field.name)) for field in fields(value)}
        return {"kind": type(value).__name__} | parts
    if isinstance(value, (tuple, list)):
        return [_to_json(part) for part in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise WeightsError(
        f"A {type(value).__name__} cannot be saved with the model; set it to None first, and again "
        "after loading."
    )


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        parts = {name: _from_json(part) for name, part in value.items() if name != "kind"}
        return _checked_size(KINDS[value["kind"]](**parts))
    return tuple(map(_from_json, value)) if isinstance(value, list) else value


def _checked_size(part: Any) -> Any:
    """Refuse a preprocessing whose result would exceed the memory."""
    numbers = math.prod(
        math.prod(value) if name == "size" else value
        for name, value in vars(part).items()
        if name in ("size", "num_frames", "num_samples", "max_length")
    )
    if isinstance(part, TablePreprocessing):
        numbers = part.num_values
    if isinstance(part, NgramPreprocessing):
        numbers = part.num_tokens
    if numbers > MAX_NUMBERS:
        raise ValueError(f"its result has {numbers:,} numbers; at most {MAX_NUMBERS:,} are allowed")
    return part


def checked_attribute(name: str, value: Any) -> Any:
    """Check a value for one of ATTRIBUTES. Labels and targets become a tuple.

    Raises
    ------
    InputError
        If it has another type.
    """
    if value is None:
        return None
    if name == "labels":
        expected = "labels must be a list of texts, one for each class"
        if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
            raise InputError(f"{expected}; got {value!r}.")
        names = tuple(value)
        if wrong := [label for label in names if not isinstance(label, str)]:
            raise InputError(f"{expected}; got {wrong[0]!r}.")
        return names
    if name == "targets":
        if not isinstance(value, (list, tuple)) or not all(
            isinstance(target, MEMBERS[name]) for target in value
        ):
            raise InputError(
                f"targets must be a list of ClassTarget and NumberTarget; got {value!r}."
            )
        names = [target.name for target in value]
        if len(set(names)) < len(names):
            raise InputError(f"targets must have different names, got {names}.")
        return tuple(value)
    if name == "preprocessing" and (not callable(value) or isinstance(value, ByteTokenizer)):
        raise InputError(
            "preprocessing must be callable with images, sounds or other data, like "
            f"ImagePreprocessing; got {value!r}."
        )
    if name == "tokenizer" and not callable(getattr(value, "encode", None)):
        raise InputError(f"tokenizer must have a method encode, like ByteTokenizer; got {value!r}.")
    return value
