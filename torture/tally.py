"""What many episodes came to, by tier and fault, as a table for people and as rows for machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from eventpub.testing import Word
from torture.player import Report

COLUMNS = (
    "tier",
    "fault",
    "episodes",
    "events",
    "persisted",
    "not persisted",
    "possibly",
    "withdrawn",
    "dead letters",
    "violations",
    "invalid",
    "share possibly",
    "ample budgets",
)


@dataclass(slots=True)
class Row:
    """The episodes of one tier and fault.

    ``asked`` and ``doubtful`` are the events with ample budgets and the others, and leave out
    ``acks=0``, which asks for no answer.
    """

    episodes: int = 0
    words: Counter[Word | None] = field(default_factory=Counter)
    letters: int = 0
    violations: int = 0
    invalid: int = 0
    asked: Counter[bool] = field(default_factory=Counter)
    doubtful: Counter[bool] = field(default_factory=Counter)

    def add(self, report: Report) -> None:
        """Count an episode; one that came to no end is a violation."""
        self.episodes += 1
        verdict = report.verdict
        if verdict is None:
            self.violations += 1
            return
        self.words.update(verdict.words)
        self.letters += verdict.letters
        self.violations += len(verdict.violations)
        self.invalid += len(verdict.invalid)
        self.asked[report.ample] += verdict.asked
        self.doubtful[report.ample] += verdict.doubtful

    def merge(self, other: Row) -> None:
        """Count the episodes of another row too."""
        self.episodes += other.episodes
        self.words.update(other.words)
        self.letters += other.letters
        self.violations += other.violations
        self.invalid += other.invalid
        self.asked.update(other.asked)
        self.doubtful.update(other.doubtful)

    @property
    def share(self) -> float:
        """The part of the events that asked for an acknowledgement and are in doubt."""
        return self.doubtful.total() / self.asked.total() if self.asked.total() else 0.0

    @property
    def ample_share(self) -> float | None:
        """The same where budgets were ample, if there were such events."""
        return self.doubtful[True] / self.asked[True] if self.asked[True] else None


class Tally:
    """Rows by tier and fault."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}

    def add(self, report: Report) -> None:
        """Count an episode."""
        self.rows.setdefault((report.tier, report.row), Row()).add(report)

    @property
    def total(self) -> Row:
        """All rows together."""
        total = Row()
        for row in self.rows.values():
            total.merge(row)
        return total

    @property
    def clean(self) -> bool:
        """Whether nothing was violated and no episode was invalid."""
        return not self.total.violations and not self.total.invalid

    def table(self) -> Table:
        """Return it for people."""
        table = Table(*COLUMNS[:2], title="torture", title_justify="left")
        for column in COLUMNS[2:]:
            table.add_column(column, justify="right")
        last = None
        for (tier, fault), row in sorted(self.rows.items()):
            if last not in {None, tier}:
                table.add_section()
            last = tier
            table.add_row(tier, fault, *_cells(row), style="red" if row.violations or row.invalid else None)
        table.add_section()
        table.add_row("all", "", *_cells(self.total), style="bold")
        return table

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return it for machines, row by row."""
        return [
            {
                "tier": tier,
                "fault": fault,
                "episodes": row.episodes,
                "events": row.words.total(),
                "words": {word.value if word else "open": count for word, count in row.words.items()},
                "dead_letters": row.letters,
                "violations": row.violations,
                "invalid": row.invalid,
                "possibly_persisted_share": row.share,
                "possibly_persisted_share_with_ample_budgets": row.ample_share,
            }
            for (tier, fault), row in sorted(self.rows.items())
        ]


def _cells(row: Row) -> list[str]:
    words = row.words
    counts = (
        row.episodes,
        words.total(),
        words[Word.PERSISTED],
        words[Word.NOT_PERSISTED],
        words[Word.POSSIBLY_PERSISTED],
        words[Word.CANCELLED],
        row.letters,
        row.violations,
        row.invalid,
    )
    ample = "" if row.ample_share is None else f"{row.ample_share:.2%}"
    return [*(f"{count:,}" for count in counts), f"{row.share:.2%}", ample]
