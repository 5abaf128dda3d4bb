"""Makes the dead letter of an event that was not delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uuid_utils import uuid7

from eventpub.declaration import declared
from eventpub.event import Event
from eventpub.letter import Cut, DeadLetter, Stage
from eventpub.record import Record

if TYPE_CHECKING:
    from eventpub._rules.entry import Entry
    from eventpub.exceptions import PublishError

_LONGEST_MESSAGE = 1024


def dead_letter_of(entry: Entry, error: PublishError, now: float, wall: float, client_id: str) -> DeadLetter:
    """Return the letter of *entry*, which ends as *error* tells.

    Args:
        entry: still in the batch it was cut into, if it was.
        error: its outcome.
        now: seconds of the loop's clock.
        wall: seconds since the epoch at that moment.
        client_id: of the publisher.
    """
    history = error.history
    return DeadLetter(
        id=str(uuid7()),
        record=entry.record,
        event_id=entry.event_id,
        event_type=_event_type(entry.event, entry.record),
        profile=entry.profile.name,
        status=error.status,
        stage=_stage(entry, error),
        reason=error.reason or "rejected",
        error=type(error).__name__,
        message=str(error)[:_LONGEST_MESSAGE],
        kafka_code=error.kafka_code,
        kafka_error=error.kafka_error,
        attempts=error.attempts,
        first_attempt_at=wall - (now - history[0].started) if history else None,
        last_attempt_at=wall - (now - history[-1].started - history[-1].duration) if history else None,
        failed_at=wall,
        elapsed=now - entry.started,
        budget=entry.deadline - entry.started,
        request_timeout=entry.profile.request_timeout,
        client_id=client_id,
        cut=_cut(entry),
    )


def _stage(entry: Entry, error: PublishError) -> Stage:
    if error.reason in {"drain", "closing"}:
        return "close"
    return "send" if entry.has_room else "admit"


def _event_type(event: object, record: Record) -> str | None:
    if isinstance(event, Event):
        return declared(type(event)).type
    raw = next((value for name, value in record.headers if name == "ce_type"), None)
    return None if raw is None else raw.decode("utf-8", "replace")


def _cut(entry: Entry) -> Cut | None:
    batch, partition = entry.batch, entry.partition
    if batch is None or partition is None or not batch.history_at(0.0):
        return None  # no attempt carried it
    stamp = batch.stamp
    sequence = (stamp.sequence + batch.position(entry)) % 2**31 if stamp.idempotent else -1
    return Cut(partition.name.partition, batch.after, stamp.producer_id, stamp.epoch, sequence)
