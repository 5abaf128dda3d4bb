"""Events as Kafka records: the CloudEvents 1.0 Kafka protocol binding, binary and structured.

Everything that is the same for all events of a class is worked out once per class. The
specification: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias, TypedDict, Unpack

from eventpub._text import uri_fault
from eventpub._unset import UNSET, Unset
from eventpub.abc import Serializer
from eventpub.content_mode import Bare, Binary, ContentMode, Structured
from eventpub.declaration import Declaration, declared
from eventpub.envelope import EPOCH, moment_fault, wall_clock
from eventpub.event import Event
from eventpub.exceptions import ConfigurationError, Finding, SerializationError, UsageError
from eventpub.key import Key, KeyReader, given_key, key_reader
from eventpub.record import (
    Headers,
    Record,
    check_topic,
    checked_headers,
    checked_partition,
    checked_timestamp,
    new_record,
    size_of_headers,
)
from eventpub.serializer import JSON, Serialize, json_serializer

__all__ = ["UNSET", "Encoder", "Unset"]

TopicFor: TypeAlias = Callable[[type[Event]], str]
HeaderPairs: TypeAlias = Iterable[tuple[str, bytes | None]]

_MILLISECOND = timedelta(milliseconds=1)
_MEDIA_TYPE = re.compile(r"[!-~]+/[!-~]+( *;.+)?")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same for all events of one class."""

    topic: str | None  # None: there is none, and a publish without topic= is told why
    key: KeyReader
    serialize: Serialize
    mode: ContentMode


class RecordOptions(TypedDict, total=False):
    """What may be said of one record, instead of what the event's class says.

    Attributes:
        key: what the partition is chosen by; ``None`` is no key.
        topic: where it goes.
        headers: more headers, after those of the envelope.
        partition: the exact partition.
        timestamp: milliseconds since the epoch, or an aware datetime; default: now.
    """

    key: Key
    topic: str | None
    headers: HeaderPairs
    partition: int | None
    timestamp: int | datetime | None


