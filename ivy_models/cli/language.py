"""``ivy-models language``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ivy_models.cli.options import InputPath, batch_size_from, format_options, model_options
from ivy_models.cli.records import csv_lines, source_name

COLUMNS = ("source", "language", "name", "probability", "error")
"""CSV columns."""


@click.command("language")
@click.argument("texts", nargs=-1)
@click.option(
    "--file",
    "files",
    type=InputPath(stdin=True),
    multiple=True,
    help="Text file to identify as a whole. Repeat for several; a dash (-) is stdin.",
)
@click.option(
    "--lines",
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="File with a text in each line; empty lines are skipped. A dash (-) is stdin.",
)
@model_options("perceiver_io_languages", "language identifier")
@click.option("--among", help="Languages to choose from, such as de,fr,it. Default: all.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Lowest probability to accept; below it, the language is unknown. Default: the "
    "model's own.",
)
@click.option(
    "--letters",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture of the letters that the model attended to. For one text only.",
)
@format_options("text", "jsonl", "csv")
@batch_size_from(64)
def language(texts, files, lines, load, among, threshold, letters, output_format, batch_size):
    """Print the language of TEXTS, or of text files.

    Each result is printed as soon as it is known. If a text cannot be used, such as one without
    letters, the others are still identified and the exit code is 1.

    Example: ivy-models language "Wie spät ist es?" --letters letters.png
    """
    from ivy_models.tasks.identification import THRESHOLD, identify_languages

    given = [*texts, *files]
    if lines is not None:
        given += [text for line in lines if (text := line.strip())]
    if not given:
        raise click.UsageError("Pass at least one text, --file or --lines.")
    if letters is not None and len(given) != 1:
        raise click.UsageError(f"--letters draws one text; {len(given)} were given.")
    if letters is not None and load.engine is not None:
        raise click.UsageError(
            "--letters needs attention weights, which an engine does not return."
        )
    model = load()
    record, failures = FORMATS[output_format](), 0
    options = {
        "among": None if among is None else [code.strip() for code in among.split(",")],
        "threshold": THRESHOLD if threshold is None else threshold,
    }
    for source, found, error in identify_languages(given, model, batch_size, **options):
        name = source if isinstance(source, str) else source_name(source)
        if error is not None:
            failures += 1
            click.echo(f"Error: {error}", err=True)
        click.echo(record(name, found, error), nl=False)
    if letters is not None and not failures:
        from ivy_models.interpret.drawing import draw_letters
        from ivy_models.interpret.letters import attention_to_letters
        from ivy_models.preprocessing.text import read_text

        text = read_text(given[0])
        draw_letters(*attention_to_letters(model, text)).savefig(letters, dpi=150)
    if failures:
        click.echo(f"{failures} of {len(given)} texts could not be identified.", err=True)
        sys.exit(1)


def _text() -> Callable[..., str]:
    from ivy_models.tasks.identification import name_of_language

    def record(source, found, error):
        if error is not None:
            return ""
        lines = [f"  {share:6.1%}  {code:4} {name_of_language(code)}" for code, share in found[2]]
        return "\n".join([f"{_shortened(source)}: {name_of_language(found.language)}", *lines, ""])

    return record


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def _jsonl() -> Callable[..., str]:
    def record(source, found, error):
        fields: dict[str, Any] = {"source": source}
        if error is not None:
            fields["error"] = str(error)
        else:
            fields |= {"language": found.language, "probability": found.probability}
            fields["candidates"] = [candidate._asdict() for candidate in found.candidates]
        return json.dumps(fields, ensure_ascii=False) + "\n"

    return record


def _csv() -> Callable[..., str]:
    from ivy_models.tasks.identification import name_of_language

    lines = csv_lines(COLUMNS)

    def record(source, found, error):
        row = (source, "", "", "", error)
        if error is None:
            row = (source, found.language, name_of_language(found.language), found.probability, "")
        return lines([row])

    return record


FORMATS: dict[str, Callable[[], Callable[..., str]]] = {
    "text": _text,
    "jsonl": _jsonl,
    "csv": _csv,
}
"""Functions that make a formatter of a source, its language and its error, by the format's name."""
