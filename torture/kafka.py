"""The arena of Apache Kafka: one node or three, behind a proxy that breaks connections; nodes that crash and hang."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from support import faults as proxied
from support import readback
from support.fault_proxy import FaultProxy
from support.kafka_frames import Api
from support.kafka_node import ApacheKafka, Layout
from support.readback import ReadRecord
from torture.fault import Aim, Fault
from torture.plan import Pace, Plan
from torture.senses import Senses
from torture.wire import open_connections

T = TypeVar("T")

PACE = Pace(
    span=1.0,
    windows=(0.3, 1.0, 1.0, 4.0),
    delivery=(3.0, 8.0, 20.0),
    request=(1.0, 3.0),
    budgets=(None, None, None, None, None, 0.3, 2.0),
    drains=(0.0, 1.0, 8.0),
    latencies=(0.0,),
    largest=40,
    recovery=8.0,
    settling=1.5,
    patience=20.0,
    keeping=(0.5, 2.0, 5.0),
    sinks=(("spool",), ("topic",), ("topic", "spool"), ("spool", "topic")),
)
_IN_SYNC = 60.0  # seconds until all replicas have to be back
_BETWEEN_READS = 0.3  # seconds


class Cluster:
    """Nodes that run for as long as the arena, and the proxy before them."""

    def __init__(self, directory: Path, layout: Layout) -> None:
        self.kafka = ApacheKafka(directory, layout, heap="256m")
        self.proxy = FaultProxy({})
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self._running.enter_context(self.kafka)
        self.proxy = self._running.enter_context(FaultProxy(self.kafka.routes))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


class KafkaWorld:
    """The topics that one episode has on a cluster."""

    def __init__(self, cluster: Cluster, names: Mapping[str, str]) -> None:
        self.kafka = cluster.kafka
        self.proxy = cluster.proxy
        self.names = names
        self.senses = Senses()
        self.hooks: Sequence[object] = (self.senses,)
        self.in_force: dict[Aim, list[proxied.Fault]] = {}
        self.victims: dict[Aim, int] = {}

    @property
    def target(self) -> str:
        """The proxy's address."""
        return self.proxy.url

    def create(self, plan: Plan) -> None:
        """Create the topics of *plan*."""
        for topic in (*plan.topics, *plan.letter_topics):
            config = {"max.message.bytes": str(topic.max_message_bytes)}
            if topic.compacted:
                config["cleanup.policy"] = "compact"
            name = self.names[topic.name]
            readback.create_topic(self.kafka.bootstrap_servers, name, topic.partitions, config=config)
            self._wait_until_led(name)

    def _wait_until_led(self, topic: str) -> None:
        # A leader is in the metadata some milliseconds before it knows itself that it is one, and
        # brokers hear of a topic one after the other. Who can read it has found them all.
        patience = time.monotonic() + _IN_SYNC
        while True:
            try:
                readback.read_topic(self.kafka.bootstrap_servers, topic)
            except KafkaException:
                if time.monotonic() > patience:
                    raise
                time.sleep(0.1)
            else:
                return

    def effects(self, counter: str) -> int:
        """Return what the proxy counted, or the publisher felt."""
        return self.proxy.effects[counter] + self.senses.counts[counter]

    def free(self, aim: Aim) -> bool:
        """Whether nothing that *aim* asked for is in force, or all of it came to its end."""
        return all(fault.over for fault in self.in_force.get(aim, ()))

    def waited(self) -> None:
        """Count it as felt."""
        self.senses.counts["felt"] += 1

    async def leader(self, aim: Aim) -> int:
        """Return the broker that leads the partition aimed at, or else the first one."""
        topic, servers = self.names[aim.topic], self.kafka.bootstrap_servers
        leader = -1
        with suppress(KafkaException):  # where the only node is away
            leader = await asyncio.to_thread(readback.leader, servers, topic, aim.partition, timeout=3)
        return leader if leader > 0 else self.kafka.brokers[0]

    async def heal(self) -> None:
        """Let everything work that was broken, and wait until all replicas have caught up."""
        for faults in self.in_force.values():
            for fault in faults:
                if isinstance(fault, proxied.Held):
                    fault.release()
        await asyncio.sleep(0.05)
        await asyncio.to_thread(self._restore)
        self.victims.clear()

    def _restore(self) -> None:
        self.proxy.heal()
        self.kafka.restore()
        self._wait_in_sync()

    def _wait_in_sync(self) -> None:
        patience = time.monotonic() + _IN_SYNC
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers, "log_level": 0})
        while not self._in_sync(admin):
            if time.monotonic() > patience:
                raise TimeoutError(f"replicas are not in sync after {_IN_SYNC:g} s")
            time.sleep(0.1)

    def _in_sync(self, admin: AdminClient) -> bool:
        topics = admin.list_topics(timeout=10).topics
        return all(
            partition.leader >= 0 and len(partition.isrs) == len(self.kafka.brokers)
            for name in self.names.values()
            for partition in topics[name].partitions.values()
        )

    async def read(self, topic: str) -> Sequence[ReadRecord]:
        """Return what librdkafka reads, past the proxy, once it is the same twice.

        A node that was started just now may take itself for the leader that it was, and end its log where
        its last checkpoint of the high watermark was.
        """
        records = await self._read_once(topic)
        while True:
            await asyncio.sleep(_BETWEEN_READS)
            before, records = records, await self._read_once(topic)
            if len(records) == len(before):
                return records

    async def _read_once(self, topic: str) -> Sequence[ReadRecord]:
        return await asyncio.to_thread(readback.read_topic, self.kafka.bootstrap_servers, topic, timeout=30)

    async def readable(self) -> bool:
        """Whether no node is away."""
        return not self.victims

    async def leftovers(self) -> Sequence[str]:
        """Return connections to the proxy that are still open."""
        return await open_connections(self.proxy.bootstrap_servers)

    async def close(self) -> None:
        """Leave the topics: who knows what still reads them."""
        await self.heal()


