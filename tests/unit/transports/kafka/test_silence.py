"""A broker that says nothing is noticed, and left where another one leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from eventpub.abc import Acked, InDoubt, Rejected, Stamp, TopicPartition, WireBatch
from eventpub.transports.kafka.errors import NoAnswerError, TransportClosedError
from eventpub.transports.kafka.pool import Pool
from eventpub.transports.kafka.silence import SilenceWatch
from tests.unit.transports.kafka.fakes import (
    HERE,
    STAMPED,
    THERE,
    FakeConnect,
    FakeLink,
    batch,
    partition,
    send,
    settle,
)

UNSTAMPED = batch().stamp


class World:
    """A pool of two brokers, the leaders as the test says, and what was asked for when."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.link = FakeLink()
        self.connect = FakeConnect([self.link])
        self.pool = Pool(self.connect, self, lambda: None)
        self.pool.update({1: HERE, 2: THERE})
        self.leaders = {partition(0): 1, partition(1): 1, partition(0, "u"): 2}
        self.refreshed: list[tuple[float, set[str]]] = []
        self.late: list[TopicPartition] = []
        self.watch = SilenceWatch(self.pool, self.leaders, self)

    def refresh(self, topics: Iterable[str], /) -> None:
        """Keep what the brokers would be asked for."""
        self.refreshed.append((self.loop.time(), set(topics)))

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        """Keep what came late."""
        self.late.append(partition)

    def on_rejected(self, partition: TopicPartition, code: int, /) -> None:
        """Nobody asks."""

    async def send(self, number: int, stamp: Stamp = STAMPED) -> asyncio.Task[object]:
        """Write a batch to broker 1, which the watch is told of."""
        outbox = self.pool.outbox(1, "all")
        outbox.line.want()
        await settle()
        self.watch.begin()
        task: asyncio.Task[object] = self.loop.create_task(send(outbox, partition(number), batch(stamp=stamp), 30.0))
        await settle()
        return task


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Start it, and leave nothing behind."""
    world = World()
    yield world
    world.watch.close()
    world.pool.close(TransportClosedError("closed"))
    await world.pool.wait_closed()


async def test_who_answers_is_not_asked_about(world: World) -> None:
    """A healthy broker costs no metadata, and when all is quiet no timer is left."""
    task = await world.send(0)
    await asyncio.sleep(0.9)
    world.link.written[0].answer()
    await task
    before = world.loop.time()
    await asyncio.sleep(5)
    assert world.loop.time() == before + 5
    assert world.refreshed == []
    assert not world.watch.looking


async def test_leaders_are_asked_for_while_a_request_is_unanswered(world: World) -> None:
    """Twice a second after the first one, only for the topics which that broker leads."""
    await world.send(0)
    await asyncio.sleep(3.2)
    assert [round(at, 1) for at, _ in world.refreshed] == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert {frozenset(topics) for _, topics in world.refreshed} == {frozenset({"t"})}


async def test_leaders_are_asked_for_while_a_connect_hangs(world: World) -> None:
    """A frozen broker's system still accepts connections, and nothing fails for all of connect_timeout."""
    world.connect.plan = [10.0]
    world.pool.outbox(1, "all").line.want()
    world.watch.begin()
    await asyncio.sleep(2.2)
    assert [round(at, 1) for at, _ in world.refreshed] == [1.0, 1.5, 2.0]


async def test_a_batch_does_not_wait_for_a_leader_that_is_none_any_more(world: World) -> None:
    """It ends in doubt, and the new leader knows it again; its neighbour's leader stayed."""
    moved, stays = await world.send(0), await world.send(1)
    world.leaders[partition(0)] = 2
    await asyncio.sleep(1.2)
    result = moved.result()
    assert isinstance(result, InDoubt)
    assert isinstance(result.cause, NoAnswerError)
    assert str(result.cause) == "here:9092 did not answer, and does not lead t[0] any more"
    assert not stays.done()
    assert world.link.usable


async def test_an_answer_after_all_is_a_late_one(world: World) -> None:
    """The broker was slow, not dead."""
    await world.send(0)
    world.leaders[partition(0)] = 2
    await asyncio.sleep(1.2)
    world.link.written[0].answer()
    assert world.late == [partition(0)]


async def test_without_idempotence_the_answer_is_waited_for(world: World) -> None:
    """Sent to the new leader it could be written twice, so leaving early would gain nothing."""
    task = await world.send(0, UNSTAMPED)
    world.leaders[partition(0)] = 2
    await asyncio.sleep(3)
    assert not task.done()


async def test_closed_it_looks_no_more(world: World) -> None:
    """No timer outlives the transport."""
    await world.send(0)
    world.watch.close()
    world.watch.begin()
    await asyncio.sleep(3)
    assert world.refreshed == []
