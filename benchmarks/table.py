"""Figures as lines of Markdown: tables, and what was aimed at beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that is to be reached: at least *bound*, or at most if *at_most*."""

    what: str
    measured: float
    bound: float
    unit: str = "x"
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it was, by the figure itself and not by how it is rounded."""
        return self.measured <= self.bound if self.at_most else self.measured >= self.bound

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Return its row: what, the bound, what was measured, and the verdict."""
        bound = f"{'≤' if self.at_most else '≥'} {self.bound:,g}{self.unit}"
        return self.what, bound, f"{self.measured:,.2f}{self.unit}", "met" if self.met else "**not met**"


def targets(goals: Iterable[Target]) -> list[str]:
    """Return a table of *goals*."""
    return table(("aimed at", "bound", "measured", ""), [goal.cells for goal in goals])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table, a line for each row."""
    return [_row(header), _row(["---"] * len(header)), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
