"""One event on its way, from the call of ``publish`` to its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventpub.record import Headers, Record, new_record

if TYPE_CHECKING:
    from eventpub._rules.batch import Batch
    from eventpub._rules.partition import Partition
    from eventpub._rules.queue import EntryQueue
    from eventpub.delivery import Delivery
    from eventpub.exceptions import PublishError
    from eventpub.profile import DeliveryProfile

RECORD_OVERHEAD = 21  # lengths, attributes and deltas of one record, magic 2, at their longest in practice
HEADER_OVERHEAD = 4  # the lengths of a header's name and value, likewise

_NEVER = float("inf")
_NO_BUCKET: dict[Entry, None] = {}  # of entries that nobody watches


class Entry:
    """What the rules know of one event. Plain mutable state, because one is made per event.

    Args:
        size: of the record, in bytes: counted where it was made, because counting takes 0.5 µs.

    Attributes:
        event: what the caller published; given back by ``PublishError.record``.
        record: its bytes.
        size: what it counts for in buffers and batches, in bytes.
        deadline: when its budget ends, in seconds of the loop's clock.
        limit: when its caller must be told at the latest, also while its dead letter is being written.
        bucket: those whose budgets end about then.
        queue: the queue it waits in, or waited in last, before its partition is known.
        partition: the partition it was routed to, once that is known.
        batch: the batch that holds its room in the buffer, once it was cut into one.
        has_room: whether it counts against the buffer.
        ended: whether its outcome is known, or its caller withdrew it. He may be told later: see `letter`.
        letter: the dead letter that it became.
        outcome: what the caller was told.
        token: what the recorder keeps of it.
        waiter: how the caller is told; belongs to the engine, like `letter`.
    """

    __slots__ = (
        "batch",
        "bucket",
        "deadline",
        "ended",
        "event",
        "event_id",
        "has_room",
        "letter",
        "limit",
        "outcome",
        "partition",
        "profile",
        "queue",
        "record",
        "size",
        "started",
        "token",
        "waiter",
    )

    def __init__(
        self,
        event: Any,
        event_id: str | None,
        record: Record,
        size: int,
        profile: DeliveryProfile,
        started: float,
        deadline: float,
        limit: float = _NEVER,
    ) -> None:
        self.event = event
        self.event_id = event_id
        self.record = record
        self.size = size + RECORD_OVERHEAD + HEADER_OVERHEAD * len(record.headers)
        self.profile = profile
        self.started = started
        self.deadline = deadline
        self.limit = limit
        self.bucket: dict[Entry, None] = _NO_BUCKET
        self.queue: EntryQueue | None = None
        self.partition: Partition | None = None
        self.batch: Batch | None = None
        self.has_room = False
        self.letter: Any = None
        self.ended = False
        self.token: Any = None
        self.outcome: Delivery | PublishError | None = None
        self.waiter: Any = None

    def add_headers(self, headers: Headers) -> None:
        """Let the record carry *headers* too, behind its own."""
        topic, value, key, own, partition, timestamp = self.record
        self.record = new_record((topic, value, key, own + headers, partition, timestamp))
        for name, content in headers:
            self.size += HEADER_OVERHEAD + len(name) + len(content or b"")
