"""A ledger and the logs side by side: which record belongs to which call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar

from eventpub.record import Headers
from eventpub.testing.fate import Claim, Fate, fates
from eventpub.testing.ledger import Intent, Ledger, LedgerEntry, digest, headers_digest, identity_of
from eventpub.testing.violation import Invariant, Violation

Entry = TypeVar("Entry", bound=LedgerEntry)


class Content(Protocol):
    """What of a record must not change on its way."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value; ``None`` is a tombstone."""

    @property
    def headers(self) -> Headers:
        """Its headers, in order."""


class StoredRecord(Content, Protocol):
    """One record as a consumer read it."""

    @property
    def partition(self) -> int:
        """Where it was read."""

    @property
    def offset(self) -> int:
        """Its place there."""


Logs = Mapping[str, Iterable[StoredRecord]]
"""By topic, what was read of it: within a partition in the order of the log."""


class Found(NamedTuple):
    """A record, and where it came in the reading of its partition."""

    topic: str
    place: int
    record: StoredRecord

    @property
    def at(self) -> tuple[int, int]:
        """Return its partition and offset."""
        return self.record.partition, self.record.offset

    def __str__(self) -> str:
        return f"{self.topic}[{self.record.partition}]@{self.record.offset}"


class Event(NamedTuple):
    """All calls that published one event (nearly always one), and all records of it."""

    identity: str
    topic: str
    calls: list[Fate]
    found: list[Found]

    def claims(self, claim: Claim) -> list[Fate]:
        """Return the calls of which the log has to hold that much."""
        return [fate for fate in self.calls if fate.claim is claim]


class Evidence:
    """What a check looks at.

    Attributes:
        ledger: as it was written.
        fates: one per call, in the order of the calls.
        events: by topic and identity.
        strangers: records that belong to no call.
        read: how many records there are.
    """

    def __init__(self, ledger: Ledger, logs: Logs) -> None:
        self.ledger = ledger
        self.fates = fates(ledger)
        self.events: dict[tuple[str, str], Event] = {}
        self.strangers: list[Found] = []
        for fate in self.fates:
            topic, identity = fate.intent.topic, fate.intent.identity
            event = self.events.setdefault((topic, identity), Event(identity, topic, [], []))
            event.calls.append(fate)
        self.read = 0
        for topic, records in logs.items():
            for record in records:
                self._assign(Found(topic, self.read, record))
                self.read += 1

    def _assign(self, found: Found) -> None:
        event = self.events.get((found.topic, identity_of(found.record.value, found.record.headers)))
        (self.strangers if event is None else event.found).append(found)

    def of(self, kind: type[Entry]) -> Iterator[Entry]:
        """Return the ledger's entries of one kind, in order."""
        return (entry for entry in self.ledger.entries if isinstance(entry, kind))

    def by_partition(self) -> Iterable[list[tuple[Found, Fate]]]:
        """Return, per partition, its records in order with their calls, where those are beyond doubt."""
        partitions: dict[tuple[str, int], list[tuple[Found, Fate]]] = defaultdict(list)
        for event in self.events.values():
            if len(event.calls) == len(event.found) == 1:
                found = event.found[0]
                partitions[found.topic, found.record.partition].append((found, event.calls[0]))
        for pairs in partitions.values():
            pairs.sort(key=lambda pair: pair[0].place)
        return partitions.values()


def differences(record: Content, intent: Intent) -> list[str]:
    """Return what of *record* is not as it was meant."""
    if intent.value is None:  # it had no form on the wire: that it lies there is what I4 is about
        return []
    key = None if record.key is None else record.key.decode("latin-1")
    meant_and_read = {
        "key": (intent.key, key),
        "value": (intent.value, digest(record.value)),
        "headers": (intent.headers, headers_digest(record.headers)),
    }
    return [name for name, (meant, read) in meant_and_read.items() if meant != read]


def about(invariant: Invariant, fate: Fate, evidence: str) -> Violation:
    """Return a violation that concerns one call."""
    intent = fate.intent
    return Violation(invariant, evidence, intent.event_id or intent.identity, intent.topic)
