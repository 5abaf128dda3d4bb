"""What spans say of a record, an answer and an outcome. No key, no payload, no header of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub.declaration import declared
from eventpub.delivery import Delivery
from eventpub.event import Event
from eventpub.instrumentation import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpub.delivery import Attempt
    from eventpub.exceptions import PublishError
    from eventpub.record import Record

Facts = dict[str, str | int | float | bool]

_CLOUDEVENTS = {
    "ce_id": names.EVENT_ID,
    "ce_source": names.EVENT_SOURCE,
    "ce_specversion": names.EVENT_SPEC_VERSION,
    "ce_subject": names.EVENT_SUBJECT,
    "ce_type": names.EVENT_TYPE,
}


def of_record(event: object, record: Record, source: str | None) -> Facts:
    """Return what is known of a message before it is sent."""
    facts = _cloudevent(record)
    if not facts and isinstance(event, Event):
        facts = _structured(event, source)
    message_id = event.envelope.id if isinstance(event, Event) else facts.get(names.EVENT_ID)
    if message_id is not None:
        facts[names.MESSAGE_ID] = message_id
    if record.partition is not None:
        facts[names.PARTITION] = str(record.partition)
    if record.value is None:
        facts[names.TOMBSTONE] = True
    return facts


def _cloudevent(record: Record) -> Facts:
    return {
        _CLOUDEVENTS[name]: value.decode("utf-8", "replace")
        for name, value in record.headers
        if name in _CLOUDEVENTS and value is not None
    }


def _structured(event: Event, source: str | None) -> Facts:
    """Return the attributes of an event whose envelope is in the value; of one without envelope, none."""
    says = declared(type(event))
    if says.envelope != "structured":
        return {}
    known: Mapping[str, str | None] = {
        names.EVENT_ID: event.envelope.id,
        names.EVENT_SOURCE: source,
        names.EVENT_SPEC_VERSION: "1.0",
        names.EVENT_SUBJECT: event.envelope.subject,
        names.EVENT_TYPE: says.type,
    }
    return {name: value for name, value in known.items() if value is not None}


def of_outcome(outcome: Delivery | PublishError | None, history: tuple[Attempt, ...]) -> Facts:
    """Return what became of a message."""
    facts: Facts = {names.ATTEMPTS: len(history), names.OUTCOME: word(outcome)}
    if outcome is not None and outcome.partition is not None:
        facts[names.PARTITION] = str(outcome.partition)
    if isinstance(outcome, Delivery):
        facts[names.ATTEMPTS] = outcome.attempts
        if outcome.offset is not None:
            facts[names.OFFSET] = outcome.offset
    elif outcome is not None and outcome.dead_letter is not None:
        facts[names.DEAD_LETTER_ID] = outcome.dead_letter.id
        facts[names.DEAD_LETTER_STATE] = outcome.dead_letter.state
    return facts | (of_broker(history[-1].broker) if history else {})


def of_attempt(attempt: Attempt) -> Facts:
    """Return what one attempt came to."""
    facts: Facts = {names.ATTEMPT_OUTCOME: attempt.outcome.value, names.ATTEMPT_DURATION: attempt.duration}
    if attempt.kafka_error is not None:
        facts[names.ATTEMPT_ERROR] = attempt.kafka_error
    return facts | of_broker(attempt.broker)


def of_broker(broker: str | None) -> Facts:
    """Return address and port of a broker named ``host:port``."""
    host, _, port = (broker or "").rpartition(":")
    return {names.SERVER_ADDRESS: host, names.SERVER_PORT: int(port)} if host and port.isdecimal() else {}


def word(outcome: Delivery | PublishError | None) -> str:
    """Return an outcome in a word or two; ``None`` is an event that was withdrawn."""
    return names.WITHDRAWN if outcome is None else outcome.status.value
