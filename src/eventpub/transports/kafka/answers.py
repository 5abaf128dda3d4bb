"""What goes to a broker and what comes back, as values: nothing here knows how it looks on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from eventpub.abc import Acked, Rejected, TopicPartition
from eventpub.config import Address
from eventpub.transports.kafka.errors import ConnectionFault

Topics = list[tuple[str, list[tuple[int, bytes]]]]
"""What a Produce request carries: topic, partition, encoded batch."""


class TopicMetadata(NamedTuple):
    """What a metadata answer says about one topic: an error code, or each partition's leader."""

    topic: str
    code: int
    leaders: dict[int, int | None]


class ClusterMetadata(NamedTuple):
    """A metadata answer: where the brokers listen now, and the topics asked for."""

    brokers: dict[int, Address]
    topics: tuple[TopicMetadata, ...]


class ProduceAnswer(NamedTuple):
    """An answer to a Produce request; with acks=0 an empty one, when the socket took the bytes."""

    results: Mapping[TopicPartition, Acked | Rejected]
    throttle: float


class ProduceReply(Protocol):
    """Whoever waits for a Produce answer. Both are called from the reader and must not raise."""

    def answered(self, answer: ProduceAnswer, /) -> None:
        """The broker answered; or, with acks=0, the socket took the bytes."""

    def lost(self, fault: ConnectionFault, /) -> None:
        """No answer will come."""
