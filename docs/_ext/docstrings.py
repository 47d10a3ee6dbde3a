"""How this library's docstrings are written, for the API reference.

Shapes such as (*batch, N, D) are plain text: their stars are no markup. What is returned is said
in a docstring's own words; the annotation stands where there are none.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

NOTHING_SAID = "Alias for field number"
"""How Python's own docstring of a named tuple's field begins."""

LITERAL_OR_STAR = re.compile(r"``.*?``|(?<!\*)\*(?=\w)")


def escape(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Escape the stars of a docstring; drop one that is not this library's."""
    lines[:] = [x for x in lines if not x.startswith(NOTHING_SAID)]
    lines[:] = [LITERAL_OR_STAR.sub(lambda m: m[0] if "`" in m[0] else r"\*", x) for x in lines]


def return_once(app: Sphinx, domain: str, kind: str, content: nodes.Element) -> None:
    """Take an annotation's return type off where a docstring says what is returned."""
    fields = {field[0].astext(): field for field in content.findall(nodes.field)}
    if "returns" in fields and "rtype" in fields:
        fields["rtype"].parent.remove(fields["rtype"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both, before the sections of a docstring are read and after annotations are."""
    app.connect("autodoc-process-docstring", escape, priority=100)
    app.connect("object-description-transform", return_once, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
