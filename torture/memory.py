"""The arena of `MemoryBroker`: every fault it knows, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from eventpub import Publisher
from eventpub.testing import MemoryBroker
from eventpub.transports.memory import LoggedRecord, MemoryTransport
from support import virtual_time
from support.no_callbacks import NoCallbacks
from torture.fault import Aim, Fault, nothing
from torture.plan import Pace, Plan, TopicPlan

T = TypeVar("T")

RETRIABLE = (3, 5, 9, 19)
DOUBTFUL = (-1, 6, 7, 20, 56)
AFTER_THE_APPEND = (3, 6, 7, 20, 56)
FOR_GOOD = (17, 29, 35, 44)
OF_A_RECORD = (2, 10, 18, 32, 87)
OF_THE_SEQUENCE = (45, 47, 59)

PACE = Pace(
    span=4.0,
    windows=(0.1, 1.0, 1.0, 4.0, 40.0),
    delivery=(0.3, 1.0, 5.0, 5.0, 30.0),
    request=(0.2, 1.0, 10.0),
    budgets=(None, None, None, None, None, 0.02, 0.3, 2.0, 6.0),
    drains=(0.0, 0.5, 5.0, 40.0),
    latencies=(0.0, 0.0, 0.002, 0.02, 0.15),
    largest=40,
    recovery=5.0,
    settling=120.0,
    patience=150.0,
    keeping=(0.2, 1.0, 5.0, 5.0),
    sinks=(("topic",), ("shelf",), ("shelf",), ("topic", "shelf"), ("shelf", "topic"), ("shelf", "shelf", "shelf")),
)


class MemoryWorld:
    """One `MemoryBroker`."""

    hooks: Sequence[object] = ()

    def __init__(self, plan: Plan) -> None:
        self.broker = MemoryBroker(brokers=plan.brokers, auto_create=False)
        self.broker.latency(plan.latency)
        self._callbacks = plan.callbacks
        self.done: Counter[str] = Counter()  # effects that the broker does not count itself
        self.publisher: Publisher | None = None
        self._scripted: set[Aim] = set()
        self._topics = {topic.name: topic for topic in (*plan.topics, *plan.letter_topics)}
        self._deleted: dict[str, list[LoggedRecord]] = {topic: [] for topic in self._topics}
        for topic in self._topics.values():
            self.create(topic)

    @property
    def target(self) -> MemoryBroker | NoCallbacks:
        """The broker itself, or a transport that a user might have written."""
        return self.broker if self._callbacks else NoCallbacks(MemoryTransport(self.broker))

    def create(self, topic: TopicPlan) -> None:
        """Create a topic as planned."""
        self.broker.create_topic(
            topic.name, topic.partitions, max_message_bytes=topic.max_message_bytes, compacted=topic.compacted
        )

    def recreate(self, topic: str) -> None:
        """Create a topic anew that was deleted."""
        if self.broker.count(topic) is None:
            self.create(self._topics[topic])

    def delete(self, topic: str) -> None:
        """Delete a topic; what was in it counts as read."""
        self._deleted[topic] += self.broker.records(topic)
        self.broker.delete_topic(topic)
        self.done["delete_topic"] += 1

    def effects(self, counter: str) -> int:
        """Return what the broker counted, or the world itself."""
        return self.broker.injected[counter] + self.done[counter]

    def waited(self) -> None:
        """Make nothing of it: the broker counts what it does."""

    async def heal(self) -> None:
        """Let every broker and topic work, and every request arrive."""
        for topic in self._topics:
            self.recreate(topic)
        self.broker.heal()
        self.broker.release()

    async def read(self, topic: str) -> Sequence[LoggedRecord]:
        """Return what is in the log, and what was in the one deleted before."""
        return [*self._deleted[topic], *self.broker.records(topic)]

    async def readable(self) -> bool:
        """Return true: a log in memory can always be read."""
        return True

    async def leftovers(self) -> Sequence[str]:
        """Return nothing: there are no sockets here."""
        return ()

    async def close(self) -> None:
        """Leave it to the garbage collector."""

    def may_script(self, verb: str, aim: Aim) -> bool:
        """Whether to script a fault: the first time, and again if what was scripted came to nothing."""
        first = aim not in self._scripted
        self._scripted.add(aim)
        to_come = self.broker._faults._scripted  # noqa: SLF001 - nobody else tells what is still to come
        return first or not any(fault.effect.verb == verb for fault in to_come)

    async def quiet(self) -> bool:
        """Wait for a moment in which nothing is unconfirmed; whether there was one."""
        assert self.publisher is not None
        for _ in range(50):
            await self.publisher.flush(60)
            if not self.publisher.statistics().unconfirmed:
                return True
        return False


class MemoryArena:
    """Plays thousands of episodes a minute."""

    name = "memory"
    pace = PACE
    limit = 30.0
    deduplicates = True

    def __init__(self) -> None:
        self.faults: Mapping[str, Fault[MemoryWorld]] = FAULTS

    def run(self, episode: Coroutine[Any, Any, T]) -> T:
        """Run *episode* in virtual time."""
        return virtual_time.run(episode)

    async def world(self, plan: Plan) -> MemoryWorld:
        """Return a broker of its own."""
        return MemoryWorld(plan)

    def real_topic(self, _plan: Plan, topic: str) -> str:
        """Return *topic*: every world has its own."""
        return topic


# --- what can be broken ------------------------------------------------------------------


def _aimed(aim: Aim) -> dict[str, Any]:
    """Return the partition that a ``_next`` verb is aimed at, or nothing for whatever comes."""
    return {"topic": aim.topic, "partition": aim.partition} if aim.chance.random() < 0.6 else {}


def _rejection(codes: Sequence[int], *, appended: Sequence[int] = (), named: Sequence[int] = ()) -> Callable[..., None]:
    def strike(world: MemoryWorld, aim: Aim) -> None:
        if not world.may_script("reject_next", aim):
            return
        chance = aim.chance
        code = chance.choice(codes)
        errors = [(chance.randrange(3), "named")] if code in named and chance.random() < 0.7 else []
        world.broker.reject_next(
            code,
            chance.choice([1, 1, 2, 5]),
            **_aimed(aim),
            appended=code in appended and chance.random() < 0.5,
            record_errors=errors,
        )

    return strike


def _script(verb: str, option: str | None = None) -> Callable[[MemoryWorld, Aim], None]:
    def strike(world: MemoryWorld, aim: Aim) -> None:
        if not world.may_script(verb, aim):
            return
        how = {} if option is None else {option: aim.chance.random() < 0.5}
        getattr(world.broker, verb)(aim.chance.choice([1, 1, 2]), **_aimed(aim), **how)

    return strike


def _of_broker(verb: str) -> Callable[[MemoryWorld, Aim], None]:
    """Strike the broker aimed at; all of them where that leads nothing (any more), because nobody would feel it."""

    def strike(world: MemoryWorld, aim: Aim) -> None:
        broker = world.broker
        leads = aim.broker in {None, broker.leader_of(*_led_by(world, aim))}
        getattr(broker, verb)(aim.broker if leads else None)

    return strike


def _of_all_brokers(verb: str) -> Callable[[MemoryWorld, Aim], None]:
    return lambda world, _: getattr(world.broker, verb)()


def _of_partition(verb: str) -> Callable[[MemoryWorld, Aim], None]:
    return lambda world, aim: getattr(world.broker, verb)(aim.topic, aim.partition)


def _led_by(world: MemoryWorld, aim: Aim) -> tuple[str, int]:
    """Return a partition that the broker aimed at leads."""
    broker = world.broker
    for topic in (aim.topic, "alpha", "beta", "gamma"):
        for partition in range(broker.count(topic) or 0):
            if aim.broker in {None, broker.leader_of(topic, partition)}:
                return topic, partition
    return aim.topic, aim.partition


def _release(world: MemoryWorld, _aim: Aim) -> None:
    world.broker.release()


def _refuse(world: MemoryWorld, _aim: Aim) -> None:
    """Refuse clients, those too that were connected: as when a password is revoked."""
    broker = world.broker
    broker.refuse_clients()
    killed = broker.injected["down"]
    broker.down()
    broker.up()
    broker.injected["down"] = killed  # that was no kill


async def _move_leader(world: MemoryWorld, aim: Aim) -> None:
    """Move a leader while requests to it are on their way."""
    broker = world.broker
    broker.latency(0.1)
    await asyncio.sleep(0.02)
    now = broker.leader_of(aim.topic, aim.partition) or 0
    broker.move_leader(aim.topic, aim.partition, now % broker.brokers + 1)


async def _lose_lagging_leader(world: MemoryWorld, aim: Aim) -> None:
    """Let the leader die; who takes over has only what was replicated."""
    broker, at = world.broker, (aim.topic, aim.partition)
    leader = broker.leader_of(*at) or 1
    replicated = len(broker.records(*at))
    broker.down(leader)
    broker.truncate(*at, replicated)
    broker.resume_replication(*at)
    broker.move_leader(*at, leader % broker.brokers + 1)
    await asyncio.sleep(0.5)
    broker.up(leader)


async def _delete_topic(world: MemoryWorld, aim: Aim) -> None:
    """Delete a topic at a moment in which nothing of it is under way."""
    if world.broker.count(aim.topic) is not None and await world.quiet():
        world.delete(aim.topic)


async def _forget_producers(world: MemoryWorld, aim: Aim) -> None:
    """Forget producer ids at a moment in which nothing is under way, as brokers do after a day."""
    if await world.quiet():
        world.broker.forget_producers(aim.topic, aim.partition)


def _add_partitions(world: MemoryWorld, aim: Aim) -> None:
    world.broker.add_partitions(aim.topic, (world.broker.count(aim.topic) or 0) + aim.chance.choice([1, 3]))
    world.done["add_partitions"] += 1


FAULTS: Mapping[str, Fault[MemoryWorld]] = {
    "retriable code": Fault(_rejection(RETRIABLE), "reject_next"),
    "doubtful code": Fault(_rejection(DOUBTFUL, appended=AFTER_THE_APPEND), "reject_next"),
    "permanent code": Fault(_rejection(FOR_GOOD), "reject_next"),
    "guilty record": Fault(_rejection(OF_A_RECORD, named=(32, 87)), "reject_next"),
    "sequence code": Fault(_rejection(OF_THE_SEQUENCE), "reject_next"),
    "ack lost": Fault(_script("lose_next_ack", "disconnect"), "lose_next_ack"),
    "request lost": Fault(_script("drop_next", "disconnect"), "drop_next"),
    "request held back": Fault(_script("hold_next", "late_answer"), "hold_next", _release),
    "nothing sent": Fault(_script("not_sent_next"), "not_sent_next"),
    "broker paused": Fault(_of_broker("pause"), "pause", _of_all_brokers("resume"), _led_by),
    "broker killed": Fault(_of_broker("down"), "down", _of_all_brokers("up"), _led_by),
    "socket full": Fault(_of_broker("clog"), "clog", _of_all_brokers("unclog"), _led_by),
    "slow network": Fault(
        lambda world, aim: world.broker.latency(aim.chance.choice([0.05, 0.4, 3.0]), aim.broker),
        "latency",
        lambda world, aim: world.broker.latency(0.0, aim.broker),
        _led_by,
    ),
    "throttled": Fault(
        lambda world, aim: world.broker.throttle(aim.chance.choice([0.2, 2.0]), aim.broker),
        "throttle",
        lambda world, aim: world.broker.throttle(0.0, aim.broker),
        _led_by,
    ),
    "clients refused": Fault(_refuse, "refuse_clients", lambda world, _: world.broker.accept_clients()),
    "no leader": Fault(_of_partition("leaderless"), "leaderless", _of_partition("leader_back")),
    "leader moved": Fault(_move_leader, "move_leader", lambda world, _: world.broker.latency(0.0), brokers=2),
    "too few replicas": Fault(
        _of_partition("not_enough_replicas"), "not_enough_replicas", _of_partition("enough_replicas")
    ),
    "replicas lag": Fault(_of_partition("stall_replication"), "stall_replication", _of_partition("resume_replication")),
    "lagging leader lost": Fault(
        _of_partition("stall_replication"),
        "stall_replication",
        _lose_lagging_leader,
        brokers=2,
        alone=True,
        replicated=True,
    ),
    "not authorised": Fault(
        lambda world, aim: world.broker.deny(aim.topic),
        "deny",
        lambda world, aim: world.broker.allow(aim.topic),
    ),
    "no producer id": Fault(
        lambda world, _: world.broker.deny_producer_ids(),
        "deny_producer_ids",
        lambda world, _: world.broker.allow_producer_ids(),
        early=True,
    ),
    "topic deleted": Fault(_delete_topic, "delete_topic", lambda world, aim: world.recreate(aim.topic), alone=True),
    "partitions added": Fault(_add_partitions, "add_partitions", nothing),
    "producers forgotten": Fault(_forget_producers, "forget_producers", nothing, alone=True),
}
