"""Dead letters for tests, with everything filled in that a test does not care about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import uuid_utils

from eventpub import PersistenceStatus, Record
from eventpub.letter import Cut, DeadLetter

if TYPE_CHECKING:
    from collections.abc import Iterable

FAILED_AT = 1_750_000_000.25


def letter(value: bytes | None = b"{}", *, topic: str = "tasks", key: bytes | None = b"42", **facts: Any) -> DeadLetter:
    """Return the dead letter of a CloudEvent whose id is the letter's own, unless *facts* say otherwise."""
    number = facts.pop("id", None) or str(uuid_utils.uuid7())
    headers = facts.pop("headers", (("ce_id", f"event-{number}".encode()), ("ce_type", b"task.created")))
    timestamp = facts.pop("timestamp", 1_750_000_000_000)
    record = facts.pop("record", None) or Record(topic, value, key, headers, timestamp=timestamp)
    return DeadLetter(**(_usual(record) | {"id": number} | facts))


def _usual(record: Record) -> dict[str, Any]:
    return {
        "record": record,
        "event_id": record.event_id,
        "event_type": "task.created",
        "profile": "critical",
        "status": PersistenceStatus.NOT_PERSISTED,
        "stage": "send",
        "reason": "budget",
        "error": "UnavailableError",
        "message": "tasks: no broker took it within 30 s",
        "kafka_code": None,
        "kafka_error": None,
        "attempts": 3,
        "first_attempt_at": FAILED_AT - 30,
        "last_attempt_at": FAILED_AT,
        "failed_at": FAILED_AT,
        "elapsed": 30.0,
        "budget": 30.0,
        "request_timeout": 10.0,
        "client_id": "eventpub",
        "cut": Cut(0, None, 7, 0, 0),
    }


def letters(count: int, **facts: Any) -> list[DeadLetter]:
    """Return *count* letters with the values 0, 1, 2, ..."""
    return [letter(b"%d" % number, **facts) for number in range(count)]


def ids(found: Iterable[DeadLetter]) -> list[str]:
    """Return the ids of *found*."""
    return [one.id for one in found]
