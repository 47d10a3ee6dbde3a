"""Prepare this library's docstrings for the API reference.

Escape the stars of shapes such as (*batch, N, D), which are not markup. Show the annotation of what
is returned only if the docstring does not describe it.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

NOTHING_SAID = "Alias for field number"
"""Start of the docstring that Python generates for a field of a named tuple."""

LITERAL_OR_STAR = re.compile(r"``.*?``|(?<!\*)\*(?=\w)")


def escape(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Escape the stars of a docstring; drop lines that Python generated."""
    lines[:] = [x for x in lines if not x.startswith(NOTHING_SAID)]
    lines[:] = [LITERAL_OR_STAR.sub(lambda m: m[0] if "`" in m[0] else r"\*", x) for x in lines]


def return_once(app: Sphinx, domain: str, kind: str, content: nodes.Element) -> None:
    """Remove the annotated return type if the docstring describes what is returned."""
    fields = {field[0].astext(): field for field in content.findall(nodes.field)}
    if "returns" in fields and "rtype" in fields:
        fields["rtype"].parent.remove(fields["rtype"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both: one before sections of docstrings are parsed, one after annotations are."""
    app.connect("autodoc-process-docstring", escape, priority=100)
    app.connect("object-description-transform", return_once, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