class KafkaArena:
    """Plays on one node where a plan wants one broker, else on three."""

    name = "kafka"
    pace = PACE
    limit = 240.0
    deduplicates = True

    def __init__(self) -> None:
        self.faults: Mapping[str, Fault[KafkaWorld]] = FAULTS
        self._run = uuid.uuid4().hex[:6]
        self._running = ExitStack()
        self._clusters: dict[Layout, Cluster] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def run(self, episode: Coroutine[Any, Any, T]) -> T:
        """Run *episode* in real time."""
        return asyncio.run(episode)

    async def world(self, plan: Plan) -> KafkaWorld:
        """Return new topics on the cluster that *plan* wants."""
        layout: Layout = "one" if plan.brokers == 1 else "three"
        topics = (*plan.topics, *plan.letter_topics)
        names = {topic.name: self.real_topic(plan, topic.name) for topic in topics}
        world = KafkaWorld(await asyncio.to_thread(self._cluster, layout), names)
        await asyncio.to_thread(world.create, plan)
        return world

    def real_topic(self, plan: Plan, topic: str) -> str:
        """Return a name that no other episode has."""
        name, dot, suffix = topic.partition(".")  # of a dead-letter topic: it is called after the other
        return f"{name}-{self._run}-{plan.seed}{dot}{suffix}"

    def _cluster(self, layout: Layout) -> Cluster:
        if layout not in self._clusters:
            directory = Path(self._running.enter_context(TemporaryDirectory(prefix="torture-")))
            self._clusters[layout] = self._running.enter_context(Cluster(directory, layout))
        return self._clusters[layout]


# --- what can be broken: connections --------------------------------------------------------

Ask = Callable[[FaultProxy, Aim], proxied.Fault]
AskOf = Callable[[FaultProxy, Aim, int | None], proxied.Fault]


def _passing(verb: str, ask: Ask) -> Fault[KafkaWorld]:
    """Return a fault of single answers and requests: whichever comes next."""

    def strike(world: KafkaWorld, aim: Aim) -> None:
        if world.free(aim):
            world.in_force.setdefault(aim, []).append(ask(world.proxy, aim))

    return Fault(strike, verb, _stop)


def _lasting(verb: str, ask: AskOf) -> Fault[KafkaWorld]:
    """Return a fault before the broker that leads the partition aimed at, or before all."""

    async def strike(world: KafkaWorld, aim: Aim) -> None:
        broker = None if aim.broker is None else await world.leader(aim)
        _stop(world, aim)  # what had no effect so far: the leader may be another one by now
        world.in_force.setdefault(aim, []).append(ask(world.proxy, aim, broker))

    return Fault(strike, verb, _stop)


