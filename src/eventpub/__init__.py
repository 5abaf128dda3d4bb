"""Publish events to Kafka from asyncio, and know what became of each.

Every event handed to `Publisher.publish` ends in exactly one known outcome, inside its time
budget, and the caller is told which: *persisted*, *not persisted*, or *possibly persisted*.
"""

from importlib import import_module as _load
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventpub._engine.drain import DrainReport
    from eventpub._engine.pending import PendingDelivery
    from eventpub._engine.reports import DeliveryReports
    from eventpub.abc import Serializer
    from eventpub.budget import delivery_budget
    from eventpub.buffer import BufferLimits
    from eventpub.config import KafkaConfig
    from eventpub.delivery import Attempt, AttemptOutcome, Delivery, PersistenceStatus
    from eventpub.emits import emits
    from eventpub.envelope import Envelope
    from eventpub.event import Event
    from eventpub.exceptions import (
        BufferFullError,
        ConfigurationError,
        DeadLetterError,
        EventPubError,
        EventTooLargeError,
        Finding,
        InvalidRecordError,
        NotPersistedError,
        PossiblyPersistedError,
        PublisherClosed,
        PublisherNotOpen,
        PublishError,
        RejectedError,
        SerializationError,
        StartError,
        TopicAuthorizationError,
        UnavailableError,
        UnknownTopicError,
        UsageError,
    )
    from eventpub.profile import CRITICAL, STANDARD, TELEMETRY, DeliveryProfile, RetryPolicy
    from eventpub.publisher import Publisher
    from eventpub.record import Record
    from eventpub.registry import EventRegistry
    from eventpub.state import Health, PublisherState
    from eventpub.statistics import PublisherStatistics

__all__ = [
    "CRITICAL",
    "STANDARD",
    "TELEMETRY",
    "Attempt",
    "AttemptOutcome",
    "BufferFullError",
    "BufferLimits",
    "ConfigurationError",
    "DeadLetterError",
    "Delivery",
    "DeliveryProfile",
    "DeliveryReports",
    "DrainReport",
    "Envelope",
    "Event",
    "EventPubError",
    "EventRegistry",
    "EventTooLargeError",
    "Finding",
    "Health",
    "InvalidRecordError",
    "KafkaConfig",
    "NotPersistedError",
    "PendingDelivery",
    "PersistenceStatus",
    "PossiblyPersistedError",
    "PublishError",
    "Publisher",
    "PublisherClosed",
    "PublisherNotOpen",
    "PublisherState",
    "PublisherStatistics",
    "Record",
    "RejectedError",
    "RetryPolicy",
    "SerializationError",
    "Serializer",
    "StartError",
    "TopicAuthorizationError",
    "UnavailableError",
    "UnknownTopicError",
    "UsageError",
    "delivery_budget",
    "emits",
]

# Loaded when asked for: all of it takes 0.35 s, and `eventpub --help` or a test that only needs
# `eventpub.testing` a part. The imports above tell type checkers the same.
_HOMES = {
    "eventpub._engine.drain": ("DrainReport",),
    "eventpub._engine.pending": ("PendingDelivery",),
    "eventpub._engine.reports": ("DeliveryReports",),
    "eventpub.abc": ("Serializer",),
    "eventpub.budget": ("delivery_budget",),
    "eventpub.buffer": ("BufferLimits",),
    "eventpub.config": ("KafkaConfig",),
    "eventpub.delivery": (
        "Attempt",
        "AttemptOutcome",
        "Delivery",
        "PersistenceStatus",
    ),
    "eventpub.emits": ("emits",),
    "eventpub.envelope": ("Envelope",),
    "eventpub.event": ("Event",),
    "eventpub.exceptions": (
        "BufferFullError",
        "ConfigurationError",
        "DeadLetterError",
        "EventPubError",
        "EventTooLargeError",
        "Finding",
        "InvalidRecordError",
        "NotPersistedError",
        "PossiblyPersistedError",
        "PublisherClosed",
        "PublisherNotOpen",
        "PublishError",
        "RejectedError",
        "SerializationError",
        "StartError",
        "TopicAuthorizationError",
        "UnavailableError",
        "UnknownTopicError",
        "UsageError",
    ),
    "eventpub.profile": (
        "CRITICAL",
        "STANDARD",
        "TELEMETRY",
        "DeliveryProfile",
        "RetryPolicy",
    ),
    "eventpub.publisher": ("Publisher",),
    "eventpub.record": ("Record",),
    "eventpub.registry": ("EventRegistry",),
    "eventpub.state": (
        "Health",
        "PublisherState",
    ),
    "eventpub.statistics": ("PublisherStatistics",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(_load(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
