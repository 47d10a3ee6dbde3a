"""Layers import downwards only."""

import ast
import re

import pytest
from helpers import ROOT

PACKAGE = ROOT / "ivy_models"
LAYERS = [
    ["base", "errors"],
    ["ops"],
    ["arrays"],
    ["layers"],
    ["transformers"],  # the core
    ["preprocessing"],
    ["datasets"],
    ["checkpoints"],
    ["shells"],
    ["models"],
    ["tasks"],
    ["interpret"],
    ["training"],
    ["measure", "verification"],
    ["cli", "demo"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path):
    """The modules of this package that a file imports, at any place in the file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_imports_point_downwards(path):
    level = LEVEL[path.relative_to(PACKAGE).parts[0]]
    parts = (name.split(".") for name in imported(path) if name.startswith("ivy_models."))
    upwards = {".".join(p) for p in parts if LEVEL.get(p[1], -1) > level}
    assert not upwards


def test_every_folder_and_module_has_a_layer():
    names = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    assert names - {"__pycache__", "__init__", "__main__", "data"} == set(LEVEL)


def test_the_design_page_shows_the_layers():
    page = (ROOT / "docs" / "design.rst").read_text("utf-8")
    table = page.split("top first", 1)[1].split("The files of the core", 1)[0]
    rows = re.findall(r"^   \* - (.*)", table, re.MULTILINE)
    assert [re.findall(r"``(\w+)``", row) for row in rows] == LAYERS[::-1]
