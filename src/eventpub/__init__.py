"""Publish events to Kafka from asyncio, and know what became of each.

Every event handed to `Publisher.publish` ends in exactly one known outcome, inside its time
budget, and the caller is told which: *persisted*, *not persisted*, or *possibly persisted*.
"""

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
