"""``eventpub check``: what would go wrong in production, before it does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from eventpub.check.application import plan_of
from eventpub.check.finding import Finding, Grade
from eventpub.check.plan import Plan
from eventpub.check.preflight import check as preflight
from eventpub.check.report import Report
from eventpub.cli import connection, output
from eventpub.record import check_topic

_EPILOGUE = """
It connects as the application does, asks the brokers, and writes nothing. Without --app and --topic it looks
at every topic that it may write to, as if the events there were critical.

    eventpub check                                       # EVENTPUB_BOOTSTRAP_SERVERS and its siblings
    eventpub check --app task_api.app:publisher          # its event classes, profiles and dead letters
    eventpub check --topic tasks --strict                # in CI: a warning fails, too
    eventpub check --json | jq -r '.findings[].rule'

Exit status: 0 without errors (--strict: without warnings), 1 with, 2 for wrong usage.
"""

_STYLES = {Grade.ERROR: "bold red", Grade.WARNING: "yellow", Grade.INFO: "dim"}

app = App(name="check", help_epilogue=_EPILOGUE)


@app.default
def check(
    *,
    topic: Annotated[Sequence[str], Parameter(alias="-t", negative="")] = (),
    app: connection.AppOption = None,
    strict: bool = False,
    json: bool = False,
    write_probe: str | None = None,
) -> int:
    """Say what would go wrong: connections, topics, replicas, sizes, rights, dead letters.

    Args:
        topic: Look at this topic alone. May be given several times.
        app: The publisher that knows what goes where, as module:name.
        strict: Let warnings fail, too.
        json: Print one line of JSON.
        write_probe: Write one record to this topic, which has LogAppendTime, and compare the clocks.
    """
    for name in (*topic, *filter(None, [write_probe])):
        check_topic(name)
    report = asyncio.run(preflight(_plan(app, tuple(topic)), write_probe))
    if json:
        output.print_json(report.as_json())
    else:
        _show(report)
    return report.exit_status(strict=strict)


def _plan(app: str | None, topics: tuple[str, ...]) -> Plan:
    plan = plan_of(connection.publisher(app))
    if app is None:  # the environment knows nothing of events and dead letters
        plan = replace(plan, routes=(), places=None)
    return plan.narrowed(topics) if topics else plan


def _show(report: Report) -> None:
    if output.stdout().is_terminal:
        if report.findings:
            output.print_table(("", "about", "what is wrong, and what to do"), map(_row, report.findings))
    else:
        for finding in report.findings:
            output.print_line(str(finding))
    output.remark(summary(report))


def _row(finding: Finding) -> tuple[Text, str, Text]:
    told = Text.assemble(finding.reason, "\n", (finding.fix, "green"), (f"  [{finding.rule}]", "dim"))
    return Text(str(finding.grade), _STYLES[finding.grade]), finding.subject, told


def summary(report: Report) -> str:
    """Return the whole report in one line."""
    counted = (_count(report.count(grade), grade.name.lower()) for grade in (Grade.ERROR, Grade.WARNING))
    cluster = _count(report.brokers, "broker") if report.brokers else "no broker answered"
    return f"{', '.join(counted)}: {cluster}, {_count(len(report.topics), 'topic')} looked at ({report.servers})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
