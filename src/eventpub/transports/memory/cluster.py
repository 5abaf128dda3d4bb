"""A Kafka cluster that works: topics, brokers, producer ids, and its answers to clients."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Protocol

from eventpub.abc import Acked, Acks, ProducerId, Rejected, TopicPartition
from eventpub.exceptions import UsageError
from eventpub.transports.memory.log import LoggedRecord, PartitionLog
from eventpub.transports.memory.node import Node
from eventpub.transports.memory.purgatory import Purgatory
from eventpub.transports.memory.request import Entry, Request, Results
from eventpub.transports.memory.topic import Partition, Topic, TopicConfig

UNKNOWN_TOPIC_OR_PARTITION = 3
TOPIC_AUTHORIZATION_FAILED = 29

FIRST_PRODUCER_ID = 1000


class Observer(Protocol):
    """A client of the cluster, told when looking again may help."""

    def on_change(self) -> None:
        """Something about brokers, leaders or topics is different now."""


def wall_clock() -> int:
    """Return the milliseconds since the epoch."""
    return time.time_ns() // 1_000_000  # noqa: TID251 - a broker judges timestamps by its own clock


@dataclass(eq=False, repr=False)
class Cluster:
    """Topics spread over brokers, one event loop at a time, shared by any number of clients.

    Args:
        brokers: how many, with ids from 1; leaders are spread over them in turn.
        partitions: of a topic that comes into being by its first use.
        auto_create: whether first use creates a topic. A deleted one stays deleted.
        now: milliseconds since the epoch, to judge and to make timestamps of records.

    Attributes:
        received: requests by kind: ``produce``, ``metadata``, ``producer_id``.
        injected: effects by the verb that caused them. A verb without one is no evidence.
    """

    brokers: int = 1
    partitions: int = 4
    auto_create: bool = True
    now: Callable[[], int] = wall_clock
    received: Counter[str] = field(default_factory=Counter, init=False)
    injected: Counter[str] = field(default_factory=Counter, init=False)
    _nodes: dict[str, Node] = field(init=False)
    _topics: dict[str, Topic] = field(default_factory=dict, init=False)
    _deleted: set[str] = field(default_factory=set, init=False)
    _observers: dict[Observer, None] = field(default_factory=dict, init=False)
    _purgatory: Purgatory = field(init=False)
    _producer_ids: int = field(default=FIRST_PRODUCER_ID, init=False)
    _appends: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.brokers < 1:
            raise UsageError(f"a cluster has at least one broker, not {self.brokers}")
        names = [f"memory:{number}" for number in range(1, self.brokers + 1)]
        self._nodes = {name: Node(name, self._carry, self._serve, self.injected) for name in names}
        self._purgatory = Purgatory(self._reply)

    def __repr__(self) -> str:
        up = sum(node.answers for node in self._nodes.values())
        return f"<{type(self).__name__} {up} of {self.brokers} brokers answer, topics: {len(self._topics)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """What results call the brokers, in the order of their ids (from 1)."""
        return tuple(self._nodes)

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        *,
        max_message_bytes: int = 1_048_588,
        compacted: bool = False,
        log_append_time: bool = False,
    ) -> None:
        """Create a topic whose leaders are spread over the brokers in turn.

        Args:
            name: of a topic that is not there yet.
            partitions: how many, at least one.
            max_message_bytes: the largest batch; a larger one is refused with code 10.
            compacted: a record without a key is refused with code 87.
            log_append_time: records carry the broker's time instead of the client's.

        Raises:
            UsageError: there is such a topic, or *partitions* is less than one.
        """
        if partitions < 1:
            raise UsageError(f"a topic has at least one partition, not {partitions}")
        if name in self._topics:
            raise UsageError(f"there is a topic {name!r} already")
        self._deleted.discard(name)
        config = TopicConfig(max_message_bytes, compacted, log_append_time)
        topic = self._topics[name] = Topic(name, config)
        self._grow(topic, partitions)

    def delete_topic(self, name: str) -> None:
        """Delete a topic with its records and producer state; first use does not bring it back."""
        self._topic(name)
        for partition in self._topics.pop(name).partitions:
            self._purgatory.catch_up(partition.log.partition)
        self._deleted.add(name)
        self._changed()

    def add_partitions(self, name: str, total: int) -> None:
        """Let topic *name* have *total* partitions; clients that know it learn of it at once."""
        self._grow(self._topic(name), total)

    def records(self, topic: str | None = None, partition: int | None = None) -> tuple[LoggedRecord, ...]:
        """Return what a consumer would read, in the order in which it was appended.

        Without a name, of all topics. An unknown topic is an empty one. What replicas lack is not
        there yet.
        """
        ranked = [pair for log in self._logs(topic, partition) for pair in log.records()]
        return tuple(record for _, record in sorted(ranked, key=itemgetter(0)))

    def count(self, topic: str) -> int | None:
        """Return how many partitions *topic* has, or ``None`` if there is no such topic."""
        found = self._topics.get(topic)
        return None if found is None else len(found.partitions)

    def leader_of(self, topic: str, partition: int) -> int | None:
        """Return the id of the broker that leads a partition, or ``None`` while nobody does."""
        leader = self._partition(topic, partition).leader
        return None if leader is None else self.names.index(leader) + 1

    # What clients ask.

    def answering(self) -> Node | None:
        """Return a broker that would answer now, or ``None``."""
        return next((node for node in self._nodes.values() if node.answers), None)

    def refusal(self) -> str | None:
        """Return why the brokers refuse this client, if they do."""
        return next((node.refusal for node in self._nodes.values() if node.refusal), None)

    def troubles(self) -> tuple[str, ...]:
        """Say of each broker that would not answer now why not."""
        return tuple(f"{node.name} {node.trouble}" for node in self._nodes.values() if node.trouble)

    def turn_away(self) -> None:
        """Count a client that found no broker to ask."""
        for node in self._nodes.values():
            node.turn_away()

    def describe(self, topic: str) -> int | Rejected:
        """Answer a metadata request: the number of partitions, or a code."""
        self.received["metadata"] += 1
        if topic not in self._topics and self.auto_create and topic not in self._deleted:
            self.create_topic(topic, self.partitions)
        found = self._topics.get(topic)
        if found is None:
            return Rejected(None, UNKNOWN_TOPIC_OR_PARTITION)
        if found.denied:
            self.injected["deny"] += 1
            return Rejected(None, TOPIC_AUTHORIZATION_FAILED)
        return len(found.partitions)

    def allocate_producer_id(self) -> ProducerId | Rejected:
        """Answer an InitProducerId request: a new id, at epoch 0."""
        self.received["producer_id"] += 1
        self._producer_ids += 1
        return ProducerId(self._producer_ids, 0)

    def exists(self, partition: TopicPartition) -> bool:
        """Whether there is such a partition."""
        return self._find(partition) is not None

    def has_leader(self, partition: TopicPartition) -> bool:
        """Whether a metadata answer would name a leader of *partition*."""
        found = self._find(partition)
        return found is not None and found.leader is not None and self._nodes[found.leader].up

    def leader(self, partition: TopicPartition) -> Node | None:
        """Return the broker that leads *partition*; ``None`` while nobody does, or none exists."""
        found = self._find(partition)
        if found is None:
            return None
        if found.leader is None:
            self.injected["leaderless"] += 1
            return None
        return self._nodes[found.leader]

    def send(self, request: Request) -> None:
        """Write *request* to the broker it is for."""
        self._nodes[request.broker].write(request)

    def attach(self, observer: Observer) -> None:
        """Tell *observer* of changes, until `detach`."""
        self._observers[observer] = None

    def detach(self, observer: Observer) -> None:
        """Tell *observer* nothing more."""
        self._observers.pop(observer, None)

    # What becomes of a request.

    def _carry(self, node: Node, request: Request) -> None:
        node.carry(request)

    def _serve(self, node: Node, request: Request) -> None:
        self.received["produce"] += 1
        results = [self._handle(node, entry, request.acks) for entry in request.entries]
        if request.acks == 0:
            # Nobody waits for an answer: closing the connection is all a broker can say.
            if any(isinstance(result, Rejected) for result in results):
                error = ConnectionResetError(f"{node.name} refused a batch sent with acks=0")
                request.client.lose(error)
        elif request.acks == "all" and self._purgatory.admit(node, request, results):
            self.injected["stall_replication"] += 1
        else:
            self._reply(node, request, results)

    def _reply(self, node: Node, request: Request, results: Results) -> None:
        node.reply(request, results)

    def _handle(self, node: Node, entry: Entry, acks: Acks) -> Acked | Rejected:
        topic = self._topics.get(entry.partition.topic)
        if topic is not None and topic.denied:
            self.injected["deny"] += 1
            return Rejected(node.name, TOPIC_AUTHORIZATION_FAILED)
        partition = self._find(entry.partition)
        if partition is None:
            return Rejected(node.name, UNKNOWN_TOPIC_OR_PARTITION)
        self._appends += 1
        return partition.handle(node.name, entry.batch, acks, self.now(), self._appends)

    def _grow(self, topic: Topic, total: int) -> None:
        for number in range(len(topic.partitions), total):
            topic.add_partition(self.names[number % len(self.names)])
        self._changed()

    def _topic(self, name: str) -> Topic:
        if name not in self._topics:
            raise UsageError(f"there is no topic {name!r}; create_topic() makes one")
        return self._topics[name]

    def _partition(self, topic: str, partition: int) -> Partition:
        self._topic(topic)
        found = self._find(TopicPartition(topic, partition))
        if found is None:
            raise UsageError(f"topic {topic!r} has no partition {partition}")
        return found

    def _find(self, partition: TopicPartition) -> Partition | None:
        topic = self._topics.get(partition.topic)
        if topic is None or not 0 <= partition.partition < len(topic.partitions):
            return None
        return topic.partitions[partition.partition]

    def _logs(self, topic: str | None, partition: int | None) -> Iterator[PartitionLog]:
        for found in self._topics.values():
            for each in found.partitions if topic in {None, found.name} else ():
                if partition in {None, each.log.partition.partition}:
                    yield each.log

    def _changed(self) -> None:
        for observer in tuple(self._observers):
            observer.on_change()
