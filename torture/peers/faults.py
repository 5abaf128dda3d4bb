"""What is done to the cluster while the contenders publish. Each fault is a function that ends when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from support.fault_proxy import FaultProxy
from support.kafka_node import ApacheKafka
from torture.peers import topics
from torture.peers.load import Load
from torture.peers.topics import Layout

BUDGET = 6.0
"""Seconds that each publish may take."""

CLOSE_TIMEOUT = 5.0
"""Seconds that a close may take."""

BEYOND = BUDGET + 2
_ACKS_ONE = ("aiokafka defaults",)  # asks the leader only, so it does not feel that replicas are missing
VICTIM = 1  # the node that is killed, paused or alone has the replica


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault may lay hands on. ``topics`` are those of the contenders that publish now."""

    kafka: ApacheKafka
    proxy: FaultProxy
    topics: tuple[str, ...]

    async def heal(self) -> None:
        """Take back whatever was done, and return when every partition has all its replicas."""
        self.proxy.heal()
        await asyncio.to_thread(self.kafka.restore)
        for topic in self.topics:
            await asyncio.to_thread(topics.wait_until_in_sync, self.kafka.bootstrap_servers, topic)


Strike = Callable[[Scene], Awaitable[object]]


async def nothing(_scene: Scene) -> None:
    """Leave everything as it is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table.

    Attributes:
        name: what it is called on the command line.
        title: what it is called in the table.
        strike: does it, while the load runs.
        load: what is published meanwhile.
        before: prepares the cluster before anything is published.
        layout: where the replicas of the topic are.
        config: settings of the topic.
        together: all contenders feel it at once; else one after the other, on an idle cluster.
        brokers: how many it needs.
        felt: at least one call of each contender must have taken so many seconds, or failed: else it had no effect.
        unfelt_by: contenders whom it does not concern.
        closing: close while it lasts, instead of afterwards.
        watch: seconds for which the log is watched after the close.
    """

    name: str
    title: str
    strike: Strike = nothing
    load: Load = field(default=Load())
    before: Strike = nothing
    layout: Layout = Layout.REPLICATED
    config: tuple[tuple[str, str], ...] = ()
    together: bool = False
    brokers: int = 1
    felt: float = 0.0
    unfelt_by: tuple[str, ...] = ()
    closing: bool = False
    watch: float = 2.0


async def lose_acks(scene: Scene) -> None:
    """Drop the answers to three Produce requests, and close their connections."""
    await scene.proxy.lose_next_ack(times=3).happened(3)


async def swallow_acks(scene: Scene) -> None:
    """Drop the answers to three Produce requests, and keep their connections open."""
    await scene.proxy.swallow_next_ack(times=3).happened(3)


async def kill_leader(scene: Scene) -> None:
    """Kill the node that leads two of the four partitions. It stays away."""
    await asyncio.to_thread(scene.kafka.kill, VICTIM)


async def pause_leader(scene: Scene) -> None:
    """Freeze that node for longer than the budget."""
    scene.kafka.pause(VICTIM)
    await asyncio.sleep(BEYOND)
    scene.kafka.resume(VICTIM)


async def leave_leaderless(scene: Scene) -> None:
    """Kill the node that has the only replica, for longer than the budget."""
    await asyncio.to_thread(scene.kafka.kill, VICTIM)
    await asyncio.sleep(BEYOND)
    await asyncio.to_thread(scene.kafka.start_node, VICTIM)


async def one_follower_less(scene: Scene) -> None:
    """Freeze a node until it is out of sync everywhere."""
    scene.kafka.pause(3)
    for topic in scene.topics:
        await asyncio.to_thread(topics.wait_until_in_sync, scene.kafka.bootstrap_servers, topic, 2)


def demand_more_replicas(seconds: float) -> Strike:
    """Demand one more replica than is in sync (NOT_ENOUGH_REPLICAS), for a while."""

    async def strike(scene: Scene) -> None:
        # Not by the frozen node: whoever asks it first waits for seconds.
        bootstrap, _, _ = scene.kafka.bootstrap_servers.rpartition(",")
        await asyncio.to_thread(topics.demand_in_sync, bootstrap, scene.topics, 3)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(topics.demand_in_sync, bootstrap, scene.topics, 2)

    return strike


def go_away(seconds: float) -> Strike:
    """Reset every connection and refuse new ones, for a while. The brokers themselves go on."""

    async def strike(scene: Scene) -> None:
        gone = scene.proxy.close_port()
        await asyncio.sleep(seconds)
        gone.stop()

    return strike


FAULTS = (
    Fault("none", "none", together=True),
    Fault("lost-ack", "3 acknowledgements lost, connection closed", lose_acks),
    Fault("swallowed-ack", "3 acknowledgements swallowed, connection open", swallow_acks, felt=1.0),
    Fault(
        "rejected",
        "one record too large for the topic",
        load=Load(poison=True),
        config=(("max.message.bytes", "20000"),),
        together=True,
        felt=99,
    ),
    Fault("cancelled", "300 callers cancelled within 20 ms", load=Load(keys=300, cancelled=True), together=True),
    Fault("crowd", "20,000 publishes at once", load=Load(keys=20_000, events=1, pause=0)),
    Fault("leader-killed", "leader killed", kill_leader, together=True, brokers=3, felt=1.0),
    Fault("leader-paused", f"leader frozen for {BEYOND:g} s", pause_leader, together=True, brokers=3, felt=1.0),
    Fault(
        "leaderless",
        f"topic without a leader for {BEYOND:g} s and more",
        leave_leaderless,
        layout=Layout.ALONE,
        config=(("min.insync.replicas", "1"),),
        together=True,
        brokers=3,
        felt=BUDGET - 1,
    ),
    Fault(
        "too-few-replicas",
        "NOT_ENOUGH_REPLICAS for 3 s",
        demand_more_replicas(3),
        load=Load(events=30),
        before=one_follower_less,
        layout=Layout.TWO_LEADERS,
        unfelt_by=_ACKS_ONE,
        together=True,
        brokers=3,
        felt=1.0,
    ),
    Fault(
        "too-few-replicas-for-long",
        f"NOT_ENOUGH_REPLICAS for {BEYOND:g} s",
        demand_more_replicas(BEYOND),
        load=Load(events=30),
        before=one_follower_less,
        layout=Layout.TWO_LEADERS,
        unfelt_by=_ACKS_ONE,
        together=True,
        brokers=3,
        felt=BUDGET - 1,
    ),
    Fault("away", "brokers away for 2 s", go_away(2), together=True, felt=1.0),
    Fault("away-for-long", f"brokers away for {BEYOND:g} s", go_away(BEYOND), together=True, felt=BUDGET - 1),
    Fault("closing", "close while the brokers are away", go_away(600), together=True, closing=True, watch=8.0),
)
"""The rows, in the order of the table."""
