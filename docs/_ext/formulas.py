"""Draw formulas as SVG in the colour of the text when the site is built: no scripts, no fonts."""

from __future__ import annotations

from xml.etree import ElementTree

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

SEVERAL_LINES = r"\begin{aligned}%s\end{aligned}"
SIZE = 16  # units of the drawing per em
ziamath.config.svg2 = False
ziamath.config.precision = 2


def _draw(formula: str, inline: bool) -> str:
    """The formula as an SVG element, scaled to the surrounding text."""
    svg = ziamath.Latex(formula, size=SIZE, color="currentColor", inline=inline).svgxml()
    _, top, width, height = (float(number) / SIZE for number in svg.get("viewBox").split())
    svg.set("style", f"width:{width:.3f}em; vertical-align:{-top - height:.3f}em")
    svg.set("role", "img")
    svg.set("aria-label", formula)
    del svg.attrib["width"], svg.attrib["height"]
    return ElementTree.tostring(svg, encoding="unicode")


def _visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_draw(node.astext(), inline=True))
    raise nodes.SkipNode


def _visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    formula = node.astext()
    drawn = _draw(SEVERAL_LINES % formula if r"\\" in formula else formula, inline=False)
    translator.body.append(f'<div class="math">{drawn}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("drawn", (_visit_inline, None), (_visit_block, None))
    app.config.html_math_renderer = "drawn"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
