"""Puts what a section found where the page has its markers, and its pictures beside the page.

What stands outside of the markers is written by hand, and a section that was not measured
keeps what it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.section import Section


def markdown(section: Section) -> str:
    """Return the text of *section* and its pictures, which lie in the page's own folder."""
    pictures = [f"\n![{chart.title}]({chart.name}.svg)" for chart in section.charts]
    return "\n".join([*section.lines, *pictures])


def put(page: str, section: Section) -> str:
    """Return *page* with the lines of *section* between its markers.

    Raises:
        ValueError: the page has no such markers, or not each of them once.
    """
    begin, end = f"<!-- {section.name} -->\n", f"<!-- /{section.name} -->"
    if (page.count(begin), page.count(end)) != (1, 1) or page.index(begin) > page.index(end):
        raise ValueError(f"the page needs one line {begin.strip()} and below it one line {end}")
    head, _, rest = page.partition(begin)
    return f"{head}{begin}{markdown(section)}\n{end}{rest.partition(end)[2]}"


def write(page: Path, section: Section) -> None:
    """Put *section* into the file *page*, and its pictures beside it."""
    from benchmarks.figures import draw  # matplotlib is here for those who write the page only

    page.write_text(put(page.read_text(), section))
    for chart in section.charts:
        page.with_name(f"{chart.name}.svg").write_bytes(draw(chart))
