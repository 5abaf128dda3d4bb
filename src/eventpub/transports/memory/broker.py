"""A Kafka cluster in this process: topics, brokers, producer ids, and the verbs that break it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from eventpub.abc import Acked, Acks, ProducerId, Rejected, TopicPartition
from eventpub.exceptions import UsageError
from eventpub.transports.memory.log import LoggedRecord, PartitionLog
from eventpub.transports.memory.node import Node
from eventpub.transports.memory.request import Entry, Request
from eventpub.transports.memory.topic import Partition, Topic, TopicConfig

UNKNOWN_TOPIC_OR_PARTITION = 3
TOPIC_AUTHORIZATION_FAILED = 29

FIRST_PRODUCER_ID = 1000


class Observer(Protocol):
    """A transport on this broker, told when looking again may help."""

    def on_change(self) -> None:
        """Something about brokers, leaders or topics is different now."""


@dataclass(slots=True, eq=False)
class MemoryBroker:
    """A cluster that several transports may share, on one event loop at a time.

    It checks sequences, epochs and the last five batches of each producer exactly as Apache
    Kafka does, so that a publisher which is right here is right there. Nothing in it is
    random and it reads no clock but the loop's, save to judge the timestamps of records.

    Args:
        brokers: how many; leaders are spread over them in turn.
        partitions: of a topic that is created by its first use.
        auto_create: whether first use creates a topic. A deleted topic is not created again.
        now: milliseconds since the epoch, for judging and making timestamps.
    """

    brokers: int = 1
    partitions: int = 4
    auto_create: bool = True
    now: Callable[[], int] = field(default=lambda: time.time_ns() // 1_000_000)  # noqa: TID251 - a broker's wall clock
    received: Counter[str] = field(default_factory=Counter, init=False)
    _nodes: dict[str, Node] = field(init=False)
    _topics: dict[str, Topic] = field(default_factory=dict, init=False)
    _deleted: set[str] = field(default_factory=set, init=False)
    _observers: dict[Observer, None] = field(default_factory=dict, init=False)
    _producer_ids: int = field(default=FIRST_PRODUCER_ID, init=False)
    _appends: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        names = [f"memory:{number}" for number in range(1, self.brokers + 1)]
        self._nodes = {name: Node(name, self._handle) for name in names}

    # Topics and what is in them.

    def create_topic(
        self, name: str, partitions: int | None = None, config: TopicConfig = TopicConfig()
    ) -> None:  # noqa: B008 - frozen
        """Create *name*; its leaders are spread over the brokers in turn.

        Raises:
            UsageError: there is such a topic.
        """
        if name in self._topics:
            raise UsageError(f"there is a topic {name!r} already")
        self._deleted.discard(name)
        topic = self._topics[name] = Topic(name, config)
        self._grow(topic, self.partitions if partitions is None else partitions)

    def delete_topic(self, name: str) -> None:
        """Delete *name* with all its records and producer state. First use does not create it again."""
        self._topic(name)
        del self._topics[name]
        self._deleted.add(name)
        self._changed()

    def add_partitions(self, name: str, total: int) -> None:
        """Let topic *name* have *total* partitions; clients learn it at once."""
        self._grow(self._topic(name), total)

    def records(self, topic: str, partition: int | None = None) -> tuple[LoggedRecord, ...]:
        """Return what a consumer would read, in the order in which it was appended.

        An unknown topic is an empty one.
        """
        ranked = [each for log in self._logs(topic, partition) for each in log.records()]
        return tuple(record for _, record in sorted(ranked, key=_rank))

    # What transports ask.

    def describe(self, topic: str) -> int | Rejected:
        """Answer a metadata request: the number of partitions, or the code."""
        self.received["metadata"] += 1
        if topic not in self._topics and self.auto_create and topic not in self._deleted:
            self.create_topic(topic)
        found = self._topics.get(topic)
        if found is None:
            return Rejected(None, UNKNOWN_TOPIC_OR_PARTITION)
        return Rejected(None, TOPIC_AUTHORIZATION_FAILED) if found.denied else len(found.partitions)

    def count(self, topic: str) -> int | None:
        """Return how many partitions *topic* has, ``None`` if there is no such topic."""
        found = self._topics.get(topic)
        return None if found is None else len(found.partitions)

    def answering(self) -> Node | None:
        """Return a broker that would answer now, or ``None``."""
        return next((node for node in self._nodes.values() if node.answers), None)

    def silent(self) -> tuple[str, ...]:
        """Say of each broker that would not answer now why not."""
        return tuple(
            f"{node.name} {'does not answer' if node.up else 'is down'}"
            for node in self._nodes.values()
            if not node.answers
        )

    def allocate_producer_id(self) -> ProducerId:
        """Answer an InitProducerId request: a new id, at epoch 0."""
        self.received["producer_id"] += 1
        self._producer_ids += 1
        return ProducerId(self._producer_ids, 0)

    def exists(self, partition: TopicPartition) -> bool:
        """Whether there is such a partition."""
        return self._find(partition) is not None

    def leader(self, partition: TopicPartition) -> Node | None:
        """Return the broker that leads *partition*, or ``None`` while nobody does."""
        found = self._find(partition)
        return None if found is None or found.leader is None else self._nodes[found.leader]

    def send(self, request: Request) -> None:
        """Carry *request* over the network to the broker it is for."""
        self.received["produce"] += 1
        self._nodes[request.broker].carry(request)

    def attach(self, observer: Observer) -> None:
        """Tell *observer* of changes, until `detach`."""
        self._observers[observer] = None

    def detach(self, observer: Observer) -> None:
        """Tell *observer* nothing more."""
        self._observers.pop(observer, None)

    def _handle(self, node: Node, entry: Entry, acks: Acks) -> Acked | Rejected:
        topic = self._topics.get(entry.partition.topic)
        if topic is not None and topic.denied:
            return Rejected(node.name, TOPIC_AUTHORIZATION_FAILED)
        partition = self._find(entry.partition)
        if partition is None:
            return Rejected(node.name, UNKNOWN_TOPIC_OR_PARTITION)
        self._appends += 1
        return partition.handle(node.name, entry.batch, acks, self.now(), self._appends)

    def _grow(self, topic: Topic, total: int) -> None:
        names = tuple(self._nodes)
        while len(topic.partitions) < total:
            topic.add_partition(names[len(topic.partitions) % len(names)])
        self._changed()

    def _topic(self, name: str) -> Topic:
        if name not in self._topics:
            raise UsageError(f"there is no topic {name!r}: create_topic() makes one")
        return self._topics[name]

    def _find(self, partition: TopicPartition) -> Partition | None:
        topic = self._topics.get(partition.topic)
        if topic is None or not 0 <= partition.partition < len(topic.partitions):
            return None
        return topic.partitions[partition.partition]

    def _logs(self, topic: str, partition: int | None) -> Iterator[PartitionLog]:
        found = self._topics.get(topic)
        for each in found.partitions if found else ():
            if partition is None or each.log.partition.partition == partition:
                yield each.log

    def _changed(self) -> None:
        for observer in tuple(self._observers):
            observer.on_change()


def _rank(ranked: tuple[int, LoggedRecord]) -> int:
    return ranked[0]
