"""The pages as a site: complete, built without a warning, and with nothing in it from elsewhere."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.kafka_node import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
MODULES = ("eventpub", "eventpub.deadletter", "eventpub.testing", "eventpub.abc", "eventpub.contrib.fastapi")

LISTED = re.compile(r"^(?:- |\| )\[[^\]]*\]\(([\w/.-]+)\)", re.MULTILINE)
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]*)"|<link\b[^>]*\bhref="([^"]*)"|url\(([^)]*)\)"""
)
IMPORTED = re.compile(r'import [^"\n]*"([^"\n]+)"')
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r'stateDiagram-v2|direction LR|state "[^"]+" as \w+|(\w+|\[\*\]) --> (\w+|\[\*\])( : [^:;]+)?')


def listed(index: Path) -> set[Path]:
    """Return the pages that the lists of *index* name."""
    return {(index.parent / target).resolve() for target in LISTED.findall(index.read_text())}


def test_every_page_is_on_the_list_of_an_index() -> None:
    """The sidebar is made of these lists; a page on none of them would be found by nobody."""
    indexes = [DOCS / "index.md", DOCS / "decisions" / "index.md"]
    found = set().union(*map(listed, indexes)) | {indexes[0]}
    assert sorted(set(PAGES) - found) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_on_the_page_of_names(module: str) -> None:
    """Of `eventpub` each is named, in groups; the other modules are shown as they are."""
    page = (DOCS / "reference" / "python.md").read_text()
    section = page.partition(f"\n## {module}\n")[2].partition("\n## ")[0]
    if f".. automodule:: {module}\n   :members:" not in section:
        named = re.findall(r"^\.\. auto(?:class|function|data|exception):: (\w+)", section, re.MULTILINE)
        assert sorted(named) == sorted(importlib.import_module(module).__all__)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```mermaid" in page.read_text()], ids=lambda page: page.stem
)
def test_diagrams_can_be_drawn(page: Path) -> None:
    """For mermaid a label has no second colon; with one the whole diagram would be an error message."""
    for diagram in DIAGRAM.findall(page.read_text()):
        assert [line for line in diagram.splitlines() if not LINE.fullmatch(line.strip())] == []


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="Sphinx is not installed")
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """As `make docs` does it; scripts, styles, fonts and pictures are all its own."""
    site = tmp_path / "site"
    command: list[str | Path] = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet"]
    command += ["-d", tmp_path / "trees", DOCS, site]
    built = subprocess.run(command, text=True, capture_output=True, timeout=55, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    assert {page.relative_to(DOCS).with_suffix(".html") for page in PAGES} <= {
        page.relative_to(site) for page in site.rglob("*.html")
    }
    assert {page.name: loads for page in site.rglob("*.html") if (loads := from_elsewhere(page))} == {}


@pytest.mark.parametrize(
    "loads",
    [
        '<script src="https://cdn.example.com/x.js"></script>',
        '<link rel="stylesheet" href="//cdn.example.com/x.css">',
        '<script type="module">import x from "https://cdn.example.com/x.mjs";</script>',
        "<style>@font-face { src: url('https://fonts.example.com/x.woff2') }</style>",
    ],
)
def test_what_comes_from_elsewhere_is_noticed(loads: str, tmp_path: Path) -> None:
    """Each way in which a page loads something."""
    page = tmp_path / "page.html"
    page.write_text(f'<html><a href="https://cloudevents.io">a link</a>{loads}</html>')
    assert len(from_elsewhere(page)) == 1


def from_elsewhere(page: Path) -> list[str]:
    """Return what *page* makes a browser load from another host."""
    text = page.read_text()
    loads = ["".join(groups) for groups in LOADED.findall(text)] + IMPORTED.findall(text)
    return [load for load in loads if re.match(r"\s*['\"]?(https?:)?//", load)]
