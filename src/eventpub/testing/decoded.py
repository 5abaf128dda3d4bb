"""Records as a test wants to read them: CloudEvents in binary and structured mode, and anything else as it is.

For tests only: it takes what it finds, and what it cannot read it shows as bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventpub.declaration import declared
from eventpub.event import Event
from eventpub.exceptions import UsageError
from eventpub.record import Headers
from eventpub.testing.evidence import Content
from eventpub.transports.memory import MemoryBroker

Log: TypeAlias = MemoryBroker | Iterable[Content]
"""What was published: a broker, or the records that somebody read from one."""

_CE = "ce_"


@dataclass(frozen=True, slots=True, repr=False)
class Decoded:
    """One record, and what it says.

    Attributes:
        record: as it was read.
        topic: where, if the record tells.
        headers: its own.
        attributes: those of CloudEvents; none if it is no CloudEvent.
        payload: a JSON value where it is JSON, else the bytes; ``None`` for a tombstone.
    """

    record: Content
    topic: str | None
    headers: Headers
    attributes: Mapping[str, Any]
    payload: Any

    @property
    def event_type(self) -> str | None:
        """Return the CloudEvents type."""
        return self.attributes.get("type")

    @property
    def where(self) -> str:
        """Return where it lies: ``tasks[0]@42``."""
        partition, offset = getattr(self.record, "partition", None), getattr(self.record, "offset", None)
        place = "" if partition is None else f"[{partition}]"
        return f"{self.topic or ''}{place}" + ("" if offset is None else f"@{offset}")

    def is_of(self, event_class: type[Event]) -> bool:
        """Whether it is an event of that class; of one without an envelope, the topic has to do."""
        says = declared(event_class)
        if says.envelope == "none" and not self.attributes:
            return self.topic in {None, says.topic or says.type}
        return says.type is not None and self.event_type == says.type


def read(log: Log, topic: str | None = None) -> list[Decoded]:
    """Return the records of *log*, of *topic* alone if one is named, decoded.

    Raises:
        UsageError: neither a broker nor records.
    """
    if isinstance(log, MemoryBroker):
        return [decode(record) for record in log.records(topic)]
    if isinstance(log, (str, bytes, Mapping)) or not isinstance(log, Iterable):
        raise UsageError(
            f"expected a MemoryBroker or a list of records, got {type(log).__name__};"
            " of another broker, give the records that a consumer of yours has read"
        )
    decoded = [decode(record, topic) for record in log]
    return [each for each in decoded if topic is None or each.topic == topic]


def decode(record: Content, topic: str | None = None) -> Decoded:
    """Return *record* decoded; *topic* is where it comes from if it does not say so itself.

    Raises:
        UsageError: it has no key, value or headers.
    """
    try:
        _, value, headers = record.key, record.value, tuple(record.headers or ())
    except AttributeError as error:
        wanted = "records have key, value and headers (and may have topic, partition, offset)"
        raise UsageError(f"{wanted}; {type(record).__name__} has not") from error
    named: dict[str, bytes | None] = dict(reversed(headers))  # the first of equal names counts
    attributes, payload = _structured(named, value) or _binary(named, value)
    return Decoded(record, getattr(record, "topic", topic), headers, attributes, payload)


def _binary(headers: Mapping[str, bytes | None], value: bytes | None) -> tuple[Mapping[str, Any], Any]:
    attributes = {
        name.removeprefix(_CE): (text or b"").decode("utf-8", "replace")
        for name, text in headers.items()
        if name.startswith(_CE)
    }
    return attributes, json_or_bytes(value)


def _structured(headers: Mapping[str, bytes | None], value: bytes | None) -> tuple[Mapping[str, Any], Any] | None:
    if not (headers.get("content-type") or b"").lower().startswith(b"application/cloudevents+json"):
        return None
    event = json_or_bytes(value)
    if not isinstance(event, dict):
        return None
    attributes = {name: part for name, part in event.items() if name not in {"data", "data_base64"}}
    if "data_base64" not in event:
        return attributes, event.get("data")
    try:
        return attributes, base64.b64decode(event["data_base64"])
    except (binascii.Error, TypeError, ValueError):
        return None


def json_or_bytes(value: bytes | None) -> Any:
    """Return the JSON value that *value* is, or else itself."""
    if value is None:
        return None
    try:
        return json.loads(value)
    except ValueError:
        return value
