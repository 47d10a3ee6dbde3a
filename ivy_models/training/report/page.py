"""A page of examples: pictures, texts or rows, with the truth and the prediction."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ivy_models.datasets import Examples
from ivy_models.errors import IvyModelsError
from ivy_models.interpret.looking import heat_map, pixels_of, png_url, where_it_looked
from ivy_models.preprocessing import ImagePreprocessing
from ivy_models.preprocessing.sources import reason
from ivy_models.training.report.mistakes import Mistake

MOST_TEXT = 600
"""Most characters of a text that are shown."""

MOST_CELLS = 30
"""Most columns of a row that are shown."""

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem }}
ol {{ display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr));
  list-style: none; padding: 0 }}
li {{ overflow-wrap: anywhere }}
.pictures {{ display: flex; gap: 4px }}
.picture {{ position: relative; flex: 1 }}
img {{ width: 100%; image-rendering: pixelated; display: block }}
.over {{ position: absolute; inset: 0; width: 100%; height: 100% }}
.name {{ color: #767676; font-size: 0.85em }}
td {{ padding-right: 0.7em; vertical-align: top }}
blockquote {{ margin: 0; white-space: pre-wrap }}
</style>
</head>
<body>
"""


def mistakes_page(
    title: str, note: str, mistakes: Sequence[Mistake], examples: Examples, model: Any
) -> str:
    """Return a page of HTML that needs no other files.

    Parameters
    ----------
    title, note
        The heading, and a sentence below it.
    mistakes
        What to show.
    examples
        The examples that the mistakes are of.
    model
        The model. For images the page shows where it looked.
    """
    items = (_item(mistake, examples, model) for mistake in mistakes)
    heading = f"<h1>{escape(title)}</h1>\n<p>{escape(note)}</p>\n<ol>\n"
    return HEAD.format(title=escape(title)) + heading + "".join(items) + "</ol>\n</body>\n</html>\n"


def _item(mistake: Mistake, examples: Examples, model: Any) -> str:
    index = mistake.example
    name_of = getattr(examples, "name", "example {}".format)  # arrays have no names
    name = name_of(index)
    shown = "".join(_shown(index, examples, model))
    return (
        f"<li>{shown}<div><b>{escape(mistake.predicted)}</b> instead of {escape(mistake.true)}"
        f'</div><div class="name">{escape(name)}</div></li>\n'
    )


def _shown(index: int, examples: Examples, model: Any) -> Iterable[str]:
    """The example itself as HTML."""
    if isinstance(model.preprocessing, ImagePreprocessing):
        data = np.asarray(examples.batch([index]).data)[0]
        yield _pictures(data, model)
        return
    source = getattr(examples, "source", lambda index: None)(index)
    if isinstance(source, Mapping):
        cells = list(source.items())[:MOST_CELLS]
        lines = (f"<tr><td>{escape(str(k))}</td><td>{_text(v)}</td></tr>" for k, v in cells)
        yield f"<table>{''.join(lines)}</table>"
    elif (text := _text_of(source, model)) is not None:
        yield f"<blockquote>{_text(text)}</blockquote>"


def _pictures(data: np.ndarray, model: Any) -> str:
    """What the model saw, and the same with a mark where it looked."""
    seen = f'<img alt="what the model saw" src="{png_url(pixels_of(data, model.preprocessing))}">'
    try:
        looked = png_url(heat_map(where_it_looked(model, data)))
    except (IvyModelsError, MemoryError):  # a model whose attention has no maps of the image
        return f'<div class="pictures"><div class="picture">{seen}</div></div>'
    over = f'<img class="over" alt="where it looked" src="{looked}">'
    return (
        f'<div class="pictures"><div class="picture">{seen}</div>'
        f'<div class="picture">{seen}{over}</div></div>'
    )


def _text_of(source: Any, model: Any) -> str | None:
    """A text, or the content of a text file; None for other files."""
    from ivy_models.preprocessing.text import TextTokens

    if not isinstance(model.preprocessing, TextTokens):
        return None
    if not isinstance(source, os.PathLike):
        return None if source is None else str(source)
    try:
        with Path(source).open("rb") as file:
            return file.read(4 * MOST_TEXT).decode("utf-8", errors="replace")
    except OSError as error:
        return reason(error)


def _text(value: Any) -> str:
    text = "" if value is None else str(value)
    return escape(text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + " ...")
