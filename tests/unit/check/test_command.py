"""``eventpub check``: what it makes of its options, what it prints, how it exits."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from eventpub.check.finding import Finding, Grade
from eventpub.check.plan import Plan
from eventpub.check.report import Report
from eventpub.cli import check as command
from eventpub.cli.app import run

ERROR = Finding(Grade.ERROR, "unknown-topic", "topic tasks", "there is no such topic", "create it")
WARNING = Finding(Grade.WARNING, "min-insync-replicas", "topic tasks", "is 1 of 3", "set it to 2")

APPLICATION = """
from eventpub import Event, Publisher, STANDARD

class TaskCreated(Event, type="check-command.created", topic="tasks", key="id", profile=STANDARD):
    id: str

publisher = Publisher("kafka://h2:9092", source="/tasks")
"""


class Preflight:
    """Stands in for the real one: keeps what it was asked, and answers with *findings*."""

    def __init__(self) -> None:
        self.findings: tuple[Finding, ...] = ()
        self.asked: list[tuple[Plan, str | None]] = []

    async def __call__(self, plan: Plan, write_probe: str | None) -> Report:
        """Answer."""
        self.asked.append((plan, write_probe))
        return Report.of(str(plan.config.bootstrap_servers), 3, ["tasks"], self.findings)


@pytest.fixture
def preflight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Preflight:
    """Put a fake in the preflight's place, in a directory without settings."""
    fake = Preflight()
    monkeypatch.setattr(command, "preflight", fake)
    monkeypatch.setenv("EVENTPUB_BOOTSTRAP_SERVERS", "h1:9092")
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.mark.parametrize(
    "findings, options, status",
    [
        ((), ["--strict"], 0),
        ((WARNING,), [], 0),
        ((WARNING,), ["--strict"], 1),
        ((WARNING, ERROR), [], 1),
        ((ERROR,), ["--json"], 1),
    ],
)
def test_the_exit_status(preflight: Preflight, findings: tuple[Finding, ...], options: list[str], status: int) -> None:
    """Errors fail, warnings do if strict; in every form of output."""
    preflight.findings = findings
    assert run(["check", *options]) == status


def test_the_environment_says_where_and_topics_say_what(preflight: Preflight) -> None:
    """Nothing is known of dead letters then, and that is not "none"."""
    assert run(["check", "--topic", "tasks", "-t", "orders", "--write-probe", "clock"]) == 0
    ((plan, probe),) = preflight.asked
    assert plan.config.bootstrap_servers == "h1:9092"
    assert [(route.topic, route.profile.name) for route in plan.routes] == [
        ("tasks", "critical"),
        ("orders", "critical"),
    ]
    assert (plan.places, probe) == (None, "clock")


def test_without_names_every_topic_is_meant(preflight: Preflight) -> None:
    """A plan without routes; and no record is written."""
    assert run(["check"]) == 0
    ((plan, probe),) = preflight.asked
    assert (plan.routes, probe) == ((), None)


def test_an_application_says_everything(preflight: Preflight, tmp_path: Path) -> None:
    """Its publisher's cluster, its event classes, its dead letters: none."""
    (tmp_path / "check_application.py").write_text(APPLICATION)
    assert run(["check", "--app", "check_application:publisher"]) == 0
    ((plan, _),) = preflight.asked
    assert plan.config.bootstrap_servers == "h2:9092"
    assert ("tasks", "standard", True) in [(route.topic, route.profile.name, route.keyed) for route in plan.routes]
    assert plan.places == ()


@pytest.mark.parametrize(
    "arguments", [["--topic", "not a topic"], ["--write-probe", "a/b"], ["--app", "nothing"], ["--app", "no_module:x"]]
)
def test_wrong_usage_is_told_before_anything_is_asked(
    preflight: Preflight, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and one line that says what to write."""
    assert run(["check", *arguments]) == 2
    assert preflight.asked == []
    assert capsys.readouterr().err.startswith("eventpub: ")


def test_a_pipe_gets_one_line_a_finding(preflight: Preflight, capsys: pytest.CaptureFixture[str]) -> None:
    """Which `grep` can take apart; the summary goes to stderr."""
    preflight.findings = (WARNING, ERROR)
    run(["check"])
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "error: topic tasks: there is no such topic; create it [unknown-topic]",
        "warning: topic tasks: is 1 of 3; set it to 2 [min-insync-replicas]",
    ]
    assert err == "1 error, 1 warning: 3 brokers, 1 topic looked at (h1:9092)\n"


def test_machines_get_one_line_of_json(preflight: Preflight, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else, on stdout or stderr."""
    preflight.findings = (ERROR,)
    run(["check", "--json"])
    out, err = capsys.readouterr()
    shown: dict[str, Any] = json.loads(out)
    assert (shown["errors"], shown["findings"][0]["rule"], err) == (1, "unknown-topic", "")


class Terminal(io.StringIO):
    """What is printed where somebody looks."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_a_terminal_gets_a_table(preflight: Preflight, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the fix under the reason; and of a sound cluster nothing but the summary."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")  # no escapes
    preflight.findings = (ERROR,)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    run(["check"])
    shown = [line.rstrip() for line in terminal.getvalue().splitlines()]
    assert shown[-2:] == [
        "error  topic tasks  there is no such topic",
        "                    create it  [unknown-topic]",
    ]
    preflight.findings, quiet = (), Terminal()
    monkeypatch.setattr(sys, "stdout", quiet)
    run(["check"])
    assert quiet.getvalue() == ""
