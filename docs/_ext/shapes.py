"""Shapes such as (*batch, N, D), which docstrings write as they are: their stars are no markup."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

LITERAL_OR_STAR = re.compile(r"``.*?``|(?<!\*)\*(?=\w)")


def escape(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Escape the stars of a docstring."""
    lines[:] = [LITERAL_OR_STAR.sub(lambda m: m[0] if "`" in m[0] else r"\*", x) for x in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it, before the sections of a docstring are read."""
    app.connect("autodoc-process-docstring", escape, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