def _stop(world: KafkaWorld, aim: Aim) -> None:
    for fault in world.in_force.get(aim, ()):
        if isinstance(fault, proxied.Held):
            fault.release()
        else:
            fault.stop()


def _some_api(aim: Aim) -> int | None:
    return aim.chance.choice([Api.PRODUCE, Api.PRODUCE, None])


# --- what can be broken: nodes ----------------------------------------------------------------


def _to_leader(act: str) -> Callable[[KafkaWorld, Aim], Coroutine[Any, Any, None]]:
    """Do something to the node that leads the partition aimed at, once.

    A clean restart may pass without anybody's noticing, which is as it should be: the effect is that
    the node is gone, and that an event was published to its partition meanwhile.
    """

    async def strike(world: KafkaWorld, aim: Aim) -> None:
        if aim in world.victims:
            world.senses.counts["node"] += 1  # the bait has been laid out
            return
        world.victims[aim] = await world.leader(aim)
        await asyncio.to_thread(getattr(world.kafka, act), world.victims[aim])

    return strike


async def _start_again(world: KafkaWorld, aim: Aim) -> None:
    if (node := world.victims.get(aim)) is not None:
        await asyncio.to_thread(world.kafka.start_node, node)
        world.victims.pop(aim, None)


async def _resume(world: KafkaWorld, aim: Aim) -> None:
    if (node := world.victims.pop(aim, None)) is not None:
        world.kafka.resume(node)


FAULTS: Mapping[str, Fault[KafkaWorld]] = {
    "ack lost": _passing("lose_next_ack", lambda proxy, _: proxy.lose_next_ack()),
    "ack swallowed": _passing("swallow_next_ack", lambda proxy, _: proxy.swallow_next_ack()),
    "request held back": _passing("hold_next_request", lambda proxy, _: proxy.hold_next_request()),
    "reply cut": _passing(
        "cut_next_reply", lambda proxy, aim: proxy.cut_next_reply(aim.chance.randrange(40), api=_some_api(aim))
    ),
    "request cut": _passing(
        "cut_next_request", lambda proxy, aim: proxy.cut_next_request(aim.chance.randrange(200), api=_some_api(aim))
    ),
    "reply garbled": _passing(
        "garble_next_reply",
        lambda proxy, aim: proxy.garble_next_reply(seed=aim.chance.randrange(2**31), api=_some_api(aim)),
    ),
    "reply misnumbered": _passing(
        "misnumber_next_reply", lambda proxy, aim: proxy.misnumber_next_reply(api=_some_api(aim))
    ),
    "reply of a wrong size": _passing(
        "missize_next_reply",
        lambda proxy, aim: proxy.missize_next_reply(aim.chance.choice([-1, 3, 2**31 - 1]), api=_some_api(aim)),
    ),
    "one byte at a time": _passing(
        "trickle", lambda proxy, aim: proxy.trickle(0.02, replies=aim.chance.random() < 0.5, api=Api.PRODUCE)
    ),
    "black hole": _lasting("black_hole", lambda proxy, _, broker: proxy.black_hole(broker=broker)),
    "slow network": _lasting(
        "latency",
        lambda proxy, aim, broker: proxy.latency(aim.chance.choice([0.02, 0.2, 0.6]), 0.1, broker=broker),
    ),
    "nothing read": _lasting("stop_reading", lambda proxy, _, broker: proxy.stop_reading(broker=broker)),
    "connections refused": _lasting("refuse", lambda proxy, _, broker: proxy.refuse(broker=broker)),
    "port closed": _lasting("close_port", lambda proxy, _, broker: proxy.close_port(broker=broker)),
    "connections reset": _lasting("reset_connections", lambda proxy, _, broker: proxy.reset_connections(broker=broker)),
    "leader killed": Fault(_to_leader("kill"), "node", _start_again, replicated=True),
    "leader hangs": Fault(_to_leader("pause"), "node", _resume, replicated=True),
    "leader restarted": Fault(_to_leader("terminate"), "node", _start_again, replicated=True),
}
