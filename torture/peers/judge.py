"""One contender under one fault: its ledger beside what librdkafka read back, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields

from eventpub.testing import Ledger, Word
from eventpub.testing.evidence import Event, Evidence, StoredRecord
from eventpub.testing.fate import Fate
from eventpub.testing.ledger import Closed, identity_of

SLACK = 1.0
"""Seconds that a publish may take beyond its budget, and a close beyond its timeout."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What was counted.

    Attributes:
        ok: calls that were told the event is in the log.
        failed: calls that were told the publish failed.
        possibly: calls that were told the event may be in the log.
        cancelled: calls that were cancelled.
        lost: told ok, and not in the log.
        doubled: in the log more than once by one call.
        hung: calls that ended more than a second after their budget, or never.
        untruthful: told failed, and in the log; or landed after the close without a word.
        wedged: good events that failed after the fault was gone, of those that were tried.
        close_hung: the close took more than a second longer than it was allowed.
        in_log: of those told that it may be, how many are in the log.
        late: events that landed after the close had ended.
        landed: cancelled calls whose event is in the log.
        longest: seconds of the longest call.
        close: seconds of the close; at most what it was given before it was cut off.
    """

    ok: int
    failed: int
    possibly: int
    cancelled: int
    lost: int
    doubled: int
    hung: int
    untruthful: int
    wedged: int
    close_hung: int
    in_log: int
    late: int
    landed: int
    longest: float
    close: float

    @property
    def clean(self) -> bool:
        """Whether nothing that must not be was seen."""
        return not any((self.lost, self.doubled, self.hung, self.untruthful, self.wedged, self.close_hung))


COUNTS = tuple(field.name for field in fields(Cell))


def judge(
    ledger: Ledger, topic: str, at_close: Iterable[StoredRecord], log: Iterable[StoredRecord], probes_from: int
) -> Cell:
    """Count. Calls numbered from *probes_from* were made after the fault was gone."""
    evidence = Evidence(ledger, {topic: log})
    events = list(evidence.events.values())
    early = Counter(identity_of(record.value, record.headers) for record in at_close)
    late = [event for event in events if len(event.found) > early[event.identity]]
    words = Counter(fate.word for fate in evidence.fates)
    closed = next(evidence.of(Closed))
    return Cell(
        ok=words[Word.PERSISTED],
        failed=words[Word.NOT_PERSISTED],
        possibly=words[Word.POSSIBLY_PERSISTED],
        cancelled=words[Word.CANCELLED],
        lost=sum(_word(event) is Word.PERSISTED and not event.found for event in events),
        doubled=sum(len(event.found) > 1 for event in events),
        hung=sum(_hung(fate) for fate in evidence.fates),
        untruthful=sum(_untruthful(event, event in late) for event in events),
        wedged=sum(fate.word is not Word.PERSISTED for fate in evidence.fates if fate.intent.number >= probes_from),
        close_hung=int(closed.elapsed > closed.timeout + SLACK),
        in_log=sum(_word(event) is Word.POSSIBLY_PERSISTED and bool(event.found) for event in events),
        late=len(late),
        landed=sum(_word(event) is Word.CANCELLED and bool(event.found) for event in events),
        longest=max(map(took, evidence.fates)),
        close=closed.elapsed,
    )


def took(fate: Fate) -> float:
    """Return the seconds of a call; infinite while it is open."""
    return fate.call[0].at - fate.intent.at if fate.call else float("inf")


def felt(ledger: Ledger, seconds: float, *, before: int | None = None) -> bool:
    """Whether any call (of those numbered below *before*) failed, or took at least *seconds*."""
    calls = Evidence(ledger, {}).fates[:before]
    return any(took(fate) >= seconds or fate.word is not Word.PERSISTED for fate in calls)


def _word(event: Event) -> Word | None:
    return event.calls[0].word


def _hung(fate: Fate) -> bool:
    return fate.intent.budget is not None and took(fate) > fate.intent.budget + SLACK


def _untruthful(event: Event, landed_late: bool) -> bool:  # noqa: FBT001 - a fact, no option
    if not event.found:
        return False
    return _word(event) is Word.NOT_PERSISTED or (landed_late and _word(event) in {Word.CANCELLED, None})
