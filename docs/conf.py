"""How `make docs` turns these pages into HTML, with nothing in it that is loaded from elsewhere.

The pages are plain Markdown that a code host shows too. So what only Sphinx needs is made
here: the sidebar out of the lists in the indexes, and where links to files outside `docs` go.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.highlighting import lexer_classes

HERE = Path(__file__).parent

project = "eventpub"
version = release = importlib.metadata.version(project)
project_copyright = ""

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
highlight_language = "text"
myst_heading_anchors = 3

napoleon_use_ivar = True
default_role = "py:obj"  # `Name` in a docstring is a link where there is such a thing
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"eventpub {version}"
html_static_path = ["pages.css"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

copybutton_prompt_text = "$ "

# Diagrams are drawn by mermaid in the reader's browser, from a copy that `make docs` fetches.
# Without it they are shown as they are written.
DRAWING = HERE.parent / ".cache" / "mermaid"
if (DRAWING / "mermaid.esm.min.mjs").exists():
    extensions.append("sphinxcontrib.mermaid")
    html_static_path.append(str(DRAWING))
    mermaid_use_local = "mermaid.esm.min.mjs"
    mermaid_height = "auto"
    mermaid_fullscreen = False
    myst_fence_as_directive = ["mermaid"]
else:
    lexer_classes["mermaid"] = lexer_classes["none"]

LISTED = re.compile(r"^(?:- |\| )\[[^\]]*\]\(([\w/-]+)\.md\)", re.MULTILINE)


def toctrees(text: str) -> str:
    """Return a sidebar section for each heading of an index, of the pages that are listed below it."""
    sections = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    pairs = zip(["", *sections[1::2]], sections[::2], strict=True)
    return "".join(toctree(caption, LISTED.findall(body)) for caption, body in pairs)


def toctree(caption: str, pages: list[str]) -> str:
    """Return the directive for one section."""
    listed = "\n".join(pages)
    named = f":caption: {caption}\n" if caption else ""
    return f"\n\n```{{toctree}}\n:hidden:\n{named}\n{listed}\n```\n" if pages else ""


def add_sidebar(_app: Sphinx, page: str, source: list[str]) -> None:
    """Let an index be the table of contents that it shows."""
    if page in {"index", "decisions/index"}:
        source[0] += toctrees(source[0])


def skip_aliases(_app: Sphinx, _kind: str, _name: str, member: object, _skip: bool, _options: object) -> bool | None:  # noqa: FBT001 - Sphinx gives positions
    """Leave out what a NamedTuple says of its fields; the class docstring says more."""
    return True if str(member.__doc__).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Register what is done here."""
    app.connect("source-read", add_sidebar)
    app.connect("autodoc-skip-member", skip_aliases)
