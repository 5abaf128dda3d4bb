"""What the documentation shows is what happens: its code runs, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import eventpub
from eventpub.registry import default_registry
from support.kafka_node import ROOT
from tests.docs import pages

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")


def name(page: Path) -> str:
    """Call a page by its path in the repository."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(autouse=True)
def event_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each page define its events as if nobody else did."""
    monkeypatch.setattr(default_registry, "_classes", {})


@pytest.mark.parametrize("page", pages.PAGES, ids=name)
def test_the_code_of_a_page_runs_and_prints_what_it_shows(page: Path) -> None:
    """Every Python block runs, in order; every text block after one is what it printed."""
    pages.run(page)


@pytest.mark.parametrize("page", [page for page in pages.PAGES if page.parent.name == "concepts"], ids=name)
def test_a_page_of_concepts_has_examples(page: Path) -> None:
    """A concept is shown and not only told."""
    assert pages.run(page) >= 2


@pytest.mark.parametrize("page", pages.PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Each relative link names a file of the repository."""
    targets = [match.group(1) for match in LINK.finditer(page.read_text()) if "://" not in match.group(1)]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_file_map_names_every_module() -> None:
    """The design page knows each file and package of the source, so that a new one gets its line."""
    source = ROOT / "src" / "eventpub"
    there = {path.stem for path in source.iterdir() if path.stem.strip("_") and path.suffix in {".py", ""}}
    there = {name for name in there if not name.startswith("__")}
    for package in ("_rules", "_engine"):
        there.discard(package)
        there |= {f"{package}/{path.stem}" for path in (source / package).glob("[a-z]*.py")}
    files = (ROOT / "docs" / "design" / "index.md").read_text().partition("## Files")[2]
    named = set(re.findall(r"`([\w/]+)`", files))
    named |= {name.partition("/")[0] for name in named if name.startswith("transports/")}
    assert sorted(there - named) == []


def test_the_tree_of_errors_is_the_one_in_the_code() -> None:
    """Each error class stands on the reference page below its base."""
    tree = (ROOT / "docs" / "reference" / "errors.md").read_text().split("```")[1]
    drawn = {}
    above: list[tuple[int, str]] = []
    for line in tree.strip().splitlines():
        found = re.search(r"[A-Z]\w+", line)
        assert found
        above = [(depth, name) for depth, name in above if depth < found.start()]
        drawn[found.group()] = above[-1][1] if above else "Exception"
        above.append((found.start(), found.group()))
    public = [getattr(eventpub, name) for name in eventpub.__all__]
    errors = [error for error in public if isinstance(error, type) and issubclass(error, Exception)]
    assert drawn == {error.__name__: error.__bases__[0].__name__ for error in errors}
