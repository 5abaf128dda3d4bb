"""What was published, as instances of the classes that it was published from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from eventpub.declaration import declared
from eventpub.event import Event
from eventpub.exceptions import UsageError
from eventpub.testing.decoded import Decoded, Log, read

E = TypeVar("E", bound=Event)

_CORE = frozenset(("id", "source", "specversion", "type", "datacontenttype", "dataschema", "subject", "time"))


def published(log: Log, event_class: type[E], *, topic: str | None = None) -> list[E]:
    """Return the events of *event_class* that lie in *log*, in order, each with the envelope it was published with.

    ::

        (created,) = published(memory_broker, TaskCreated)
        assert created.title == "Write docs"

    (The envelope's time has microseconds, as on the wire.)

    Args:
        log: a `MemoryBroker`, or records that another reader returned.
        event_class: a class with a ``type``. Its subclasses have types of their own and are not meant.
        topic: this one alone.

    Raises:
        AssertionError: a record has the class's type and is no such event: consumers could not read it either.
        UsageError: a class without a type, or something that is no log.
    """
    if declared(event_class).type is None:
        raise UsageError(f"{event_class.__name__} has no type, so no record has it: name a concrete class")
    return [_event(event_class, each) for each in read(log, topic) if each.is_of(event_class)]


def _event(event_class: type[E], decoded: Decoded) -> E:
    try:
        event = event_class.model_validate_json(_without_computed(event_class, decoded.payload))
    except (ValidationError, TypeError) as error:
        faults = "; ".join(_faults(error))
        raise AssertionError(f"{decoded.where} is no {event_class.__name__}, whose type it has: {faults}") from None
    attributes = decoded.attributes
    time = attributes.get("time")
    return event.with_envelope(
        id=attributes.get("id"),
        time=None if time is None else datetime.fromisoformat(time),
        subject=attributes.get("subject"),
        extensions={name: value for name, value in attributes.items() if name not in _CORE},
    )


def _without_computed(event_class: type[BaseModel], payload: Any) -> str:
    """Return the JSON of *payload* without what the class works out itself, and so does not accept."""
    if isinstance(payload, dict):
        payload = {name: value for name, value in payload.items() if name not in event_class.model_computed_fields}
    return json.dumps(payload)


def _faults(error: ValidationError | TypeError) -> Iterator[str]:
    if isinstance(error, TypeError):
        yield "its payload is no JSON"
        return
    for fault in error.errors(include_url=False):
        yield f"{'.'.join(map(str, fault['loc'])) or 'payload'}: {fault['msg']}"