class Encoder:
    """Turns events into records; one per publisher. A plain function of its arguments and the wall clock.

    Args:
        source: the CloudEvents ``source``, a URI reference; needed by events that carry an envelope.
        topic_for: the topic of an event class that names none; default: its type.
        serializer: another form of payload than JSON.

    Attributes:
        plans: by the classes of events seen so far.

    Raises:
        ConfigurationError: settings that cannot work, each with its fix.
    """

    def __init__(
        self,
        source: str | None = None,
        topic_for: TopicFor | None = None,
        serializer: Serializer | None = None,
    ) -> None:
        findings = [*_source_faults(source), *_topic_for_faults(topic_for), *_serializer_faults(serializer)]
        if findings:
            raise ConfigurationError(findings)
        self.source = source
        self._topic_for = topic_for
        self._serializer = serializer
        self.plans: dict[type[Event], Plan] = {}

    def encode(self, event: Event, **options: Unpack[RecordOptions]) -> Record:
        """Return the record of *event*, its timestamp set. What is given here goes before what its class says.

        Args:
            event: an event of a concrete class.
            **options: ``key``, ``topic``, ``headers``, ``partition`` and ``timestamp`` (`RecordOptions`).

        Raises:
            SerializationError: payload, key or subject have no form on the wire; the message names the field.
            ConfigurationError: no source, no legal topic, a reserved header, a value out of range.
            UsageError: an argument of the wrong type.
        """
        return self.encode_sized(event, options)[0]

    def encode_sized(self, event: Event, options: RecordOptions) -> tuple[Record, int]:
        """Return what `encode` does, and its size: here most headers need not be measured again (0.7 µs an event).

        Takes what it needs out of *options*.
        """
        plan = self.plans.get(type(event)) or self._plan_for(event)
        try:
            if options:
                plan = _revised_plan(plan, options)
            key = plan.key(event)
            headers, size, value = plan.mode.write(event, plan.serialize(event))
            topic = plan.topic or self._topic_of(type(event))
            record = new_record((topic, value, key, headers, None, wall_clock() // 1_000_000))
            size += len(value) if key is None else len(value) + len(key)
            return _revised_record(record, size, **options) if options else (record, size)  # type: ignore[misc]  # two are gone
        except SerializationError as error:
            error.event_id, error.record, error.topic = event.envelope.id, event, plan.topic
            raise

    def complete(
        self,
        record: Record,
        *,
        key: Key | Unset = UNSET,
        topic: str | None = None,
        headers: HeaderPairs = (),
        partition: int | None = None,
        timestamp: int | datetime | None = None,
    ) -> Record:
        """Return *record* with its timestamp set, and with what is given here in place of its own; headers are added.

        Raises:
            ConfigurationError: a value out of range.
            UsageError: an argument of the wrong type.
            SerializationError: a key that UTF-8 cannot express.
        """
        when = record.timestamp if timestamp is None else _milliseconds(timestamp)
        return new_record(
            (
                record.topic if topic is None else _given_topic(topic),
                record.value,
                record.key if key is UNSET else given_key(key),
                record.headers if headers == () else record.headers + checked_headers(headers),
                record.partition if partition is None else checked_partition(partition),
                wall_clock() // 1_000_000 if when is None else when,
            )
        )

    def _plan_for(self, event: Event) -> Plan:
        if not isinstance(event, Event):
            raise UsageError(f"event: expected an Event, got {type(event).__name__}")
        event_class = type(event)
        says = declared(event_class)
        if says.type is None:
            reason = f"{event_class.__name__} has none, which makes it an abstract base"
            raise ConfigurationError.of("type", reason, 'publish a subclass that has one: type="task.created"')
        try:
            topic = self._topic_of(event_class)
        except ConfigurationError:
            topic = None
        serialize, content_type = self._serialization(event_class)
        plan = Plan(topic, key_reader(says.key), serialize, self._mode(says, content_type))
        self.plans[event_class] = plan
        return plan

    def _serialization(self, event_class: type[Event]) -> tuple[Serialize, str]:
        if self._serializer is None:
            return json_serializer(event_class), JSON
        return _guarded(self._serializer), self._serializer.content_type

    def _mode(self, says: Declaration, content_type: str) -> ContentMode:
        if says.envelope == "none":
            return Bare(content_type)
        if self.source is None:
            reason = f"{says.type!r} events carry an envelope, and CloudEvents requires a source in it"
            fix = 'give the publisher source="/your-service", or the event class envelope="none"'
            raise ConfigurationError.of("source", reason, fix)
        attributes = {"specversion": "1.0", "type": str(says.type), "source": self.source}
        if says.dataschema is not None:
            attributes["dataschema"] = says.dataschema
        return (Binary if says.envelope == "binary" else Structured)(attributes, content_type)

    def _topic_of(self, event_class: type[Event]) -> str:
        """Return the topic of a class's events, checked.

        Raises:
            ConfigurationError: neither the class nor the publisher names one that Kafka accepts.
        """
        says = declared(event_class)
        if says.topic is not None:
            return says.topic
        topic = str(says.type) if self._topic_for is None else self._ask_for_topic(self._topic_for, event_class)
        try:
            check_topic(topic)
        except (ConfigurationError, UsageError) as error:
            origin = "its type is" if self._topic_for is None else "topic_for gives"
            reason = f"{event_class.__name__} names none, and {origin} {str(topic)[:60]!r}, which is no topic's name"
            raise ConfigurationError.of(
                "topic", reason, "give the class topic=, or the publisher topic_for="
            ) from error
        return topic

    @staticmethod
    def _ask_for_topic(topic_for: TopicFor, event_class: type[Event]) -> str:
        try:
            return topic_for(event_class)
        except Exception as error:
            reason = f"raised {type(error).__name__} for {event_class.__name__}"
            raise ConfigurationError.of("topic_for", reason, "let it return a topic's name") from error


def _revised_plan(plan: Plan, options: RecordOptions) -> Plan:
    """Return *plan* with the key and topic that *options* give in place of what the class says; takes them out."""
    key, topic = options.pop("key", UNSET), options.pop("topic", None)
    reader = plan.key if key is UNSET else lambda _: given_key(key)
    return Plan(plan.topic if topic is None else _given_topic(topic), reader, plan.serialize, plan.mode)


def _revised_record(
    record: Record,
    size: int,
    *,
    headers: HeaderPairs = (),
    partition: int | None = None,
    timestamp: int | datetime | None = None,
) -> tuple[Record, int]:
    """Return *record* with what is given of one event, and its size."""
    topic, value, key, own, _, now = record
    extra = () if headers == () else _user_headers(headers)
    when = now if timestamp is None else _milliseconds(timestamp)
    return new_record((topic, value, key, own + extra, checked_partition(partition), when)), size + size_of_headers(
        extra
    )


def _given_topic(topic: str) -> str:
    check_topic(topic)
    return topic


def _guarded(serializer: Serializer) -> Serialize:
    """Return *serializer*'s function, what it raises and returns checked."""

    def serialize(event: Event) -> bytes:
        try:
            payload = serializer.serialize(event)
        except SerializationError:
            raise
        except Exception as error:
            name = type(serializer).__name__
            raise SerializationError(f"payload: {name} raised {type(error).__name__}") from error
        if not isinstance(payload, bytes):
            name = type(serializer).__name__
            raise SerializationError(f"payload: {name} returned {type(payload).__name__}, not bytes")
        return payload

    return serialize


def _user_headers(headers: HeaderPairs) -> Headers:
    pairs = checked_headers(headers)
    findings = [
        Finding(f"headers[{name!r}]", "is a header that the envelope owns", _instead_of(name.lower()))
        for name, _ in pairs
        if name.lower().startswith("ce_") or name.lower() == "content-type"
    ]
    if findings:
        raise ConfigurationError(findings)
    return pairs


def _instead_of(name: str) -> str:
    if name == "content-type":
        return "give the publisher a serializer with that content_type, or publish a Record"
    return "use with_envelope(...) on the event, or publish a Record"


def _milliseconds(timestamp: object) -> int | None:
    if not isinstance(timestamp, datetime):
        return checked_timestamp(timestamp)  # type: ignore[arg-type]  # it says what is wrong
    fault = moment_fault(timestamp)
    if fault:
        raise ConfigurationError.of("timestamp", *fault)
    return checked_timestamp((timestamp - EPOCH) // _MILLISECOND)


def _source_faults(source: object) -> Iterator[Finding]:
    if source is not None:
        fault = uri_fault(source, absolute=False) if isinstance(source, str) else f"got {type(source).__name__}"
        if fault:
            yield Finding("source", fault, 'give a URI reference such as "/task-api"')


def _topic_for_faults(topic_for: object) -> Iterator[Finding]:
    if topic_for is not None and not callable(topic_for):
        yield Finding(
            "topic_for", f"got {type(topic_for).__name__}", "give a function from an event class to its topic"
        )


def _serializer_faults(serializer: object) -> Iterator[Finding]:
    if serializer is None:
        return
    if not callable(getattr(serializer, "serialize", None)):
        yield Finding(
            "serializer", f"{type(serializer).__name__} has no serialize(event)", "see eventpub.abc.Serializer"
        )
    content_type = getattr(serializer, "content_type", None)
    if not isinstance(content_type, str) or not _MEDIA_TYPE.fullmatch(content_type):
        yield Finding("serializer.content_type", "is no media type", 'give one such as "application/json"')
