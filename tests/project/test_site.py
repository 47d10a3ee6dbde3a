"""The checks of the site's build work, and pages load only allowed addresses."""

import importlib
import json
import re
from html.parser import HTMLParser
from io import StringIO

import pytest
from helpers import CHOSEN, ROOT
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

from ivy_models.ops import BACKENDS

DOCS = ROOT / "docs"
LOADING = {"src", "srcset", "data", "poster"}
"""Attributes whose address a browser fetches by itself; for a link element also ``href``."""

FOUND = {
    "transfer learning": "finetuning",
    "tabular": "train_table",
    "regression": "train_table",
    "ImageFolder": "train_photos",
    "TensorBoard": "training",
    "point cloud": "coordinates",
}
"""Words that a reader searches for, and a page that has the answer."""


def build(source, output, conf=None, **settings):
    """Build the pages of a folder; return the warnings."""
    warnings = StringIO()
    app = Sphinx(source, conf, output, output / "doctrees", "html", settings, StringIO(), warnings)
    app.build()
    return warnings.getvalue()


@pytest.fixture
def extensions(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_ext")


def test_links(extensions, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "code.py").write_text("pass")
    (tmp_path / "docs/other.rst").write_text("Other\n=====\n\nPart\n----\n\n")
    (tmp_path / "docs/index.rst").write_text(
        "Pages\n=====\n\n.. toctree::\n\n   other\n\n"
        "`good <other.rst>`_ `section <other.rst#part>`_ `here <#pages>`_ `file <../code.py>`_\n\n"
        "`lost <nowhere.rst>`_\n\n`untitled <other.rst#nothing>`_\n\n`gone <#gone>`_\n"
    )
    said = build(tmp_path / "docs", tmp_path / "site", extensions=["links"])
    assert len(said.splitlines()) == 3
    assert re.search(r"index.rst:10: .*nowhere.rst", said)
    assert re.search(r"index.rst:12: .*no section #nothing in other", said)
    assert re.search(r"index.rst:14: .*no section #gone in index", said)
    page = (tmp_path / "site/index.html").read_text()
    links = re.findall(r'href="([^"]*)"[^>]*>(?:<\w+[^>]*>)*(\w+)<', page)
    targets = {text: target for target, text in links}
    assert targets["good"] == "other.html"
    assert targets["section"] == "other.html#part"
    assert targets["here"] == "#pages"
    assert re.fullmatch(r"_downloads/\w+/code.py", targets["file"])


@pytest.mark.skipif(set(BACKENDS) - set(CHOSEN) != set(), reason="docstrings of all frameworks")
def test_site(extensions, tmp_path):
    build(DOCS, tmp_path, DOCS)
    reference = "".join(page.read_text("utf-8") for page in tmp_path.glob("api/*.html"))
    for package in (
        "ivy_models",
        "ivy_models.transformers.perceiver_io",
        "ivy_models.preprocessing",
    ):
        for name in importlib.import_module(package).__all__:
            assert re.search(rf'id="ivy_models\.([\w.]+\.)?{name}"', reference), name
    spec = re.sub("<[^>]+>", "", (tmp_path / "api/spec.html").read_text("utf-8"))
    assert "PerceiverIOSpec(input_dim, num_input_axes, output_dim, **optional)" in spec
    assert "E, channels of a query. Default: 1024." in spec
    notebook = (tmp_path / "notebooks/where_it_looks.html").read_text("utf-8")
    assert "360 held-out digits, 98.6% named right" in notebook
    assert notebook.count('src="data:image/png;base64,') == 6
    for words, page in FOUND.items():
        assert page in pages_with(tmp_path / "searchindex.js", words), words
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    loaded = {address for page in pages for address in Loaded.by(page.read_text("utf-8"))}
    styles = "".join(style.read_text("utf-8") for style in tmp_path.rglob("*.css"))
    loaded |= set(re.findall(r"(?:url\(|@import (?!url))['\"]?([^'\")]+)", styles))
    assert not {address for address in loaded if re.match("(?:https?:)?//", address)}


def pages_with(index, words):
    """Pages that the site's search finds: those with every word of a query."""
    found = json.loads(index.read_text("utf-8").removeprefix("Search.setIndex(").removesuffix(")"))
    stem = SearchEnglish({}).stem
    pages = set(range(len(found["docnames"])))
    for word in words.lower().split():
        numbers = [found[terms].get(stem(word), []) for terms in ("terms", "titleterms")]
        pages &= {page for some in numbers for page in (some if isinstance(some, list) else [some])}
    return {found["docnames"][page] for page in pages}


class Loaded(HTMLParser):
    """The addresses that a browser fetches to show a page."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    @classmethod
    def by(cls, page):
        parser = cls()
        parser.feed(page)
        return parser.addresses

    def handle_starttag(self, tag, attributes):
        names = LOADING | ({"href"} if tag == "link" else set())
        self.addresses += [value for name, value in attributes if name in names and value]
