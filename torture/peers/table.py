"""The cells of all rounds as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torture.peers.faults import Fault
from torture.peers.judge import Cell

_BEGIN, _END = "<!-- figures -->\n", "<!-- /figures -->"
_WORST = ("lost", "doubled", "hung", "untruthful", "wedged")


@dataclass(frozen=True, slots=True)
class Row:
    """One contender under one fault, all rounds."""

    fault: Fault
    contender: str
    cells: tuple[Cell, ...]

    @property
    def clean(self) -> bool:
        """Whether no round showed anything that must not be."""
        return all(cell.clean for cell in self.cells)

    def count(self, name: str) -> str:
        """Return a count of all rounds, or its range."""
        return _range([getattr(cell, name) for cell in self.cells], "{:,}".format)

    def seconds(self, name: str) -> str:
        """Return a time of all rounds, or its range."""
        return _range([getattr(cell, name) for cell in self.cells], "{:.1f}".format)

    def __str__(self) -> str:
        return f"{self.fault.name:26} {self.contender:18} {self.verdict}"

    @property
    def verdict(self) -> str:
        """Return what was not delivered and, in bold, what must not be; *all ok* if there is neither."""
        return ", ".join([*self._said(), *(f"**{text}**" for text in self._faults())]) or "all ok"

    def _said(self) -> Iterator[str]:
        return (f"{self.count(name)} {name}" for name in ("failed", "possibly") if self._any(name))

    def _faults(self) -> Iterator[str]:
        yield from (f"{self.count(name)} {name}" for name in _WORST if self._any(name))
        if hung := sum(cell.close_hung for cell in self.cells):
            yield "close hung" if hung == len(self.cells) else f"close hung {hung} of {len(self.cells)} times"

    def _any(self, name: str) -> bool:
        return any(getattr(cell, name) for cell in self.cells)


def _range(values: list[float], form: Callable[[float], str]) -> str:
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def summary(rows: list[Row]) -> Iterator[str]:
    """Yield a table with a row for each fault and a column for each contender."""
    contenders = list(dict.fromkeys(row.contender for row in rows))
    verdicts = {(row.fault.name, row.contender): row.verdict for row in rows}
    yield f"| fault | {' | '.join(contenders)} |"
    yield "|---" * (len(contenders) + 1) + "|"
    for fault in dict.fromkeys(row.fault for row in rows):
        yield f"| {fault.title} | {' | '.join(verdicts.get((fault.name, name), '') for name in contenders)} |"


def details(rows: Iterable[Row]) -> Iterator[str]:
    """Yield a table with all counts."""
    names = ("ok", "failed", "possibly", "cancelled", *_WORST, "in_log", "late", "landed")
    titles = " | ".join(name.replace("_", " ") for name in names)
    yield f"| fault | contender | {titles} | longest publish, s | close, s |"
    yield "|---" * (len(names) + 4) + "|"
    for row in rows:
        counts = " | ".join(row.count(name) for name in names)
        yield (
            f"| {row.fault.title} | {row.contender} | {counts} | {row.seconds('longest')} | {row.seconds('close')} |"
        )


def write(page: Path, lines: Iterable[str]) -> None:
    """Put *lines* between the markers of *page*."""
    head, _, rest = page.read_text().partition(_BEGIN)
    page.write_text(head + _BEGIN + "\n".join(lines) + "\n" + _END + rest.partition(_END)[2])
