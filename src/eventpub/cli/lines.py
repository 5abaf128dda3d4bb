"""Lines of JSON as events: which part of a line is what, and what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from eventpub.content_mode import Binary
from eventpub.event import Event
from eventpub.exceptions import SerializationError, UsageError
from eventpub.key import encode_key
from eventpub.record import Record, check_topic
from eventpub.registry import default_registry
from eventpub.serializer import JSON


class Enveloped(Event):
    """Lends a line its envelope; the payload is the line as it stands."""


@dataclass(frozen=True, slots=True)
class Form:
    """Where in a line type, topic, key and id are: said for all lines, or a field's name.

    A line whose type is that of a registered class is validated into that class, which also
    says its topic and key unless they are given here. Other lines travel as they stand, as
    CloudEvents in binary mode.
    """

    type: str | None = None
    type_from: str | None = None
    topic: str | None = None
    topic_from: str | None = None
    key: str | None = None
    key_from: str | None = None
    id_from: str | None = None
    source: str | None = None
    profile: str | None = None

    def __post_init__(self) -> None:
        for name in ("type", "topic", "key"):
            if getattr(self, name) is not None and getattr(self, f"{name}_from") is not None:
                raise UsageError(f"--{name} and --{name}-from: give one of them")
        if self.topic is not None:
            check_topic(self.topic)
        if self.type is None and self.type_from is None:
            raise UsageError("give --type task.created, or --type-from with the field that holds the type")
        if self.type is not None and self.type not in default_registry:
            self._source_or_refuse()

    def read(self, line: bytes) -> tuple[Event | Record, dict[str, Any]]:
        """Return what to publish for *line*, and the options to say at its publish.

        Raises:
            SerializationError: it is no event; the message shows nothing of its contents.
            UsageError: an option is missing for events like this one.
            ConfigurationError: a topic or an id that is none.
        """
        payload = _parsed(line)
        name = self._text("type", payload)
        if name is None:
            raise SerializationError(f"type: the field {self.type_from!r} is null")
        options = self._options(payload)
        event_class = default_registry.get(name)
        if event_class is not None:
            return self._identified(_validated(event_class, line), payload), options
        attributes = {"specversion": "1.0", "type": name, "source": self._source_or_refuse()}
        headers, _, value = Binary(attributes, JSON).write(self._identified(Enveloped(), payload), line)
        return Record(options.pop("topic", name), value, headers=headers), options

    def _options(self, payload: dict[str, Any]) -> dict[str, Any]:
        options: dict[str, Any] = {} if self.profile is None else {"profile": self.profile}
        topic = self._text("topic", payload)
        if topic is not None:
            options["topic"] = topic
        if self.key is not None or self.key_from is not None:
            options["key"] = self._key(payload)
        return options

    def _identified(self, event: Event, payload: dict[str, Any]) -> Event:
        if self.id_from is None:
            return event
        return event.with_envelope(id=str(_field("id", self.id_from, payload)))

    def _key(self, payload: dict[str, Any]) -> bytes | None:
        value = self.key if self.key_from is None else _field("key", self.key_from, payload)
        try:
            return encode_key(value)
        except (TypeError, ValueError) as error:
            raise SerializationError(f"key: field {self.key_from!r}: {error}") from None

    def _text(self, name: str, payload: dict[str, Any]) -> str | None:
        field = getattr(self, f"{name}_from")
        value = getattr(self, name) if field is None else _field(name, field, payload)
        if value is not None and not isinstance(value, str):
            raise SerializationError(f"{name}: the field {field!r} holds no text")
        return value

    def _source_or_refuse(self) -> str:
        if self.source is None:
            raise UsageError("an event carries its source: give --source /me, or set EVENTPUB_SOURCE")
        return self.source


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(line)
    except ValueError:  # its text shows the line
        raise SerializationError("the line is no JSON in UTF-8") from None
    if not isinstance(payload, dict):
        raise SerializationError("the line is no JSON object")
    return payload


def _field(name: str, field: str, payload: dict[str, Any]) -> Any:
    if field not in payload:
        raise SerializationError(f"{name}: the line has no field {field!r}")
    return payload[field]


def _validated(event_class: type[BaseModel], line: bytes) -> Any:
    try:
        return event_class.model_validate_json(line)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
    faults = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'payload'}: {each['msg']}" for each in found)
    raise SerializationError(f"no {event_class.__name__}: {faults}")
