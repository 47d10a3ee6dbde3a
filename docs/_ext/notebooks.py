"""Show notebooks as pages of the site.

The page ``notebooks/NAME.md`` is written by this file from ``examples/notebooks/NAME.ipynb``, with
the outputs that are stored there. Nothing is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

FOLDER = "notebooks/"
"""Of the pages. The file of such a page only says where the notebook is."""

NOTEBOOKS = "../../examples/notebooks/"
"""Folder of the notebooks, relative to a page."""

LINK = re.compile(r"\]\((\w+)\.ipynb\)")
"""From one notebook to another."""


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the text of a notebook's page by the notebook."""
    if not page.startswith(FOLDER):
        return
    file = f"{NOTEBOOKS}{page.removeprefix(FOLDER)}.ipynb"
    path = Path(app.srcdir, FOLDER, file)
    app.env.note_dependency(str(path.resolve()))
    cells = json.loads(path.read_text("utf-8"))["cells"]
    blocks = [block for cell in cells for block in markdown(cell)]
    download = f"{{download}}`This notebook as a file <{file}>` runs in Jupyter."
    source[0] = "\n\n".join([*blocks, download])


def markdown(cell: dict[str, Any]) -> Iterator[str]:
    """Convert a cell, and the outputs of a code cell, into Markdown."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield LINK.sub(r"](\1.md)", text)
        return
    yield fenced("python", text)
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            image = "".join(data["image/png"]).replace("\n", "")
            yield f"![What this cell draws](data:image/png;base64,{image})"
        else:
            yield fenced("text", "".join(output.get("text") or data["text/plain"]))


def fenced(language: str, text: str) -> str:
    """Enclose a text in a fence longer than any in it."""
    return f"``````{language}\n{text}\n``````"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the conversion, before a page is parsed."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
