"""What a test says of one record, and how a record differs from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from eventpub.declaration import declared
from eventpub.event import Event
from eventpub.exceptions import UsageError
from eventpub.record import Headers, Record
from eventpub.serializer import json_serializer
from eventpub.testing.decoded import Decoded, json_or_bytes
from eventpub.testing.difference import NOTHING, Difference, differences, shown

Expected: TypeAlias = Event | Record | Mapping[str, Any] | str | type[Event]
"""An event, a record, some fields of a payload, a type by its name or by its class."""

_TRACING = frozenset(("traceparent", "tracestate"))  # a tracer adds them, if one runs


class Expectation(Protocol):
    """One thing that was expected; its text is how it is told that it is missing."""

    def fits(self, decoded: Decoded, /) -> bool:
        """Whether it is what was expected. Asked of every pair, so the quick answers come first."""

    def differences(self, decoded: Decoded, /) -> list[Difference]:
        """Return what is not as expected; nothing if it fits."""

    def alike(self, decoded: Decoded, /) -> bool:
        """Whether it is worth telling how the two differ: perhaps it was meant to be this."""


@dataclass(frozen=True, slots=True)
class OfEvent:
    """An event: its class, its payload, and its envelope's id if that was asked for."""

    event: Event
    payload: Any
    same_id: bool

    def fits(self, decoded: Decoded, /) -> bool:
        """See `Expectation.fits`."""
        return bool(self.payload == decoded.payload) and not self.differences(decoded)

    def differences(self, decoded: Decoded, /) -> list[Difference]:
        """See `Expectation.differences`."""
        if not self.alike(decoded):
            return [Difference("type", declared(type(self.event)).type, decoded.event_type)]
        found = [*differences(self.payload, decoded.payload)]
        if self.same_id and (got := decoded.attributes.get("id")) != self.event.envelope.id:
            found.append(Difference("id", self.event.envelope.id, got))
        return found

    def alike(self, decoded: Decoded, /) -> bool:
        """See `Expectation.alike`."""
        return decoded.is_of(type(self.event))

    def __str__(self) -> str:
        return f"{declared(type(self.event)).type}  {shown(self.payload)}"


@dataclass(frozen=True, slots=True)
class OfRecord:
    """A record: everything that it says."""

    record: Record

    def fits(self, decoded: Decoded, /) -> bool:
        """See `Expectation.fits`."""
        return self.record.value == decoded.record.value and not self.differences(decoded)

    def differences(self, decoded: Decoded, /) -> list[Difference]:
        """See `Expectation.differences`."""
        return [*self._differences(decoded)]

    def alike(self, decoded: Decoded, /) -> bool:
        """See `Expectation.alike`."""
        expected, got = self.record, decoded.record
        same_key = expected.key is not None and expected.key == got.key
        return same_key or (expected.value is not None and expected.value == got.value)

    def __str__(self) -> str:
        record = self.record
        key = "" if record.key is None else f"  key={shown(record.key)}"
        return f"{record.topic}{key}  {shown(json_or_bytes(record.value))}"

    def _differences(self, decoded: Decoded) -> Iterator[Difference]:
        expected, got = self.record, decoded.record
        given = {name: getattr(expected, name) for name in ("partition", "timestamp")}
        told = {"topic": expected.topic, **{name: value for name, value in given.items() if value is not None}}
        found = {"topic": decoded.topic, **{name: getattr(got, name, None) for name in given}}
        for name, value in told.items():
            if found[name] not in (value, None):  # None: the reader does not tell
                yield Difference(name, value, found[name])
        if expected.key != got.key:
            yield Difference("key", expected.key, got.key)
        yield from _of_values(expected.value, got.value)
        yield from _of_headers(expected.headers, decoded.headers)


@dataclass(frozen=True, slots=True)
class OfFields:
    """Some fields of a payload; what is not named may be anything, in nested objects too."""

    fields: Mapping[str, Any]

    def fits(self, decoded: Decoded, /) -> bool:
        """See `Expectation.fits`."""
        return next(differences(self.fields, decoded.payload, partly=True), None) is None

    def differences(self, decoded: Decoded, /) -> list[Difference]:
        """See `Expectation.differences`."""
        return [*differences(self.fields, decoded.payload, partly=True)]

    def alike(self, decoded: Decoded, /) -> bool:
        """See `Expectation.alike`."""
        return len(self.differences(decoded)) < len(self.fields)

    def __str__(self) -> str:
        return f"a payload with {shown(dict(self.fields))}"


@dataclass(frozen=True, slots=True)
class OfType:
    """A CloudEvents type, by its name or by the class that has it."""

    name: str
    event_class: type[Event] | None = None

    def fits(self, decoded: Decoded, /) -> bool:
        """See `Expectation.fits`."""
        return decoded.event_type == self.name if self.event_class is None else decoded.is_of(self.event_class)

    def differences(self, decoded: Decoded, /) -> list[Difference]:
        """See `Expectation.differences`."""
        return [] if self.fits(decoded) else [Difference("type", self.name, decoded.event_type)]

    def alike(self, _decoded: Decoded, /) -> bool:
        """See `Expectation.alike`: of another type is something else."""
        return False

    def __str__(self) -> str:
        return self.name


def expectation(thing: Expected, *, same_id: bool = False) -> Expectation:
    """Return what *thing* says of one record.

    Raises:
        UsageError: it is nothing that could be published.
        SerializationError: an event that has no form on the wire.
    """
    if isinstance(thing, Event):
        return OfEvent(thing, json_or_bytes(json_serializer(type(thing))(thing)), same_id)
    if isinstance(thing, Record):
        return OfRecord(thing)
    if isinstance(thing, Mapping):
        return OfFields(thing)
    if isinstance(thing, str):
        return OfType(thing)
    if isinstance(thing, type) and issubclass(thing, Event) and (name := declared(thing).type) is not None:
        return OfType(name, thing)
    raise UsageError(_refusal(thing))


def _refusal(thing: object) -> str:
    if isinstance(thing, (list, tuple)):
        return "expected events one by one, got a list: unpack it, assert_published(broker, *events)"
    kinds = "an Event, a Record, a mapping of payload fields, a type, or an Event class that has one"
    return f"expected {kinds}; got {getattr(thing, '__name__', type(thing).__name__)}"


def _of_values(expected: bytes | None, got: bytes | None) -> Iterator[Difference]:
    if expected == got:
        return
    one, other = json_or_bytes(expected), json_or_bytes(got)
    if isinstance(one, dict) and isinstance(other, dict) and one != other:
        yield from differences(one, other)
    else:
        yield Difference("value", expected, got)


def _of_headers(expected: Headers, got: Headers) -> Iterator[Difference]:
    wanted = {name for name, _ in expected}
    got = tuple(pair for pair in got if pair[0] not in _TRACING - wanted)
    if expected == got:
        return
    one, other = _by_name(expected), _by_name(got)
    if one == other:
        yield Difference("order of headers", [name for name, _ in expected], [name for name, _ in got])
    for name in {**one, **other}:
        if one.get(name) != other.get(name):
            yield Difference(f"headers[{name!r}]", _only(one.get(name)), _only(other.get(name)))


def _by_name(headers: Headers) -> dict[str, list[bytes | None]]:
    named: dict[str, list[bytes | None]] = {}
    for name, value in headers:
        named.setdefault(name, []).append(value)
    return named


def _only(values: list[bytes | None] | None) -> object:
    if values is None:
        return NOTHING
    return values[0] if len(values) == 1 else values
