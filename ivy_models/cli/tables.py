"""Tables of plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ivy_models.errors import printable


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align the first column left and the others right; the first row is the header."""
    rows = [list(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *numbers]))
    return "\n".join(lines)


def left_table(rows: Sequence[Sequence[str]]) -> str:
    """Align all columns left, indented; the first row is the header."""
    rows = [list(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(f"  {line}".rstrip() for line in lines)


def three_digits(number: float) -> str:
    """``number`` to three significant digits, written out: 4,698 or 22.0 or 0.00123."""
    decimals = 2 - math.floor(math.log10(number)) if number else 0
    return f"{number:,.{max(0, decimals)}f}"


def size_text(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
