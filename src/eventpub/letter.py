"""One dead letter: a record that was not delivered, why, and whether it may be in the log all the same.

Values only. How a letter is written in a topic's headers or a spool's columns is decided in
``eventpub.deadletter``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from eventpub.delivery import PersistenceStatus
from eventpub.record import Record

Stage = Literal["admit", "send", "close"]
"""Where it ended: waiting for room, on its way to the broker, or at the close."""

Verdict = Literal["persisted", "not persisted", "replayed"]


class Cut(NamedTuple):
    """The batch that a record was last stamped in: what finding it in the log needs.

    Attributes:
        partition: the partition it was cut for.
        after: the last offset acknowledged there before the cut, ``None`` if none was: the record
            is not at or before it.
        producer_id: -1 without idempotence, like the next two.
        epoch: of the producer id.
        sequence: the record's own sequence.
    """

    partition: int
    after: int | None
    producer_id: int
    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that did not end as persisted. The ``repr`` shows no key, header or payload.

    Times of the wall clock are seconds since the epoch (float); durations are seconds.

    Attributes:
        id: UUIDv7 of this letter, the same in all sinks.
        record: the original: topic, key, value and headers byte for byte, its timestamp, and the
            partition that was asked for, if one was.
        event_id: the CloudEvents id, ``None`` for a record without one.
        event_type: the CloudEvents type, likewise.
        profile: the name of the delivery profile.
        status: not persisted, or possibly persisted: whether a replay can write it twice.
        stage: where the delivery ended.
        reason: "rejected", or the reason of `UnavailableError` and `PossiblyPersistedError`.
        error: the error's class name.
        message: its text, without payload, at most 1 KiB.
        kafka_code: the decisive protocol error code, ``None`` if no broker gave one.
        kafka_error: the protocol's name for it.
        attempts: how many Produce requests carried it.
        first_attempt_at: when the first of them began, ``None`` without one.
        last_attempt_at: when the last of them ended or was given up, likewise.
        failed_at: when it was given up.
        elapsed: from the call of ``publish`` to then.
        budget: what it had been given.
        request_timeout: the longest that one request could take: a verification waits for twice that.
        client_id: of the publisher.
        cut: the batch it was last in, ``None`` if it never was in one.
        doubtful_in: the sink before this one that may have it too; such a letter is replayed only on request.
        replays: how often a replay of it has failed.
    """

    id: str
    record: Record
    event_id: str | None
    event_type: str | None
    profile: str
    status: PersistenceStatus
    stage: Stage
    reason: str
    error: str
    message: str
    kafka_code: int | None
    kafka_error: str | None
    attempts: int
    first_attempt_at: float | None
    last_attempt_at: float | None
    failed_at: float
    elapsed: float
    budget: float
    request_timeout: float
    client_id: str
    cut: Cut | None = None
    doubtful_in: str | None = None
    replays: int = 0

    def __repr__(self) -> str:
        return f"<DeadLetter {self.id} {self.record.topic} {self.status.value} ({self.reason})>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What became of a dead letter later: an entry of its own, which readers fold into the letter.

    Attributes:
        id: of the `DeadLetter`.
        record: its record, for the key: a resolution lies in the letter's own partition, behind it.
        verdict: "persisted" (a late acknowledgement, or found in the log), "not persisted" (a late
            rejection, or certainly absent: now it is safe to replay), "replayed".
        partition: where it is in the log, for "persisted" and "replayed".
        offset: likewise; ``None`` where no broker named one.
        at: seconds since the epoch.
    """

    id: str
    record: Record
    verdict: Verdict
    at: float
    partition: int | None = None
    offset: int | None = None

    def __repr__(self) -> str:
        return f"<Resolution of {self.id}: {self.verdict}>"
