"""What a model needs beside spec and weights to be used, as JSON: labels and preprocessing."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from ivy_models.errors import WeightsError
from ivy_models.preprocessing import (
    ByteTokenizer,
    ClipPreprocessing,
    ImagePreprocessing,
    SoundPreprocessing,
    VideoPreprocessing,
)

ATTRIBUTES = ("preprocessing", "labels", "tokenizer")
"""Of a model, all of them None where it has none."""

KINDS = {
    kind.__name__: kind
    for kind in (
        ByteTokenizer,
        ClipPreprocessing,
        ImagePreprocessing,
        SoundPreprocessing,
        VideoPreprocessing,
    )
}


def task_of(model: Any) -> dict[str, Any]:
    """Describe a model's labels, preprocessing and tokenizer.

    Raises
    ------
    WeightsError
        If one of them is of a kind that cannot be written.
    """
    values = {name: getattr(model, name) for name in ATTRIBUTES}
    return {name: _to_json(value) for name, value in values.items() if value is not None}


def set_task(model: Any, task: dict[str, Any], source: str) -> None:
    """Give a model what :func:`task_of` described.

    Raises
    ------
    WeightsError
        If the description is broken.
    """
    try:
        values = {name: _from_json(value) for name, value in task.items()}
    except (TypeError, KeyError, ValueError) as error:
        raise WeightsError(f"{source}: the task cannot be read: {error!r}.") from error
    if unknown := [name for name in values if name not in ATTRIBUTES]:
        raise WeightsError(f"{source}: a task has {', '.join(ATTRIBUTES)}; got {unknown}.")
    for name, value in values.items():
        setattr(model, name, value)


def _to_json(value: Any) -> Any:
    if is_dataclass(value) and type(value).__name__ in KINDS:
        parts = {field.name: _to_json(getattr(value, field.name)) for field in fields(value)}
        return {"kind": type(value).__name__} | parts
    if isinstance(value, (tuple, list)):
        return [_to_json(part) for part in value]
    if isinstance(value, (str, int, float)):
        return value
    raise WeightsError(
        f"A {type(value).__name__} cannot be saved with the model; set it to None first, and again "
        "after loading."
    )


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        parts = {name: _from_json(part) for name, part in value.items() if name != "kind"}
        return KINDS[value["kind"]](**parts)
    return tuple(map(_from_json, value)) if isinstance(value, list) else value
