"""Turn links to files, which work in the repository, into links of the site.

A link to a page, ```text <page.rst#section>`_``, becomes a link to that page of the site. A link to
any other file of the repository becomes a download. A broken link is a warning.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.logging import getLogger
from sphinx.util.nodes import get_node_source

PAGE = "page"
logger = getLogger(__name__)


class Links(SphinxTransform):
    """Replace links to files while a page is read."""

    default_priority = 500

    def apply(self) -> None:
        """Replace all links of the page."""
        for link in list(self.document.findall(nodes.reference)):
            parts = urlsplit(link.get("refuri", ""))
            if not parts.scheme and (parts.path or parts.fragment):
                link.replace_self(self._replacement(link, parts.path, parts.fragment))

    def _replacement(self, link: nodes.reference, path: str, section: str) -> nodes.Element:
        file = Path(os.path.normpath(Path(get_node_source(link)).parent / path))
        page = self._page_of(file) if path else self.env.docname
        if page is None:
            text = nodes.inline("", *link.children)
            target = os.path.relpath(file, Path(self.env.doc2path(self.env.docname)).parent)
            return addnodes.download_reference("", "", text, reftarget=target)
        return addnodes.pending_xref(
            "",
            nodes.inline("", *link.children),
            refdomain="",
            reftype=PAGE,
            reftarget=page,
            section=section,
            refdoc=self.env.docname,
        )

    def _page_of(self, file: Path) -> str | None:
        stands_for = self.config.links_shown_by.get(file.name)
        page = stands_for or self.env.path2doc(file)
        return page if page in self.env.found_docs else None


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Element
) -> nodes.reference | None:
    """Make the link to a page, after all pages have been read."""
    if node["reftype"] != PAGE:
        return None
    page, section = node["reftarget"], node["section"]
    uri = app.builder.get_relative_uri(node["refdoc"], page)
    if section and not _has(env.get_doctree(page), section):
        logger.warning("no section #%s in %s", section, page, location=node)
    return nodes.reference("", "", text, internal=True, refuri=uri + (section and f"#{section}"))


def _has(page: nodes.document, section: str) -> bool:
    node = page.ids.get(section)
    return node is not None and "refuri" not in node  # the id of a link is not a section


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the links. ``links_shown_by`` maps files outside ``docs`` to their pages."""
    app.add_config_value("links_shown_by", {}, "env")
    app.add_transform(Links)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
