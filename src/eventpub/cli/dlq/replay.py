"""``eventpub dlq replay``: send letters again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from eventpub.cli import connection, output
from eventpub.cli.dlq.options import EVERYTHING, NOWHERE, Place, Which
from eventpub.deadletter.replay import replay as run
from eventpub.deadletter.replaying.report import ReplayReport
from eventpub.deadletter.replaying.topic_source import TopicSource


def replay(
    place: Place = NOWHERE,
    which: Which = EVERYTHING,
    *,
    journal: Path | None = None,
    verify: bool = False,
    include_possibly: bool = False,
    dry_run: bool = False,
    rate: float | None = None,
    to_topic: str | None = None,
    max_replays: int = 3,
    timeout: float = 120,
    json: bool = False,
) -> int:
    """Send letters again, each event exactly once, also if this is killed and called again.

    Args:
        place: Where the letters are.
        which: The filters.
        journal: For --topic: the file that knows what was sent. Keep it for all replays of that topic.
        verify: Look in the log first for events that may be there.
        include_possibly: Send those too, unseen: such an event may then be there twice.
        dry_run: Send nothing; say what would be sent.
        rate: Events a second, at most.
        to_topic: Send them to this topic in place of their own.
        max_replays: Leave out letters of which so many replays were refused.
        timeout: Seconds for one event, and for what an earlier replay has left.
        json: Print the report as one line of JSON.
    """
    try:
        with _progress(place, which) as advance:
            report = asyncio.run(
                run(
                    _source(place),
                    connection.cluster(place.app),
                    journal=journal,
                    filters=which.filters(),
                    include_possibly=include_possibly,
                    verify=verify,
                    dry_run=dry_run,
                    rate=rate,
                    to_topic=to_topic,
                    max_replays=max_replays,
                    timeout=timeout,
                    on_progress=advance,
                )
            )
    except KeyboardInterrupt:
        output.complain("stopped; called again, the replay goes on from here")
        return 1
    _print_report(report, json=json)
    return 0 if report.complete or (dry_run and report.stopped is None) else 1


def _source(place: Place) -> str | TopicSource:
    source = place.source()
    return source if isinstance(source, TopicSource) else str(place.spool)


@contextmanager
def _progress(place: Place, which: Which) -> Iterator[Any]:
    console = output.stderr()
    total = None
    if console.is_terminal and place.spool is not None:  # a topic would be read once more for that
        with place.opened() as source:
            total = sum(1 for _ in which.among(source, open_only=True))
    bar = SpinnerColumn() if total is None else BarColumn()
    progress = Progress(
        bar, TextColumn("{task.description}"), console=console, transient=True, disable=not console.is_terminal,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    with output.shown(progress):
        task = progress.add_task(f"replaying from {place}", total=total)

        def advance(report: ReplayReport) -> None:
            notes = (report.refused, report.left_out, report.would_replay)
            done = report.replayed + report.persisted + sum(map(len, notes))
            progress.update(task, completed=done, description=str(report))

        yield advance


def _print_report(report: ReplayReport, *, json: bool) -> None:
    if json:
        output.print_json(_as_json(report))
        return
    alike = Counter(
        (f"{note.event_type or '-'} for {note.topic}", f"{what}{note.text}")
        for what, notes in (("", report.would_replay), ("refused: ", report.refused), ("left out: ", report.left_out))
        for note in notes
    )
    if alike:
        output.print_table(("count", "event", "what"), ((f"{count:,}", *row) for row, count in alike.items()))
    (output.remark if report.stopped is None else output.complain)(str(report))


def _as_json(report: ReplayReport) -> dict[str, Any]:
    counts = ("replayed", "persisted", "unfinished", "unreadable", "unpublished", "stopped", "complete")
    notes = ("would_replay", "refused", "left_out")
    return {
        **{name: getattr(report, name) for name in counts},
        **{name: [note._asdict() for note in getattr(report, name)] for name in notes},
    }
