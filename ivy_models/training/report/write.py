"""Writes the report on a trained model into its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivy_models.base.atomic_files import replaced
from ivy_models.datasets import TrainingData
from ivy_models.errors import BackendError
from ivy_models.layers.parameters import count
from ivy_models.preprocessing.targets import ClassTarget, Target, split_output
from ivy_models.training.loop import Fitted
from ivy_models.training.records import FILE
from ivy_models.training.report.card import Facts, model_card
from ivy_models.training.report.drawings import draw_confusion, draw_curve, draw_numbers
from ivy_models.training.report.metrics import target_metrics
from ivy_models.training.report.mistakes import worst_mistakes
from ivy_models.training.report.outputs import outputs_on, predictions, truth
from ivy_models.training.report.page import mistakes_page
from ivy_models.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER, CARD = "report", "README.md"
"""Names of the report's folder and of the model card, in the model's folder."""

MOST_MISTAKES = 24


def write_report(
    folder: str | Path,
    fitted: Fitted,
    data: TrainingData,
    *,
    name: str,
    data_name: str,
    settings: Settings,
    command: str | None = None,
    seconds: float = 0.0,
    on_problem: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
    """Write README.md, and ``report`` with metrics, drawings and the worst mistakes.

    Parameters
    ----------
    folder
        The model's folder, which has the run's metrics.csv.
    fitted
        The result of :func:`.fit`.
    data, settings
        What the model was trained on, and how.
    name, data_name
        Names of the model and of the data, for the card.
    command
        The command line that trained the model, for the card.
    seconds
        Duration of the run.
    on_problem
        Called with a sentence about a part that is left out, such as the drawings if matplotlib is
        not installed.

    Returns
    -------
    dict
        :func:`.target_metrics` by target, for the validation examples.

    Raises
    ------
    BackendError
        If scikit-learn is not installed.
    OSError
        If a file cannot be written; the error names it.
    """
    model, examples, targets = fitted.model, data.validation, data.targets
    folder = Path(folder)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    output = outputs_on(model, examples, settings.batch_size)
    parts, encoded = split_output(output, targets), examples.encoded_targets()
    metrics: dict[str, dict[str, Any]] = {}
    links: list[tuple[str, str]] = []
    for target, slug in zip(targets, slugs([t.name for t in targets]), strict=True):
        own, true = parts[target.name], truth(target, encoded[target.name])
        found = target_metrics(target, true, predictions(target, own))
        metrics[target.name] = found
        mistakes = worst_mistakes(target, own, encoded[target.name], MOST_MISTAKES)
        note = _note(target, len(mistakes), found["examples"])
        page = mistakes_page(
            f"Worst mistakes: {target.name}", note, mistakes, examples, model
        ).encode("utf-8", "replace")
        links.append(_written(folder, f"mistakes_{slug}.html", page, f"mistakes: {target.name}"))
    _write(folder / FOLDER / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    try:
        for stem, title, figure in _figures(folder, fitted, data, metrics, parts, encoded):
            links.append(_drawn(folder, f"{stem}.png", figure, title))
    except BackendError as error:
        on_problem(f"The report has no drawings. {error}")
    facts = Facts(
        name,
        data_name,
        data,
        metrics,
        settings,
        count(model.core.parameters()),
        command,
        (int(fitted.best["epoch"]), len(fitted.history)),
        seconds,
        links,
    )
    _write(folder / CARD, model_card(facts).encode("utf-8", "replace"))
    return metrics


def _note(target: Target, shown: int, examples: int) -> str:
    what = "wrong classes, the least probable truth first"
    if not isinstance(target, ClassTarget):
        what = "largest errors, the largest first"
    return f"{shown} of {examples:,} validation examples: {what}."


def _figures(folder, fitted, data, metrics, parts, encoded):
    """Yield the file's stem, the title and the figure of each drawing."""
    yield "curve", "losses and results of the run", draw_curve(folder / FILE, fitted.metric)
    targets = data.targets
    for target, slug in zip(targets, slugs([t.name for t in targets]), strict=True):
        if isinstance(target, ClassTarget):
            figure = draw_confusion(metrics[target.name])
            yield f"confusion_{slug}", f"confusion matrix: {target.name}", figure
        else:
            predicted = predictions(target, parts[target.name])
            true = truth(target, encoded[target.name])
            figure = draw_numbers(target.name, true, predicted)
            yield f"numbers_{slug}", f"predicted against true: {target.name}", figure


def slugs(names: list[str]) -> list[str]:
    """Turn names of columns into different parts of file names."""
    found = [re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:40] or "target" for name in names]
    return [s if len(names) == 1 else f"{i}_{s}" for i, s in enumerate(found, 1)]


def _written(folder: Path, file: str, content: bytes, title: str) -> tuple[str, str]:
    _write(folder / FOLDER / file, content)
    return f"{FOLDER}/{file}", title


def _drawn(folder: Path, file: str, figure: Figure, title: str) -> tuple[str, str]:
    with replaced(folder / FOLDER / file) as path:
        figure.savefig(path, dpi=120)
    return f"{FOLDER}/{file}", title


def _write(path: Path, content: bytes) -> None:
    with replaced(path) as temporary:
        temporary.write_bytes(content)
