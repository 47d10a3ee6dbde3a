"""How Sphinx makes a site of these pages: ``sphinx-build -W docs build/site``."""

import sys
from pathlib import Path

import ivy_models

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "ivy_models"
version = release = ivy_models.__version__
copyright = "the authors of ivy_models, Apache 2.0"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "myst_parser",  # the reports of the benchmarks
    "docstrings",
    "formulas",
    "links",
    "notebooks",
    "signatures",
]

links_shown_by = {
    "CHANGELOG.rst": "changelog",
    "CONTRIBUTING.rst": "contributing",
    "SECURITY.md": "security",
    "quick_start.ipynb": "notebooks/quick_start",
    "where_it_looks.ipynb": "notebooks/where_it_looks",
    "your_own_task.ipynb": "notebooks/your_own_task",
}

html_theme = "furo"
html_title = "ivy_models"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = html_use_index = html_domain_indices = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_selector = "div.highlight-python pre, div.highlight-shell pre"

python_use_unqualified_type_names = True
nitpicky = True  # warn of a name in a docstring without a target
nitpick_ignore_regex = [  # types of annotations that this site does not describe
    ("py:class", r"(collections|contextlib|ivy|keras|np|numpy|os|paddle|pathlib|torch)\..*"),
    ("py:class", "AnyModel|Array|Path|Places|Results|Tree"),
    ("py:class", r"ivy_models\..*\.(Augmentation|CheckedInputs|Dropout|Model|PublishedFile)"),
]
napoleon_use_rtype = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {  # imported only for type checkers, with the same name in each shell
    "PerceiverIO": "ivy_models.transformers.perceiver_io.PerceiverIO",
}
