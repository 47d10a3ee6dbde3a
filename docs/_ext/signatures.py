"""Shorten long signatures in the API reference.

A signature of many parameters would fill a screen before the first sentence. It shows the required
parameters alone, and the default of each other parameter stands in the list of parameters.
"""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.inspect import object_description

MOST = 16
"""Number of parameters from which a signature is shortened."""

DEFAULTS = "defaults_of_long_signatures"
"""Name of the metadata of a page with the defaults, by the full name of the class."""


def shorten(
    app: Sphinx, what: str, name: str, value: Any, options: Any, text: str | None, returns: Any
) -> tuple[str, Any] | None:
    """Leave out the optional parameters of a long signature, and keep their defaults."""
    if what != "class" or text is None:
        return None
    parameters = inspect.signature(value).parameters.values()
    if len(parameters) < MOST:
        return None
    required = [each.name for each in parameters if each.default is each.empty]
    defaults = {
        each.name: object_description(each.default)
        for each in parameters
        if each.default is not each.empty
    }
    app.env.current_document.setdefault(DEFAULTS, {})[name] = defaults
    return f"({', '.join(required)}, **optional)", returns


def show_defaults(app: Sphinx, domain: str, objtype: str, content: nodes.Element) -> None:
    """Write the defaults of a shortened signature into the list of parameters."""
    signature = content.parent[0]
    name = f"{signature.get('module')}.{signature.get('fullname')}"
    defaults = app.env.current_document.get(DEFAULTS, {}).get(name, {})
    for field in content.findall(nodes.field):
        label = field[0].astext().split()  # such as: param int num_latents
        if label[0] == "param" and label[-1] in defaults and field[1].children:
            default = nodes.literal("", defaults[label[-1]])
            field[1][-1] += [nodes.Text(" Default: "), default, nodes.Text(".")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both: one before signatures are written, one after annotations are."""
    app.connect("autodoc-process-signature", shorten, priority=900)
    app.connect("object-description-transform", show_defaults, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
