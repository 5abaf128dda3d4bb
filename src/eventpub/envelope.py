"""An event's envelope: the CloudEvents attributes that belong to one instance, beside its payload.

Decides what such an attribute may be. How it is written on a record is decided in
``eventpub.cloudevents``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, TypeVar

from eventpub._text import text_fault
from eventpub._unset import UNSET, Unset
from eventpub.exceptions import ConfigurationError, Finding, UsageError

Extension: TypeAlias = str | int | bool | bytes | datetime
"""What an extension attribute may be: text, a 32-bit integer, a boolean, bytes, or an aware ``datetime``."""

_T = TypeVar("_T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

wall_clock = time.time_ns  # noqa: TID251 - the one place that reads it: for envelopes and record timestamps

_MICROSECOND = timedelta(microseconds=1)
_EXTENSION_NAME = re.compile(r"[a-z0-9]+")
_RESERVED = frozenset(
    ("id", "source", "specversion", "type", "datacontenttype", "dataschema", "subject", "time", "data")
)
_INT32 = range(-(2**31), 2**31)


class Envelope(NamedTuple):
    """What identifies one event: made with the instance, kept through retries, dead letters and pickling.

    A tuple, because one is made per event (0.1 µs against 0.9 µs for a frozen dataclass).

    Attributes:
        id: a UUIDv7, the consumers' deduplication key, unless the user gave another.
        time_ns: when the event happened, nanoseconds since the epoch; `time` as a number.
        subject: what it is about, from the class keyword ``subject`` unless the user gave another.
        extension_pairs: `extensions` as pairs.
    """

    id: str
    time_ns: int
    subject: str | None = None
    extension_pairs: tuple[tuple[str, Extension], ...] = ()

    @property
    def time(self) -> datetime:
        """When the event happened: in UTC, to the microsecond, as it is sent."""
        return EPOCH + timedelta(microseconds=self.time_ns // 1000)

    @property
    def extensions(self) -> Mapping[str, Extension]:
        """The extension attributes, read-only."""
        return MappingProxyType(dict(self.extension_pairs))

    def __repr__(self) -> str:
        shown = f"Envelope(id={self.id!r}, time={self.time.isoformat()!r}"
        return f"{shown}, subject={self.subject!r}, extensions={dict(self.extension_pairs)!r})"

    def revised(
        self,
        id: str | None,  # noqa: A002 - CloudEvents' own name
        time: datetime | None,
        subject: str | Unset | None,
        extensions: Mapping[str, Extension] | None,
    ) -> Envelope:
        """Return this envelope with what is given in place of what it had; see `Event.with_envelope`."""
        findings = [
            *_id_faults(id),
            *_time_faults("time", time),
            *_subject_faults(subject),
            *_extension_faults(extensions),
        ]
        if findings:
            raise ConfigurationError(findings)
        return Envelope(
            self.id if id is None else id,
            self.time_ns if time is None else nanoseconds(time),
            self.subject if subject is UNSET else subject,
            self.extension_pairs if extensions is None else tuple(extensions.items()),
        )


def nanoseconds(moment: datetime) -> int:
    """Return an aware *moment* as nanoseconds since the epoch."""
    return (moment - EPOCH) // _MICROSECOND * 1000


def rfc3339(time_ns: int) -> str:
    """Return *time_ns* as RFC 3339 writes it: UTC, microseconds.

    0.3 µs, because the part down to the second is written once a second; 1.2 µs by
    ``datetime.isoformat``.
    """
    seconds, below = divmod(time_ns, 1_000_000_000)
    return f"{_down_to_the_second(seconds)}.{below // 1000:06}Z"


@lru_cache(maxsize=8)  # events are encoded about when they are made: the same few seconds for all
def _down_to_the_second(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


def _id_faults(id: object) -> Iterator[Finding]:  # noqa: A002 - as above
    if id is None:
        return
    fault = text_fault(of_kind("id", id, str))
    if fault:
        yield Finding("id", fault, "give a text that is unique for this event, or leave it out")


def _time_faults(setting: str, moment: object) -> Iterator[Finding]:
    if moment is None:
        return
    fault = moment_fault(of_kind(setting, moment, datetime))
    if fault:
        yield Finding(setting, *fault)


def moment_fault(moment: datetime) -> tuple[str, str] | None:
    """Return why *moment* is no point in time that can be sent, and what to do about it; or ``None``."""
    if moment.utcoffset() is None:
        return "is a datetime without time zone", "give an aware one, as datetime.now(UTC) is"
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return "lies outside the years 1 to 9999 in UTC", "give a time within them"
    return None


def _subject_faults(subject: object) -> Iterator[Finding]:
    if subject is UNSET or subject is None:
        return
    fault = text_fault(of_kind("subject", subject, str))
    if fault:
        yield Finding("subject", fault, "give a text, or None for no subject")


def _extension_faults(extensions: object) -> Iterator[Finding]:
    if extensions is None:
        return
    if not isinstance(extensions, Mapping):
        raise UsageError(f"extensions: expected a mapping of names to values, got {type(extensions).__name__}")
    for name, value in extensions.items():
        setting = f"extensions[{name!r}]"
        if not isinstance(name, str) or not _EXTENSION_NAME.fullmatch(name):
            yield Finding(setting, "is no name of an extension attribute", "use a-z and 0-9 only")
        elif name in _RESERVED:
            fix = "use with_envelope(id=, time=, subject=), the class keywords, or the publisher's source="
            yield Finding(setting, "is an attribute of CloudEvents itself, no extension", fix)
        else:
            yield from _value_faults(setting, value, required=name == "partitionkey")


def _value_faults(setting: str, value: object, *, required: bool) -> Iterator[Finding]:
    if isinstance(value, str):
        fault = text_fault(value) if value or required else None
        if fault:
            yield Finding(setting, fault, "give a text without it, or leave the extension out")
    elif isinstance(value, datetime):
        yield from _time_faults(setting, value)
    elif isinstance(value, int):
        if value not in _INT32:
            yield Finding(setting, "does not fit the 32 bits of CloudEvents' integers", "give it as str")
    elif not isinstance(value, bytes):
        kinds = "str, int, bool, bytes or an aware datetime"
        raise UsageError(f"{setting}: expected {kinds}, got {type(value).__name__}")


def of_kind(setting: str, value: object, kind: type[_T]) -> _T:
    """Return *value*, which is to be a *kind*.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(value, kind):
        return value
    raise UsageError(f"{setting}: expected {kind.__name__}, got {type(value).__name__}")
