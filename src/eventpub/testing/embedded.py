"""A broker that speaks the Kafka protocol over TCP, in this process, with nothing to install.

It is librdkafka's mock cluster: a real wire, and a log kept in memory. What it does not do
decides what may be tested with it, and is told in `EmbeddedKafka`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import NoReturn, Self

from eventpub.exceptions import UsageError
from eventpub.testing import _librdkafka
from eventpub.testing._librdkafka import DISCONNECT, EVERY_BROKER, NOBODY, PRODUCE

_FOREVER = 24 * 60 * 60.0


class EmbeddedKafka:
    """A Kafka-protocol cluster on the loopback interface. Use as ``with EmbeddedKafka() as kafka:``.

    It starts in a few milliseconds. All methods may be called from any thread, also on an
    event loop: each takes a millisecond or two, whatever its clients do.

    What it is not:

    - It does **not deduplicate**: a batch that is sent again is written again, and sequences
      and epochs are not checked. Nothing about exactly-once can be shown with it; use
      ``MemoryBroker`` or Apache Kafka.
    - It answers requests sent with acks=0, which Kafka never does, and every answer claims the
      append time 1234 ms after 1970. The log keeps the records' own timestamps.
    - It has no ACLs, SASL, TLS, quotas, size limits or in-sync replicas. Faults are injected
      before anything is written.
    - A topic that nobody created comes into being, with four partitions, when a client asks
      for it and allows that (librdkafka's producers do; eventpub does not: there it stays
      unknown). Create topics with `create_topic`: admin requests are not understood.
    """

    def __init__(self, brokers: int = 1) -> None:
        """Plan a cluster of *brokers* brokers, with ids from 1; nothing runs yet."""
        if brokers < 1:
            raise UsageError(f"a cluster has at least one broker, not {brokers}")
        self.brokers = brokers
        self._running: _librdkafka.MockCluster | None = None
        self._latency: dict[int, float] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_running", None) is not None:
            warnings.warn(f"{self!r} was never closed", ResourceWarning, stacklevel=1, source=self)
            self.close()

    def __repr__(self) -> str:
        where = self._running.bootstrap_servers if self._running else "not running"
        return f"<EmbeddedKafka {where}>"

    def start(self) -> None:
        """Start the brokers, on ports that are free.

        Raises:
            UsageError: it runs already, or confluent-kafka (the extra ``broker``) is missing.
        """
        if self._running is not None:
            raise UsageError(f"{self!r} runs already")
        self._running = _librdkafka.MockCluster(self.brokers)

    def close(self) -> None:
        """Break every connection and end the brokers; their logs are gone. Safe to call twice."""
        cluster, self._running, self._latency = self._running, None, {}
        if cluster is not None:
            cluster.destroy()

    @property
    def bootstrap_servers(self) -> str:
        """``host:port,host:port``, one for each broker; the same for as long as it runs."""
        return self._cluster.bootstrap_servers

    @property
    def url(self) -> str:
        """The target for a ``Publisher``: ``kafka://host:port``."""
        return f"kafka://{self.bootstrap_servers}"

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic, replicated over up to three brokers.

        Raises:
            UsageError: there is such a topic, or *partitions* is less than one.
        """
        if partitions < 1:
            raise UsageError(f"a topic has at least one partition, not {partitions}")
        self._cluster.call("topic_create", name.encode(), partitions, min(3, self.brokers))

    def reject_next(self, code: int, times: int = 1) -> None:
        """Answer the next *times* produce requests with Kafka's error *code*, and write nothing.

        Every batch of such a request gets the code, whichever broker it reaches.
        """
        if code <= 0:
            raise UsageError(f"{code} is none of Kafka's error codes: those are greater than zero")
        self._push(code, times)

    def drop_next(self, times: int = 1) -> None:
        """Lose the next *times* produce requests: nothing is written, and the connection breaks."""
        self._push(DISCONNECT, times)

    def forget_script(self) -> None:
        """Take back every ``_next`` that has not happened yet."""
        self._cluster.clear_errors(PRODUCE)

    def down(self, broker: int | None = None) -> None:
        """Break the connections of a broker (default: of all), and refuse new ones.

        It keeps its log, its port and its leaderships.
        """
        self._cluster.call("broker_set_down", self._id(broker))

    def up(self, broker: int | None = None) -> None:
        """Let a broker (default: all) accept connections again."""
        self._cluster.call("broker_set_up", self._id(broker))

    def pause(self, broker: int | None = None) -> None:
        """Withhold every answer of a broker (default: of all) until `resume`.

        Connections stay open, and what is sent meanwhile *is* written.
        """
        self._set_latency(broker, _FOREVER)

    def resume(self, broker: int | None = None) -> None:
        """Send the answers that `pause` withheld, and go on."""
        for each in self._meant(broker):
            # An answer that is not due yet would keep the timer it got during the pause: of a day.
            self._set_latency(each, 0.0)
            if latency := self._latency.get(each):
                self._set_latency(each, latency)

    def latency(self, seconds: float, broker: int | None = None) -> None:
        """Let a broker (default: all) answer *seconds* after a request came; 0 is at once."""
        if seconds < 0:
            raise UsageError(f"a latency cannot be negative: {seconds}")
        for each in self._meant(broker):
            self._latency[each] = seconds
        self._set_latency(broker, seconds)

    def leaderless(self, topic: str, partition: int) -> None:
        """Leave a partition without a leader, until `leader_back` or `move_leader`.

        A topic that does not exist is created.
        """
        self._set_leader(topic, partition, NOBODY)

    def leader_back(self, topic: str, partition: int) -> None:
        """Give a partition a leader again."""
        self.move_leader(topic, partition, partition % self.brokers + 1)

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        """Let *broker* lead a partition. A topic that does not exist is created."""
        self._set_leader(topic, partition, self._id(broker))

    def lose_next_ack(self, *_: object, **__: object) -> NoReturn:
        """Refuse: whether a resend is dropped is what a lost ack is about, and it is not here."""
        raise UsageError(
            "EmbeddedKafka does not deduplicate, so after a lost ack it would show a duplicate "
            "that Apache Kafka drops: use MemoryBroker, or Apache Kafka behind a proxy. "
            "(drop_next() loses the request instead.)"
        )

    @property
    def _cluster(self) -> _librdkafka.MockCluster:
        if self._running is None:
            raise UsageError("EmbeddedKafka is not running: `with EmbeddedKafka() as kafka:`")
        return self._running

    def _push(self, code: int, times: int) -> None:
        if times < 1:
            raise UsageError(f"times={times}: a fault happens at least once")
        self._cluster.push_errors(PRODUCE, [code] * times)

    def _meant(self, broker: int | None) -> Iterable[int]:
        return range(1, self.brokers + 1) if broker is None else (self._id(broker),)

    def _id(self, broker: int | None) -> int:
        if broker is None:
            return EVERY_BROKER
        if not 1 <= broker <= self.brokers:
            raise UsageError(f"there is no broker {broker}: their ids are 1 to {self.brokers}")
        return broker

    def _set_latency(self, broker: int | None, seconds: float) -> None:
        self._cluster.call("broker_set_rtt", self._id(broker), round(seconds * 1000))

    def _set_leader(self, topic: str, partition: int, broker: int) -> None:
        self._cluster.call("partition_set_leader", topic.encode(), partition, broker)
