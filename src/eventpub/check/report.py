"""What a preflight comes to: its findings, the exit status, and the form that machines read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eventpub.check.finding import Finding, Grade, in_order


@dataclass(frozen=True, slots=True)
class Report:
    """The findings about one application and its cluster, the worst first.

    Attributes:
        servers: where the cluster was looked for.
        brokers: how many brokers it has; 0: nobody answered.
        topics: which topics were looked at.
        findings: what was found.
    """

    servers: str
    brokers: int
    topics: tuple[str, ...]
    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, servers: str, brokers: int, topics: Iterable[str], findings: Iterable[Finding]) -> Report:
        """Return a report with everything in order."""
        return cls(servers, brokers, tuple(topics), in_order(findings))

    def count(self, grade: Grade) -> int:
        """Return how many findings are of *grade*."""
        return sum(finding.grade is grade for finding in self.findings)

    def exit_status(self, *, strict: bool = False) -> int:
        """Return 1 if something was found that should stop a deployment: errors; if *strict*, warnings too."""
        return int(self.count(Grade.ERROR) > 0 or (strict and self.count(Grade.WARNING) > 0))

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON takes it; fields are added in later releases, never renamed."""
        return {
            "bootstrap_servers": self.servers,
            "brokers": self.brokers,
            "topics": list(self.topics),
            "errors": self.count(Grade.ERROR),
            "warnings": self.count(Grade.WARNING),
            "findings": [_as_json(finding) for finding in self.findings],
        }


def _as_json(finding: Finding) -> dict[str, str]:
    return {
        "grade": str(finding.grade),
        "rule": finding.rule,
        "subject": finding.subject,
        "reason": finding.reason,
        "fix": finding.fix,
    }
