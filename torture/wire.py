"""The arena of `EmbeddedKafka`: the real protocol over TCP, in real time.

It writes resends again, so that an event may be there once per attempt; and it takes every
record, however large or late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import psutil

from eventpub.testing import EmbeddedKafka
from support import readback
from support.readback import ReadRecord
from torture.fault import Aim, Fault
from torture.plan import Pace, Plan
from torture.senses import Senses

T = TypeVar("T")

RETRIABLE = (5, 9, 19)
DOUBTFUL = (6, 7, 20, 56)
FOR_GOOD = (17, 29, 35, 44)
OF_A_RECORD = (2, 10, 18, 32, 87)
OF_THE_SEQUENCE = (45, 47, 59)

PACE = Pace(
    span=0.4,
    windows=(0.1, 0.3, 1.0),
    delivery=(1.5, 3.0, 6.0),
    request=(1.0, 1.5),
    budgets=(None, None, None, None, None, 0.3, 1.0),
    drains=(0.0, 0.5, 4.0),
    latencies=(0.0, 0.0, 0.005, 0.02),
    largest=25,
    recovery=4.0,
    settling=0.3,
    patience=15.0,
    keeping=(0.5, 2.0, 5.0),
    sinks=(("spool",), ("topic",), ("topic", "spool"), ("spool", "topic")),
)


class WireWorld:
    """One `EmbeddedKafka`."""

    def __init__(self, plan: Plan) -> None:
        self.kafka = EmbeddedKafka(plan.brokers)
        self.kafka.start()
        self.kafka.latency(plan.latency)
        self.senses = Senses()
        self.hooks: Sequence[object] = (self.senses,)
        self._latency = plan.latency
        self.leaders: dict[tuple[str, int], int] = {}
        topics = (*plan.topics, *plan.letter_topics)
        self._partitions = [(topic.name, n) for topic in topics for n in range(topic.partitions)]
        for topic in topics:
            self.kafka.create_topic(topic.name, topic.partitions)
        self._leaders_back()  # it spreads them in an order of its own

    @property
    def target(self) -> str:
        """Its address."""
        return self.kafka.url

    def effects(self, counter: str) -> int:
        """Return what the publisher felt."""
        return self.senses.counts[counter]

    def waited(self) -> None:
        """Count it as felt."""
        self.senses.counts["felt"] += 1

    async def heal(self) -> None:
        """Let every broker work."""
        kafka = self.kafka
        kafka.forget_script()
        kafka.up()
        kafka.latency(self._latency)
        self._leaders_back()

    def _leaders_back(self) -> None:
        for topic, partition in self._partitions:
            self.leaders[topic, partition] = partition % self.kafka.brokers + 1
            self.kafka.leader_back(topic, partition)

    async def read(self, topic: str) -> Sequence[ReadRecord]:
        """Return what librdkafka reads."""
        return await asyncio.to_thread(readback.read_topic, self.kafka.bootstrap_servers, topic)

    async def readable(self) -> bool:
        """Return false: brokers may still be down, and a read would wait for them."""
        return False

    async def leftovers(self) -> Sequence[str]:
        """Return connections to the brokers that are still open."""
        return await open_connections(self.kafka.bootstrap_servers)

    async def close(self) -> None:
        """End the brokers."""
        self.kafka.close()


class WireArena:
    """Plays several episodes a second, side by side."""

    name = "wire"
    pace = PACE
    limit = 60.0
    deduplicates = False

    def __init__(self) -> None:
        self.faults: Mapping[str, Fault[WireWorld]] = FAULTS

    def run(self, episode: Coroutine[Any, Any, T]) -> T:
        """Run *episode* in real time."""
        return asyncio.run(episode)

    async def world(self, plan: Plan) -> WireWorld:
        """Return a cluster of its own."""
        return WireWorld(plan)

    def real_topic(self, _plan: Plan, topic: str) -> str:
        """Return *topic*: every world has its own."""
        return topic


async def open_connections(servers: str) -> list[str]:
    """Return this process's connections to *servers*, after a moment in which the kernel may tidy up."""
    ports = {int(server.rsplit(":", 1)[1]) for server in servers.split(",")}
    found: list[str] = []
    for _ in range(20):
        connections = psutil.Process().net_connections(kind="tcp")
        found = [
            f"socket {c.laddr.port} -> {c.raddr.port} {c.status}"
            for c in connections
            if c.raddr and c.raddr.port in ports and c.fd >= 0
        ]
        if not found:
            break
        await asyncio.sleep(0.05)
    return found


def _rejection(codes: Sequence[int]) -> Callable[[WireWorld, Aim], None]:
    def strike(world: WireWorld, aim: Aim) -> None:
        world.kafka.forget_script()
        world.kafka.reject_next(aim.chance.choice(codes), aim.chance.choice([1, 1, 2, 5]))

    return strike


def _drop(world: WireWorld, aim: Aim) -> None:
    world.kafka.forget_script()
    world.kafka.drop_next(aim.chance.choice([1, 1, 2]))


def _move_leader(world: WireWorld, aim: Aim) -> None:
    """Give the partition to somebody whom the client does not take for its leader."""
    at = aim.topic, aim.partition
    world.leaders[at] = world.leaders[at] % world.kafka.brokers + 1
    world.kafka.move_leader(*at, world.leaders[at])


def _leader_back(world: WireWorld, aim: Aim) -> None:
    world.kafka.leader_back(aim.topic, aim.partition)


FAULTS: Mapping[str, Fault[WireWorld]] = {
    "retriable code": Fault(_rejection(RETRIABLE), "refused", lambda world, _: world.kafka.forget_script()),
    "doubtful code": Fault(_rejection(DOUBTFUL), "refused", lambda world, _: world.kafka.forget_script()),
    "permanent code": Fault(_rejection(FOR_GOOD), "refused", lambda world, _: world.kafka.forget_script()),
    "guilty record": Fault(_rejection(OF_A_RECORD), "refused", lambda world, _: world.kafka.forget_script()),
    "sequence code": Fault(_rejection(OF_THE_SEQUENCE), "refused", lambda world, _: world.kafka.forget_script()),
    "request lost": Fault(_drop, "lost", lambda world, _: world.kafka.forget_script()),
    "broker killed": Fault(
        lambda world, aim: world.kafka.down(aim.broker), "felt", lambda world, aim: world.kafka.up(aim.broker)
    ),
    "broker paused": Fault(
        lambda world, aim: world.kafka.pause(aim.broker), "felt", lambda world, aim: world.kafka.resume(aim.broker)
    ),
    "slow network": Fault(
        lambda world, aim: world.kafka.latency(0.4, aim.broker),
        "felt",
        lambda world, aim: world.kafka.latency(0.0, aim.broker),
    ),
    "no leader": Fault(lambda world, aim: world.kafka.leaderless(aim.topic, aim.partition), "felt", _leader_back),
    "leader moved": Fault(_move_leader, "refused", _leader_back, brokers=2),
}
