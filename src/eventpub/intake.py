"""Checks, encodes and dresses an event: everything that may go wrong before it takes its place."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypedDict, cast

from anyio import current_effective_deadline

from eventpub._engine.noop import NoOpRecorder
from eventpub._rules.entry import Entry
from eventpub.abc import Recorder
from eventpub.budget import ENCLOSING_DEADLINE
from eventpub.cloudevents import Encoder
from eventpub.event import Event
from eventpub.exceptions import EventPubError, EventTooLargeError, PublishError, UnavailableError, UsageError
from eventpub.profile import MAX_REQUEST_BYTES, DeliveryProfile, Seconds, as_seconds
from eventpub.profiles import Profiles
from eventpub.record import Record

_NEVER = float("inf")
_BEFORE_CANCELLATION = 0.1  # seconds: the outcome should arrive before the scope cancels its caller


class CommonOptions(TypedDict, total=False):
    """What may be said at a publish of one event or of many.

    Attributes:
        topic: instead of the one the event class names.
        headers: more record headers, (name, bytes) in order.
        profile: instead of the one the event class names: a profile, or its name.
        timeout: the longest the whole delivery may take.
    """

    topic: str | None
    headers: Iterable[tuple[str, bytes | None]]
    profile: DeliveryProfile | str | None
    timeout: Seconds | None


class PublishOptions(CommonOptions, total=False):
    """What may be said at the publish of one event, instead of what its class says.

    Attributes:
        key: what the partition is chosen by; ``None`` for no key.
        partition: instead of the partitioner's choice.
        timestamp: of the record: milliseconds, or an aware ``datetime``; default: now.
    """

    key: Any
    partition: int | None
    timestamp: int | datetime | None


class Intake:
    """Makes entries out of events, with one publisher's encoder and profiles.

    Attributes:
        recorder: told of each, in its caller's context.
    """

    def __init__(self, encoder: Encoder, profiles: Profiles) -> None:
        self._encoder = encoder
        self._profiles = profiles
        self.recorder: Recorder = NoOpRecorder()

    def entry(
        self, event: Event | Record, options: PublishOptions, now: float, *, scoped: bool, group: object | None = None
    ) -> Entry:
        """Return *event* as an entry that starts *now*; *scoped*: within the enclosing cancel scope too.

        Takes what it needs out of *options*.

        Raises:
            UsageError: neither an `Event` nor a `Record`, or an option of the wrong type.
            ConfigurationError: an option with a wrong value.
            SerializationError: the event has no form on the wire.
            EventTooLargeError: no request can hold the event.
            UnavailableError: the budget around the call is spent already.
        """
        try:
            entry = self._entry(event, options, now, scoped=scoped)
        except EventPubError as error:
            if isinstance(error, PublishError):
                self.recorder.refused(error, group, now)
            # Crash reports show local variables: those of the frames below, and what the caller passed
            # on to here, are key, payload and headers.
            cast("dict[str, object]", options).clear()
            raise error.with_traceback(None) from error.__cause__
        headers, entry.token = self.recorder.started(event, entry.record, group)
        if headers:
            entry.add_headers(headers)
        return entry

    def _entry(self, event: Any, options: Any, now: float, *, scoped: bool) -> Entry:
        said = timeout = None
        if options:
            _check_known(options)
            said, timeout = options.pop("profile", None), options.pop("timeout", None)
        event_class = type(event)
        # pydantic's isinstance() takes 0.5 µs: it is asked once for each class.
        if event_class in self._encoder.plans or isinstance(event, Event):
            record, size = self._encoder.encode_sized(event, options)
            event_id = event.envelope.id
            profile = self._profiles.of(event_class) if said is None else self._profiles.named(said)
        else:
            check_kind(event)
            record = self._encoder.complete(event, **options)
            size, event_id = record.size, record.event_id
            profile = self._profiles.default if said is None else self._profiles.named(said)
        limit = _limit(scoped=scoped)
        deadline = min(limit, now + profile.delivery_timeout)
        if timeout is not None:
            deadline = min(deadline, now + as_seconds("timeout", timeout))
        if deadline <= now:
            text = f"{record.topic}: the budget around this publish was already spent; nothing was sent"
            raise UnavailableError(text, event_id=event_id, topic=record.topic, reason="budget", record=event)
        entry = Entry(event, event_id, record, size, profile, now, deadline, limit)
        if entry.size > MAX_REQUEST_BYTES and profile.compression == "none":
            # A broker closes the connection of a request beyond its socket.request.max.bytes
            # instead of answering: sent, such an event would end as possibly persisted.
            most = f"no request takes more than {MAX_REQUEST_BYTES}"
            text = f"{record.topic}: the event has {entry.size} bytes, {most}; make it smaller, or use compression"
            raise EventTooLargeError(text, event_id=event_id, topic=record.topic, record=event)
        return entry


def several(events: Iterable[Event | Record]) -> list[Event | Record]:
    """Return *events* as a list, all of a kind that can be published.

    Raises:
        UsageError: some are not, or it is a single one.
    """
    if isinstance(events, (Event, Record)) or not isinstance(events, Iterable):  # both are iterable, by their fields
        raise UsageError(f"events: expected several, got one {type(events).__name__}; await publish() for one event")
    events = list(events)
    for event in events:
        check_kind(event)
    return events


def _check_known(options: PublishOptions) -> None:
    unknown = options.keys() - PublishOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(PublishOptions.__annotations__))
        raise TypeError(f"publish() got an unexpected option {', '.join(sorted(unknown))}; the options are {known}")


def check_kind(event: object) -> None:
    """Refuse what cannot be published.

    Raises:
        UsageError: neither an `Event` nor a `Record`.
    """
    if not isinstance(event, (Event, Record)):
        raise UsageError(f"event: expected an Event or a Record, got {type(event).__name__}")


def _limit(*, scoped: bool) -> float:
    """Return when the caller must have been told at the latest: the end of the budgets around the call (rule 4)."""
    enclosing = ENCLOSING_DEADLINE.get()
    limit = _NEVER if enclosing is None else enclosing
    # anyio loads what runs its scopes with the first of them; before that there is none to
    # ask about, and asking costs 1.6 µs of about 22. (A scope that is overlooked fails tests.)
    if scoped and "anyio._backends._asyncio" in sys.modules:
        return min(limit, current_effective_deadline() - _BEFORE_CANCELLATION)
    return limit
