"""The pages' code runs and prints what the pages show.

The Python blocks of a page run in order, in one namespace, in a temporary folder that has
``examples/`` and a ``photo.jpg``. What a reader has and this run does not is replaced:

- the published weights by random ones (nothing is downloaded), and large models by small ones on
  pages that print nothing of their size;
- ``device="cuda"`` by ``device="cpu"`` where there is no CUDA GPU.

A ``text`` block right after a block of code is what that code prints.
"""

import contextlib
import os
import re
import shlex
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from click.testing import CliRunner
from docutils.core import publish_string
from helpers import CHOSEN, ROOT, unset_backends
from helpers.compiling import optimize_programs
from PIL import Image

from ivy_models.base.cache import CACHE_VARIABLE
from ivy_models.checkpoints.pickles import machine as pickle_machine
from ivy_models.cli import main
from ivy_models.models import factories
from ivy_models.models.presets import PRESETS
from ivy_models.ops import BACKENDS
from ivy_models.transformers.perceiver_io import PerceiverIOCore, PerceiverIOSpec, initialise

PAGES = [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
CUDA = 'device="cuda"'
FULL_SIZE = ("README.rst", "classification.rst")
SMALLER = {
    "language": "perceiver_io_language",
    "flow": "perceiver_io_optical_flow",
    "video": "perceiver_io_video",
}
"""Pages, and the models that are made smaller on them."""
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:(?:    .*)?\n)+)", re.MULTILINE)
LINK = re.compile(r"<([^>:#]+\.\w+)>`_")


class Block(NamedTuple):
    language: str
    code: str
    line: int
    """Number of lines of the page before the code."""
    output: str | None
    """The output that the page shows, if any."""


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = list(BLOCK.finditer(text))
    result = []
    for match, following in zip_longest(found, found[1:]):
        shown = following and following.start() == match.end() and following[1] == "text"
        line = text.count("\n", 0, match.start(2))
        output = dedent(following[2]) if shown else None
        result.append(Block(match[1], dedent(match[2]), line, output))
    return result


def dedent(code: str) -> str:
    return re.sub("^ {4}", "", code, flags=re.MULTILINE).rstrip() + "\n"


def python_pages():
    for page in PAGES:
        if any(block.language == "python" for block in blocks(page)):
            marks = [pytest.mark.slow] if page.name in FULL_SIZE else []
            yield pytest.param(page, marks=marks, id=page.stem)


def commands():
    for page in PAGES:
        for block in blocks(page):
            command = re.search("^(?:.*&& )?ivy-models (.*)$", block.code, re.MULTILINE)
            if block.language == "shell" and block.output and command:
                yield pytest.param(command[1], block.output, id=f"{page.stem}: {command[1]}")


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    """Files that a reader of the pages has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(pixels).save("photo.jpg")
    load_checked = factories.load_checked

    def random_if_downloaded(path, spec, *more):
        if path is None:
            return initialise(PerceiverIOCore(spec).parameters())
        return load_checked(path, spec, *more)

    monkeypatch.setattr(factories, "download", lambda file: None)
    monkeypatch.setattr(factories, "load_checked", random_if_downloaded)
    # Undo changes of the process, so that they do not affect later tests.
    monkeypatch.setattr(pickle_machine, "MAX_OPCODES", pickle_machine.MAX_OPCODES)
    with patch.dict(os.environ), torchs_threads(), optimized_programs():
        yield
    unset_backends()


@contextlib.contextmanager
def torchs_threads():
    if "torch" not in CHOSEN:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@contextlib.contextmanager
def optimized_programs():
    """What a reader has; tests otherwise do without."""
    optimize_programs(True)
    yield
    optimize_programs(False)


@pytest.mark.parametrize("page", list(python_pages()))
def test_python_code(page, capsys, monkeypatch):
    code = [block for block in blocks(page) if block.language == "python"]
    words = set(re.findall(r"\w+", "".join(block.code for block in code)))
    not_chosen = words & set(BACKENDS) - set(CHOSEN)
    if not_chosen:
        pytest.skip(f"needs {', '.join(not_chosen)}")
    if name := SMALLER.get(page.stem):
        preset = PRESETS[name]
        monkeypatch.setitem(PRESETS, name, replace(preset, spec=smaller(preset.spec)))
    namespace = {"__name__": "__main__"}
    for block in code:
        source = block.code
        if CUDA in source and not has_cuda():
            source = source.replace(CUDA, 'device="cpu"')
        exec(compile("\n" * block.line + source, page, "exec"), namespace)
        printed = capsys.readouterr().out
        if block.output is not None:
            assert printed == block.output, f"{page.name}, line {block.line}"


def smaller(spec: PerceiverIOSpec) -> PerceiverIOSpec:
    """A spec of the same inputs and outputs with few latents, one layer and narrow queries."""
    changes: dict = {"num_latents": 8, "num_lat_att_per_layer": 1}
    if spec.output_modalities is not None:
        changes["output_modalities"] = [
            replace(m, num_fourier_freq_bands=8)
            if m.num_fourier_freq_bands
            else replace(m, learned_query_dim=64)
            for m in spec.output_modalities
        ]
        changes["queries_dim"] = 66
    return spec.replace(**changes)


def has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


@pytest.mark.parametrize(("arguments", "output"), list(commands()))
def test_commands(arguments, output):
    result = CliRunner().invoke(main, shlex.split(arguments))
    assert result.exit_code == 0
    assert result.stdout == output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).is_file(), target


@pytest.mark.parametrize(
    "page", [path for path in PAGES if path.parent == ROOT], ids=lambda p: p.name
)
def test_markup_is_valid(page):
    """The package index refuses a README with a warning. Sphinx reads the pages of docs/ alone."""
    publish_string(page.read_text(), settings_overrides={"halt_level": 2, "report_level": 5})
