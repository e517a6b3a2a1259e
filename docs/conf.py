"""Sphinx configuration. The site is built and read without a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from screener import __version__  # noqa: E402 - after the path is known

project = "screener"
author = "The screener maintainers"
project_copyright = "the screener maintainers. Apache License 2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "command_tree",
    "json_schemas",
]
exclude_patterns = ["_ext", "demo/inbox"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the numpydoc sections name the types
numpydoc_show_class_members = False

# A mapping without an inventory would be fetched at build time: only inventories that lie on the disk are used.
_inventories = Path(os.environ.get("SCREENER_INVENTORIES", HERE / "_inventories"))
_sites = {"python": "https://docs.python.org/3", "numpy": "https://numpy.org/doc/stable"}
intersphinx_mapping = {
    name: (site, str(_inventories / f"{name}.inv"))
    for name, site in _sites.items()
    if (_inventories / f"{name}.inv").is_file()
}

html_theme = "pydata_sphinx_theme"
html_title = f"screener {__version__}"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

man_pages = [("reference/cli", "screener", "batch triage of brain MRI", [author], 1)]


def setup(app: Sphinx) -> None:
    """Highlight a log as the JSON that it is."""
    from pygments.lexers.data import JsonLexer

    app.add_lexer("jsonl", JsonLexer)
