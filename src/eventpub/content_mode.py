"""CloudEvents' content modes: where the attributes of an event travel on a Kafka record.

Section 3 of the Kafka protocol binding, and the type system of the specification for how
attribute values are written.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from eventpub.envelope import Extension, nanoseconds, rfc3339
from eventpub.event import Event
from eventpub.record import Headers, size_of_headers

STRUCTURED = b"application/cloudevents+json; charset=UTF-8"

_JSON_TYPE = re.compile(r"[^;]*[/+]json\s*(;.*)?", re.IGNORECASE)
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ContentMode(Protocol):
    """Where the attributes of a class's events go: beside the payload, around it, or nowhere."""

    def write(self, event: Event, payload: bytes, /) -> tuple[Headers, int, bytes]:
        """Return the record's headers, their bytes (most are the same for all events), and its value."""


class Binary:
    """Attributes as ``ce_`` headers, the payload as it is."""

    __slots__ = ("_constant", "_constant_size")

    def __init__(self, attributes: Mapping[str, str], content_type: str) -> None:
        named = tuple((f"ce_{name}", value.encode()) for name, value in attributes.items())
        self._constant: Headers = (*named, ("content-type", content_type.encode()))
        self._constant_size = size_of_headers(self._constant) + len("ce_id") + len("ce_time")

    def write(self, event: Event, payload: bytes, /) -> tuple[Headers, int, bytes]:
        """See `ContentMode.write`."""
        id_, time_ns, subject, extensions = event.envelope
        own_id, time = id_.encode(), rfc3339(time_ns).encode()
        headers = (*self._constant, ("ce_id", own_id), ("ce_time", time))
        size = self._constant_size + len(own_id) + len(time)
        if subject is not None or extensions:
            more: Headers = () if subject is None else (("ce_subject", subject.encode()),)
            more += tuple((f"ce_{name}", _canonical(value).encode()) for name, value in extensions)
            return headers + more, size + size_of_headers(more), payload
        return headers, size, payload


class Structured:
    """Attributes and payload in one JSON object, and no ``ce_`` header: the official SDK would take it for binary."""

    __slots__ = ("_constant", "_is_json")

    _HEADERS: Headers = (("content-type", STRUCTURED),)
    _SIZE = size_of_headers(_HEADERS)

    def __init__(self, attributes: Mapping[str, str], content_type: str) -> None:
        self._constant = _to_json({**attributes, "datacontenttype": content_type})[:-1]
        self._is_json = _JSON_TYPE.fullmatch(content_type) is not None

    def write(self, event: Event, payload: bytes, /) -> tuple[Headers, int, bytes]:
        """See `ContentMode.write`."""
        id_, time_ns, subject, extensions = event.envelope
        own: dict[str, str | int] = {"id": id_, "time": rfc3339(time_ns)}
        if subject is not None:
            own["subject"] = subject
        own |= {name: _json_value(value) for name, value in extensions}
        attributes = f"{self._constant},{_to_json(own)[1:-1]}".encode()
        if self._is_json:
            return self._HEADERS, self._SIZE, b'%b,"data":%b}' % (attributes, payload)
        return self._HEADERS, self._SIZE, b'%b,"data_base64":"%b"}' % (attributes, base64.b64encode(payload))


class Bare:
    """The payload alone, for consumers that know nothing of CloudEvents."""

    __slots__ = ("_headers", "_size")

    def __init__(self, content_type: str) -> None:
        self._headers: Headers = (("content-type", content_type.encode()),)
        self._size = size_of_headers(self._headers)

    def write(self, _event: Event, payload: bytes, /) -> tuple[Headers, int, bytes]:
        """See `ContentMode.write`."""
        return self._headers, self._size, payload


def _canonical(value: Extension) -> str:
    """Return the text that CloudEvents' type system prescribes for *value*."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return rfc3339(nanoseconds(value))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _json_value(value: Extension) -> str | int:
    """Return *value* as the JSON event format has it: booleans and integers as such, the rest as text."""
    return value if isinstance(value, int) else _canonical(value)
