"""One thing that the preflight found: how bad, about what, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

_NAMED = 5


class Grade(IntEnum):
    """How bad a finding is; the worst sorts first."""

    ERROR = 1
    """Publishes fail, or will as things stand."""
    WARNING = 2
    """They succeed, and lose what they seem to promise when something breaks."""
    INFO = 3
    """What was not looked at, and why."""

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says about one subject.

    Attributes:
        grade: how bad it is.
        rule: the rule's name, the same in every release: for filters and the guide.
        subject: what it is about: a topic, a broker, a profile, the clock.
        reason: what is wrong, with the figures.
        fix: what to do about it.
    """

    grade: Grade
    rule: str
    subject: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.grade}: {self.subject}: {self.reason}; {self.fix} [{self.rule}]"


def not_checked(subject: str, reason: str, fix: str) -> Finding:
    """Say that something was not looked at: silence would pass for a good answer."""
    return Finding(Grade.INFO, "not-checked", subject, reason, fix)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return each finding once, the worst first, else in the order they were found in."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: finding.grade))


def listed(noun: str, numbers: Sequence[int]) -> str:
    """Return "partition 3", "partitions 0, 1" or "partitions 0, 1, 2, 3, 4 and 7 more"."""
    named = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"{noun}{'' if len(numbers) == 1 else 's'} {named}{more}"
