"""A model's description, without its weights."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ivy_models.errors import shown
from ivy_models.models.presets import PRESETS, Preset, preset_named
from ivy_models.preprocessing.targets import ClassTarget, Target
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


class Described(NamedTuple):
    """``preset`` is None for a model that comes from a folder."""

    spec: PerceiverIOSpec
    preprocessing: Any
    preset: Preset | None
    targets: tuple[Target, ...] = ()


def describe(name: str) -> Described:
    """Find a model by its name, or in a folder that this library or transformers wrote.

    Raises
    ------
    SpecError, WeightsError
        If there is no such model, or its description is broken.
    """
    folder = Path(name)
    if name in PRESETS or not folder.is_dir():
        preset = preset_named(name)
        return Described(preset.spec, preset.data_preprocessing(), preset)
    from ivy_models.checkpoints.load import open_folder

    saved = open_folder(folder)
    attributes = saved.read_attributes()
    targets = attributes.get("targets") or ()
    return Described(saved.spec, attributes.get("preprocessing"), None, targets)


def target_text(target: Target) -> str:
    """A target for people: its name, and the number of classes."""
    if isinstance(target, ClassTarget):
        return f"{shown(target.name)} ({len(target.labels)} classes)"
    return f"{shown(target.name)} (number)"


def facts_of(preset: Preset) -> dict[str, Any]:
    """What is known about a model that can be had by name, for JSON."""
    from ivy_models.checkpoints.download.cache import PublishedFile

    source = preset.weights
    return {
        "description": preset.description,
        "task": preset.task,
        "parameters": preset.num_parameters,
        "weights": source.url if isinstance(source, PublishedFile) else None,
        "licence": preset.licence,
        "accuracy": preset.accuracy,
    }


def shown_fields(value: Any) -> Any:
    """Dataclasses as dictionaries for JSON, without the long fields that their repr leaves out."""
    if is_dataclass(value):
        return {
            field.name: shown_fields(getattr(value, field.name))
            for field in fields(value)
            if field.repr
        }
    return list(map(shown_fields, value)) if isinstance(value, (tuple, list)) else value
