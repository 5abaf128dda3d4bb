"""A cluster that can be broken on demand: the verbs of fault injection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from eventpub.abc import Acked, Acks, ProducerId, Rejected, TopicPartition
from eventpub.exceptions import UsageError
from eventpub.transports.memory.cluster import Cluster
from eventpub.transports.memory.faults import (
    Drop,
    Effect,
    Fault,
    Faults,
    Hold,
    LoseAck,
    NotSend,
    OnTheWayThere,
    OnTheWire,
    Reject,
)
from eventpub.transports.memory.node import Node
from eventpub.transports.memory.request import Entry, Request, Results
from eventpub.transports.memory.topic import NOT_ENOUGH_REPLICAS, NOT_LEADER_OR_FOLLOWER

UNKNOWN_SERVER_ERROR = -1
CLUSTER_AUTHORIZATION_FAILED = 31


@dataclass(eq=False, repr=False)
class MemoryBroker(Cluster):
    """A Kafka cluster in this process, for tests.

    It checks sequences, epochs and the last five batches of each producer as Apache Kafka
    does, so that a publisher which is right here is right there. Nothing in it is random, and
    it waits by the event loop's clock only, so runs repeat exactly under a virtual one. It is
    plain single-threaded code: call its verbs from the loop's own thread.

    Verbs ending in ``_next`` hit the next ``times`` requests that carry a batch of the named
    topic and partition (of any, if not named); a request shares its fate among all its
    batches, as it does on a socket. The other verbs hold until they are taken back.
    ``broker=`` is an id from 1; without it every broker is meant. ``injected`` counts what
    each verb has brought about: a verb without an effect proves nothing.

    Args:
        brokers: how many, with ids from 1; leaders are spread over them in turn.
        partitions: of a topic that comes into being by its first use.
        auto_create: whether first use creates a topic; without it, only `create_topic` does.
        now: milliseconds since the epoch, to judge and to make timestamps of records.
    """

    _faults: Faults = field(default_factory=Faults, init=False)
    _held: list[Request] = field(default_factory=list, init=False)
    _ids_denied: bool = field(default=False, init=False)

    # The next request, or batch of one.

    def reject_next(
        self,
        code: int,
        times: int = 1,
        topic: str | None = None,
        partition: int | None = None,
        *,
        appended: bool = False,
        record_errors: Iterable[tuple[int, str]] = (),
    ) -> None:
        """Let the leader answer *code* to the next batch.

        With *appended* it writes the batch first and tells the offset, as Kafka does when 3,
        6 or 7 come after the append; else it writes nothing.
        """
        if code == 0 or code < UNKNOWN_SERVER_ERROR:
            raise UsageError(f"{code} is none of Kafka's error codes")
        effect = Reject(code, appended, tuple(record_errors))
        self._faults.add(Fault(effect, times, topic, partition))

    def lose_next_ack(
        self,
        times: int = 1,
        topic: str | None = None,
        partition: int | None = None,
        *,
        disconnect: bool = True,
    ) -> None:
        """Let the answer to the next request get lost after it was served.

        The connection breaks with it; without *disconnect* the client waits out its deadline.
        """
        self._faults.add(Fault(LoseAck(disconnect), times, topic, partition))

    def drop_next(
        self,
        times: int = 1,
        topic: str | None = None,
        partition: int | None = None,
        *,
        disconnect: bool = True,
    ) -> None:
        """Let the next request get lost on its way: written by the client, read by nobody."""
        self._faults.add(Fault(Drop(disconnect), times, topic, partition))

    def hold_next(
        self,
        times: int = 1,
        topic: str | None = None,
        partition: int | None = None,
        *,
        late_answer: bool = False,
    ) -> None:
        """Keep the next request in the network until `release`.

        The client gives up at its deadline and closes the connection, so that it never sees
        the answer; with *late_answer* it keeps it, and is told late.
        """
        self._faults.add(Fault(Hold(late_answer), times, topic, partition))

    def release(self) -> int:
        """Let all held requests arrive, in order; return how many there were."""
        held, self._held = self._held, []
        for request in held:
            node = self._nodes[request.broker]
            request.incarnation = node.incarnation
            node.arrive(request)
        return len(held)

    def not_sent_next(self, times: int = 1, topic: str | None = None, partition: int | None = None) -> None:
        """Let the client fail to write the next batch."""
        self._faults.add(Fault(NotSend(), times, topic, partition))

    def forget_script(self) -> None:
        """Take back every ``_next`` that has not happened yet."""
        self._faults.clear()

    # Brokers.

    def pause(self, broker: int | None = None) -> None:
        """Stop a broker (SIGSTOP): connections stay, nothing is read or answered."""
        for node in self._meant(broker):
            node.paused = True

    def resume(self, broker: int | None = None) -> None:
        """Let a paused broker go on, beginning with what came meanwhile."""
        for node in self._meant(broker):
            node.resume()
        self._changed()

    def down(self, broker: int | None = None) -> None:
        """Kill a broker: its connections break, its partitions keep it as their leader."""
        for node in self._meant(broker):
            node.down()
        self._changed()

    def up(self, broker: int | None = None) -> None:
        """Start a killed broker again, with its logs as they were."""
        for node in self._meant(broker):
            node.up = True
        self._changed()

    def clog(self, broker: int | None = None) -> None:
        """Let the sockets to a broker take no more bytes."""
        for node in self._meant(broker):
            node.clog()

    def unclog(self, broker: int | None = None) -> None:
        """Let the sockets to a broker take bytes again."""
        for node in self._meant(broker):
            node.unclog()

    def latency(self, seconds: float, broker: int | None = None) -> None:
        """Let a round trip take that long: a request is appended after half of it."""
        for node in self._meant(broker):
            node.latency = _checked_seconds(seconds)

    def throttle(self, seconds: float, broker: int | None = None) -> None:
        """Let each answer ask for that many seconds of silence on its connection (a quota)."""
        for node in self._meant(broker):
            node.throttle = _checked_seconds(seconds)

    def refuse_clients(self, reason: str = "authentication failed") -> None:
        """Refuse who connects from now on; connections that are there stay."""
        for node in self._meant(None):
            node.refusal = reason
        self._changed()

    def accept_clients(self) -> None:
        """Take `refuse_clients` back."""
        for node in self._meant(None):
            node.refusal = None
        self._changed()

    # Partitions.

    def leaderless(self, topic: str, partition: int) -> None:
        """Leave a partition without a leader; its former one answers code 6."""
        self._partition(topic, partition).leader = None
        self._changed()

    def leader_back(self, topic: str, partition: int) -> None:
        """Give a partition the leader it was created with."""
        self.move_leader(topic, partition, partition % self.brokers + 1)

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        """Let *broker* lead a partition; log and producer state move with it."""
        (node,) = self._meant(broker)
        self._partition(topic, partition).leader = node.name
        self._changed()

    def not_enough_replicas(self, topic: str, partition: int) -> None:
        """Let acks=all on a partition be refused with code 19, duplicates included."""
        self._partition(topic, partition).enough_replicas = False

    def enough_replicas(self, topic: str, partition: int) -> None:
        """Take `not_enough_replicas` back."""
        self._partition(topic, partition).enough_replicas = True

    def stall_replication(self, topic: str, partition: int) -> None:
        """Let the followers of a partition stand still.

        Batches are appended, consumers do not see them, and acks=all gets no answer until the
        followers go on or the request's own timeout makes it code 7, with the offset. All
        batches of the same request wait with it.
        """
        log = self._partition(topic, partition).log
        log.replicated = log.end_offset if log.replicated is None else log.replicated
        self._purgatory.lagging.add(log.partition)

    def resume_replication(self, topic: str, partition: int) -> None:
        """Let the followers catch up."""
        log = self._partition(topic, partition).log
        log.replicated = None
        self._purgatory.catch_up(log.partition)

    def truncate(self, topic: str, partition: int, offset: int) -> None:
        """Lose what reaches beyond *offset*, as when a follower that lags becomes the leader."""
        self._partition(topic, partition).log.truncate(offset)
        self.injected["truncate"] += 1

    def forget_producers(self, topic: str, partition: int) -> None:
        """Forget all producer ids on a partition, as happens when they expire."""
        self._partition(topic, partition).log.forget_producers()
        self.injected["forget_producers"] += 1

    # Permissions.

    def deny(self, topic: str) -> None:
        """Refuse *topic* to everybody: code 29 for its batches and its metadata."""
        self._topic(topic).denied = True
        self._changed()

    def allow(self, topic: str) -> None:
        """Take `deny` back."""
        self._topic(topic).denied = False
        self._changed()

    def deny_producer_ids(self) -> None:
        """Give out no producer ids: code 31."""
        self._ids_denied = True

    def allow_producer_ids(self) -> None:
        """Take `deny_producer_ids` back."""
        self._ids_denied = False

    def heal(self) -> None:
        """Take every standing fault and the script back. Held requests stay held."""
        self._faults.clear()
        self._ids_denied = False
        for node in self._nodes.values():
            node.heal()
        for topic in self._topics.values():
            topic.heal(self.names)
        for partition in tuple(self._purgatory.lagging):
            self._purgatory.catch_up(partition)
        self._changed()

    # Where they act.

    def allocate_producer_id(self) -> ProducerId | Rejected:
        """Answer an InitProducerId request, unless that is denied."""
        if not self._ids_denied:
            return super().allocate_producer_id()
        self.injected["deny_producer_ids"] += 1
        return Rejected(None, CLUSTER_AUTHORIZATION_FAILED)

    def fails_to_write(self, partition: TopicPartition) -> bool:
        """Whether a client shall fail to write a batch of *partition* now."""
        fault = self._faults.take(NotSend, of=(partition,)) if self._faults else None
        if fault is not None:
            self._count(fault)
        return fault is not None

    def _carry(self, node: Node, request: Request) -> None:
        kind = OnTheWayThere if request.acks == 0 else OnTheWire
        match self._faults.take(kind, of=request.partitions) if self._faults else None:
            case Hold() as fault:
                self._count(fault)
                request.outlives_deadline = fault.late_answer
                self._held.append(request)
            case Drop() as fault:
                self._count(fault)
                if fault.disconnect:
                    request.client.lose(ConnectionResetError("the request got lost"))
            case fault:
                request.lost_ack = fault if isinstance(fault, LoseAck) else None
                super()._carry(node, request)

    def _reply(self, node: Node, request: Request, results: Results) -> None:
        fault = request.lost_ack
        if fault is None or request.abandoned:
            super()._reply(node, request, results)
            return
        self._count(fault)
        if fault.disconnect:
            request.client.lose(ConnectionResetError("the answer got lost"))

    def _handle(self, node: Node, entry: Entry, acks: Acks) -> Acked | Rejected:
        fault = self._faults.take(Reject, of=(entry.partition,)) if self._faults else None
        if fault is None:
            return self._observed(entry, super()._handle(node, entry, acks))
        offset = -1
        if fault.appended:
            appended = super()._handle(node, entry, acks)
            if isinstance(appended, Rejected):
                return appended
            offset = appended.offset
        self._count(fault)
        return Rejected(node.name, fault.code, offset, record_errors=fault.record_errors)

    def _observed(self, entry: Entry, result: Acked | Rejected) -> Acked | Rejected:
        if isinstance(result, Rejected) and result.code == NOT_LEADER_OR_FOLLOWER:
            leader = self.leader_of(*entry.partition)
            self.injected["leaderless" if leader is None else "move_leader"] += 1
        elif isinstance(result, Rejected) and result.code == NOT_ENOUGH_REPLICAS:
            self.injected["not_enough_replicas"] += 1
        return result

    def _count(self, fault: Effect) -> None:
        self.injected[fault.verb] += 1

    def _meant(self, broker: int | None) -> Iterable[Node]:
        if broker is None:
            return tuple(self._nodes.values())
        if not 1 <= broker <= self.brokers:
            raise UsageError(f"there is no broker {broker}: their ids are 1 to {self.brokers}")
        return (self._nodes[self.names[broker - 1]],)


def _checked_seconds(seconds: float) -> float:
    if seconds < 0:
        raise UsageError(f"{seconds} seconds: time does not run backwards")
    return seconds
