"""What the demo prints: the answers, the log as another client reads it, and whether the two agree."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eventpub import Delivery
from examples.task_api.server import Server
from support.readback import ReadRecord

TOPIC = "tasks"

_SHOWN = 5
_CREATED = 201


class Answer(NamedTuple):
    """One HTTP answer, and how many seconds it took."""

    title: str
    status: int
    body: dict[str, Any]
    seconds: float

    @property
    def confirmed(self) -> bool:
        """Whether the API said that the event is in the log."""
        return self.status == _CREATED

    @property
    def outcome(self) -> str:
        """What became of the event, in a line."""
        body = self.body
        if not self.confirmed:
            return f"{body.get('title', 'refused')}: {body.get('detail')}"
        where = body["topic"], body["partition"], body["offset"]
        return str(Delivery(*where, 0, body["event_id"], body["attempts"], body["elapsed"]))

    @property
    def said(self) -> tuple[object, ...]:
        """What a reader has to find, if the answer is true."""
        body = self.body
        return body["partition"], body["offset"], body["event_id"], body["task_id"], self.title


@dataclass(frozen=True)
class Run:
    """The answers, and every record of the topic afterwards."""

    answers: list[Answer]
    records: list[ReadRecord]
    concurrency: int
    seconds: float

    @cached_property
    def confirmed(self) -> list[Answer]:
        """The answers that say *persisted*."""
        return [answer for answer in self.answers if answer.confirmed]

    @cached_property
    def read_back(self) -> list[ReadRecord]:
        """The records that are what some answer said, where it said."""
        said = {answer.said for answer in self.confirmed}
        return [record for record in self.records if _seen(record) in said]

    @property
    def complete(self) -> bool:
        """Whether everything was confirmed, and the log holds exactly that, each event once."""
        return len(self.answers) == len(self.confirmed) == len(self.read_back) == len(self.records)


def _seen(record: ReadRecord) -> tuple[object, ...]:
    task = json.loads(record.value or b"{}")
    event_id = _text(dict(record.headers).get("ce_id"))
    return record.partition, record.offset, event_id, _text(record.key), task.get("title")


def say_what_starts(console: Console, broker: str) -> None:
    """Say what the reader waits for."""
    what = "a broker with Kafka's protocol, in this process" if broker == "embedded" else "Apache Kafka, one node"
    console.print(f"[bold]eventpub demo[/]: starting {what} ...")


def say_what_runs(console: Console, bootstrap_servers: str, server: Server) -> None:
    """Say what runs where."""
    facts = (
        ("broker", bootstrap_servers),
        ("Task API", f"{server.url} (uvicorn, process {server.pid})"),
        ("profile", "critical: acks=all, idempotent, a budget of 5 s"),
    )
    _print_facts(console, facts)


def print_run(console: Console, run: Run) -> None:
    """Print everything, and the totals last."""
    _print_answers(console, run)
    _print_log(console, run)
    _print_latency(console, run)
    _print_differences(console, run)
    totals = f"{len(run.answers)} published, {len(run.confirmed)} confirmed, {len(run.read_back)} read back"
    console.print(f"\n{totals}", style="bold green" if run.complete else "bold red")


def _print_answers(console: Console, run: Run) -> None:
    console.print(f"\n[bold]POST /tasks[/], {run.concurrency} at once: what the API answered")
    table = _table("status", "delivery", "task")
    for answer in run.answers[:_SHOWN]:
        table.add_row(str(answer.status), Text(answer.outcome), Text(answer.title))
    _print_table(console, table, len(run.answers) - _SHOWN)


def _print_log(console: Console, run: Run) -> None:
    console.print("\n[bold]The log[/], read by another client (librdkafka)")
    table = _table("record", "key", "ce_id", "ce_type")
    for record in run.records[:_SHOWN]:
        headers = dict(record.headers)
        where = f"{TOPIC}[{record.partition}]@{record.offset}"
        table.add_row(where, f"{_text(record.key):.7}…", _text(headers.get("ce_id")), _text(headers.get("ce_type")))
    _print_table(console, table, len(run.records) - _SHOWN)
    if run.records:
        _print_in_full(console, run.records[0])


def _print_in_full(console: Console, record: ReadRecord) -> None:
    console.print("\nThe first of them in full")
    headers = ((name, _text(value)) for name, value in record.headers)
    fields = (("key", _text(record.key)), *headers, ("value", _text(record.value)))
    _print_facts(console, fields)


def _print_latency(console: Console, run: Run) -> None:
    rate = len(run.answers) / run.seconds
    console.print(f"\n[bold]Latency[/] in milliseconds, at {rate:.0f} requests a second")
    table = _table("", "p50", "p95", "p99")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("publish: from the call to its outcome", *_percentiles(a.body["elapsed"] for a in run.confirmed))
    table.add_row("HTTP request, as its client saw it", *_percentiles(a.seconds for a in run.answers))
    _print_table(console, table)


def _percentiles(seconds: Iterable[float]) -> list[str]:
    values = [1000 * value for value in seconds]
    if len(values) < 2:
        return [f"{value:.1f}" for value in values] * 3
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return [f"{cuts[percent - 1]:.1f}" for percent in (50, 95, 99)]


def _print_differences(console: Console, run: Run) -> None:
    for answer in [answer for answer in run.answers if not answer.confirmed][:_SHOWN]:
        console.print(f"not confirmed: {answer.status} {answer.outcome}", style="red", markup=False)
    missing = {answer.said for answer in run.confirmed} - {_seen(record) for record in run.read_back}
    for said in sorted(missing, key=str)[:_SHOWN]:
        console.print(f"confirmed and not in the log: {said}", style="red", markup=False)
    if extra := len(run.records) - len(run.read_back):
        console.print(f"in the log and never confirmed: {extra} records", style="red")


def _print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, Text(value))
    console.print(Padding.indent(grid, 2))


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _print_table(console: Console, table: Table, more: int = 0) -> None:
    console.print(Padding.indent(table, 2))
    if more > 0:
        console.print(f"  … and {more} more", style="dim")


def _text(raw: bytes | None) -> str:
    return "none" if raw is None else raw.decode(errors="replace")
