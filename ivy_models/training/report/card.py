"""The model card: README.md with the front matter that Hugging Face reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any, NamedTuple

import ivy_models
from ivy_models.datasets import TrainingData
from ivy_models.preprocessing import (
    ImagePreprocessing,
    NgramPreprocessing,
    SoundPreprocessing,
    TextPreprocessing,
)
from ivy_models.preprocessing.targets import ClassTarget, Target
from ivy_models.training.report.metrics import summary
from ivy_models.training.settings import Settings

MODALITIES = {
    ImagePreprocessing: "image",
    SoundPreprocessing: "audio",
    NgramPreprocessing: "text",
    TextPreprocessing: "text",
}
"""How Hugging Face names data; anything else is "tabular"."""

METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "mae": "mae",
    "rmse": "rmse",
    "r2": "r_squared",
}
"""How Hugging Face names metrics."""

PACKAGES = {"torch": ("torch",), "jax": ("jax", "optax"), "tensorflow": ("tensorflow", "keras")}
"""Packages whose versions the card records, by backend. For others: the one of the same name."""


class Facts(NamedTuple):
    """What a model card says.

    Parameters
    ----------
    name, data_name
        Names of the model and of the data.
    data
        The data.
    metrics
        Metrics of each target on the validation examples, by its name.
    settings
        The settings of the run.
    parameters
        Number of the model's weights.
    command
        The command line.
    epochs
        The best epoch, and the number of epochs.
    seconds
        Duration of the whole run.
    pictures
        Paths and titles of pictures and pages, relative to the card.
    """

    name: str
    data_name: str
    data: TrainingData
    metrics: Mapping[str, Mapping[str, Any]]
    settings: Settings
    parameters: int
    command: str | None
    epochs: tuple[int, int]
    seconds: float
    pictures: Sequence[tuple[str, str]]


def model_card(facts: Facts) -> str:
    """Return the text of a model card."""
    front = ["---", *_front_matter(facts), "---", ""]
    return "\n".join([*front, *_body(facts)]) + "\n"


def task_of(preprocessing: Any, target: Target) -> str:
    """Name of a task as Hugging Face has it, such as "image-classification"."""
    kind = "classification" if isinstance(target, ClassTarget) else "regression"
    modality = MODALITIES.get(type(preprocessing), "tabular")
    # Hugging Face has a task for regression only of tables.
    return f"{modality}-{kind}" if kind == "classification" else "tabular-regression"


def _front_matter(facts: Facts) -> Iterator[str]:
    """Lines of YAML. Texts are quoted as JSON, which YAML reads."""
    targets, preprocessing = facts.data.targets, facts.data.preprocessing
    tasks = list(dict.fromkeys(task_of(preprocessing, target) for target in targets))
    keys = dict.fromkeys(
        METRICS[key] for m in facts.metrics.values() for key in METRICS if key in m
    )
    yield "license: unknown"
    yield "library_name: ivy_models"
    yield f"pipeline_tag: {tasks[0]}"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("perceiver-io", "ivy", *tasks))
    yield "metrics:"
    yield from (f"- {key}" for key in keys)
    yield "model-index:"
    yield f"- name: {json.dumps(facts.name)}"
    yield "  results:"
    for target in targets:
        yield "  - task:"
        yield f"      type: {task_of(preprocessing, target)}"
        yield "    dataset:"
        yield f"      name: {json.dumps(facts.data_name)}"
        yield f"      type: {json.dumps(facts.data_name)}"
        yield "    metrics:"
        for key, name in METRICS.items():
            if (value := facts.metrics[target.name].get(key)) is not None:
                yield f"    - type: {name}"
                yield f"      value: {value:.6g}"
                yield f"      name: {json.dumps(f'{key} of {target.name}')}"


def _body(facts: Facts) -> Iterator[str]:
    data, settings = facts.data, facts.settings
    goals = ", ".join(f"`{target.name}`" for target in data.targets)
    yield f"# {facts.name}"
    yield ""
    yield (
        f"A Perceiver IO with {facts.parameters:,} parameters that predicts {goals}. It was "
        f"trained by ivy_models {ivy_models.__version__} on {facts.data_name}."
    )
    yield from _section("Metrics", _metrics(facts.metrics))
    yield from _section("Pictures", _pictures(facts.pictures))
    yield from _section("Data", _data(facts))
    best, epochs = facts.epochs
    words = [f"{facts.seconds / 60:.1f} minutes, {epochs} epochs; epoch {best} was the best."]
    if facts.command:
        words += ["", "```shell", facts.command, "```"]
    values = {name: value for name, value in asdict(settings).items() if value not in (None, ())}
    words += ["", *_table(["setting", "value"], [(name, str(v)) for name, v in values.items()])]
    yield from _section("Training", words)
    yield from _section("Versions", [f"- {line}" for line in _versions(settings.backend)])
    yield from _section("Use", USE.splitlines())


USE = """```shell
ivy-models predict FOLDER NEW_DATA
```

```python
from ivy_models import PerceiverIO, predict

model = PerceiverIO.from_pretrained("FOLDER")
for source, values, error in predict(model, sources):
    print(source, values)
```"""
"""How the model is used."""


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"## {title}", "", *lines)


def _pictures(pictures: Sequence[tuple[str, str]]) -> list[str]:
    """Pictures, and links to pages, which a card cannot show."""
    lines = [f"[{title}]({path})" for path, title in pictures if not path.endswith(".png")]
    lines += [f"![{title}]({path})" for path, title in pictures if path.endswith(".png")]
    return "\n\n".join(lines).splitlines()


def _metrics(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["Measured on the validation examples, by which the best epoch was chosen."]
    rows = [
        (name, metric, value) for name, found in metrics.items() for metric, value in summary(found)
    ]
    lines += ["", *_table(["target", "metric", "value"], rows)]
    for name, found in metrics.items():
        if found["kind"] == "class":
            examples = map(sum, found["confusion"])
            scores = zip(found["f1"].items(), examples, strict=True)
            rows = [(c, "" if f1 is None else f"{f1:.3f}", f"{n:,}") for (c, f1), n in scores]
            lines += ["", *_table([name, "F1", "examples"], rows)]
    return lines


def _data(facts: Facts) -> list[str]:
    data, lines = facts.data, []
    lines.append(
        f"{len(data.train):,} examples to train and {len(data.validation):,} to validate, split "
        f"with seed {facts.settings.seed}."
    )
    rows = [(c.name, c.kind, "target" if c.is_target else "", c.detail) for c in data.columns]
    lines += ["", *_table(["column", "kind", "", "found"], rows)]
    return lines + [f"\n{warning}" for warning in data.warnings]


def _versions(backend: str) -> Iterator[str]:
    yield f"Python {python_version()}"
    yield f"ivy_models {ivy_models.__version__}"
    for package in (*PACKAGES.get(backend, (backend,)), "numpy", "ivy"):
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:  # installed under another name, as tensorflow-cpu
            continue


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(map(_cell, line))} |" for line in lines]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
