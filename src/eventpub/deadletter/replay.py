"""Sends dead letters again: the call, what it takes, and what it refuses.

The work is done in ``run``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from eventpub._target import Target, transport_for
from eventpub.deadletter.replaying.filters import Filters
from eventpub.deadletter.replaying.plan import Policy
from eventpub.deadletter.replaying.report import ReplayReport
from eventpub.deadletter.replaying.source import Source, SpoolSource
from eventpub.deadletter.replaying.topic_source import TopicSource
from eventpub.exceptions import ConfigurationError, Finding, Findings
from eventpub.profile import Seconds, as_seconds
from eventpub.record import check_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ALL = Filters()


async def replay(
    source: str | os.PathLike[str] | TopicSource,
    target: Target,
    *,
    journal: str | os.PathLike[str] | None = None,
    filters: Filters = _ALL,
    include_possibly: bool = False,
    verify: bool = False,
    dry_run: bool = False,
    rate: float | None = None,
    to_topic: str | None = None,
    max_replays: int = 3,
    timeout: Seconds = 120,
    on_progress: Callable[[ReplayReport], object] | None = None,
) -> ReplayReport:
    """Send dead letters again, each event exactly once, also if it is killed at any moment and called again.

    Letters keep their event ids, and per key their order. A letter that is refused stays, and its
    neighbours go on. What stops the brokers from answering stops the replay; call it again later.

    Args:
        source: the path of a spool, or a `TopicSource`.
        target: where events go; what `Publisher` takes. The same for each run of one journal.
        journal: for a topic: the file that knows what was sent. Made by the first run, to be kept for
            all others. A spool is its own journal.
        filters: which letters are meant.
        include_possibly: also those that may be in the log; such an event may then be there twice.
        verify: look for those in the log first. Overrides *include_possibly*.
        dry_run: send and change nothing; the report says what would happen.
        rate: events a second, at most.
        to_topic: another topic than each event's own.
        max_replays: a letter of which so many replays were refused is left out, unless *filters* name its id.
        timeout: seconds for one event, and for settling what an earlier run has left.
        on_progress: is called with the report as of now, after every 200 letters.

    Raises:
        ConfigurationError: a wrong value, a source that is not there, or a client library that is missing.
        UsageError: another replay runs on that journal.
        DeadLetterError: the spool or the journal cannot be read or written.
        LogReadError: the dead-letter topic cannot be read.
    """
    # Imported late: a publisher keeps letters, and needs nothing of what sends them again.
    from eventpub.deadletter.replaying.run import CLIENT_ID, Run
    from eventpub.deadletter.replaying.storage import Storage

    findings = Findings()
    with findings:
        _check(source, journal, rate, to_topic, max_replays)
    with findings:
        seconds = as_seconds("timeout", timeout)
    with findings:
        transport = transport_for(target, CLIENT_ID)
    findings.raise_any()
    letters: Source = source if isinstance(source, TopicSource) else SpoolSource(Path(source))
    place = Path(journal) if journal is not None else letters.journal
    assert place is not None  # noqa: S101 - checked above
    policy = Policy(include_possibly, verify, max_replays, filters.ids)
    async with Storage(letters, place, target, look_only=dry_run) as storage:
        run = Run(storage, filters, policy, on_progress)
        if dry_run:
            await run.look()
        else:
            await run.send(transport, seconds, rate, to_topic)
        return await run.report()


def _check(source: object, journal: object, rate: float | None, to_topic: str | None, max_replays: int) -> None:
    findings = [*_faults(source, journal, rate, max_replays)]
    if findings:
        raise ConfigurationError(findings)
    if to_topic is not None:
        check_topic(to_topic)
        if isinstance(source, TopicSource) and source.topic == to_topic:
            reason = "is the topic that the letters are read from"
            raise ConfigurationError.of("to_topic", reason, "name another, or leave it out")


def _faults(source: object, journal: object, rate: float | None, max_replays: int) -> Iterator[Finding]:
    if isinstance(source, TopicSource):
        if journal is None:
            reason = "is missing, and a topic cannot say what was sent already"
            yield Finding("journal", reason, "name a file, the same for each replay of that topic")
    elif not isinstance(source, (str, os.PathLike)):
        yield Finding("source", f"got {type(source).__name__}", "give the path of a spool, or a TopicSource")
    elif journal is not None:
        yield Finding("journal", "never acts with a spool, which is its own", "leave it out")
    if rate is not None and not rate > 0:
        yield Finding("rate", f"{rate!r} events a second never end", "give more than 0, or leave it out")
    if type(max_replays) is not int or max_replays < 1:
        yield Finding("max_replays", f"{max_replays!r} leaves every letter out", "give 1 or more")
