"""Order, exit status, JSON."""

from __future__ import annotations

import json

import pytest

from eventpub.check.finding import Finding, Grade
from eventpub.check.report import Report


def report(*grades: Grade) -> Report:
    """Return a report with a finding of each grade."""
    findings = [Finding(grade, f"rule-{number}", "topic t", "why", "fix") for number, grade in enumerate(grades)]
    return Report.of("h:9092", 3, ["t"], findings)


@pytest.mark.parametrize(
    "grades, status, strict",
    [((), 0, 0), ((Grade.INFO,), 0, 0), ((Grade.WARNING,), 0, 1), ((Grade.WARNING, Grade.ERROR), 1, 1)],
)
def test_the_exit_status(grades: tuple[Grade, ...], status: int, strict: int) -> None:
    """Errors end with 1; warnings do if strict; what was not checked never does."""
    assert report(*grades).exit_status() == status
    assert report(*grades).exit_status(strict=True) == strict


def test_the_worst_comes_first_and_each_once() -> None:
    """In the order of finding, within a grade."""
    found = Finding(Grade.ERROR, "a", "topic t", "why", "fix")
    twice = Report.of("h", 1, [], [*report(Grade.INFO, Grade.WARNING, Grade.ERROR).findings, found, found])
    assert [finding.rule for finding in twice.findings] == ["rule-2", "a", "rule-1", "rule-0"]


def test_the_json_form_says_everything() -> None:
    """Grades as words, counts for those who only look at these."""
    shown = json.loads(json.dumps(report(Grade.ERROR, Grade.INFO).as_json()))
    assert (shown["brokers"], shown["topics"], shown["errors"], shown["warnings"]) == (3, ["t"], 1, 0)
    assert shown["findings"][0] == {
        "grade": "error",
        "rule": "rule-0",
        "subject": "topic t",
        "reason": "why",
        "fix": "fix",
    }
