"""When the brokers are asked, and what those who wait get to hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from eventpub.abc import Rejected
from eventpub.config import Address
from eventpub.transports.kafka.answers import ClusterMetadata, TopicMetadata
from eventpub.transports.kafka.contact import Contact
from eventpub.transports.kafka.errors import ConnectionFault, UnreachableError
from eventpub.transports.kafka.metadata import Metadata
from tests.unit.transports.kafka.fakes import HERE, FakeLink, cluster, led, partition, settle

Answers = Callable[[list[str]], ClusterMetadata]


class World:
    """Metadata kept by one broker that answers as the test says."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.link = FakeLink(metadata_answers=self.answer)
        self.fault: ConnectionFault | None = None
        self.told: dict[str, TopicMetadata] = {}
        self.asked: list[tuple[float, list[str]]] = []
        self.brokers: list[Mapping[int, Address]] = []
        self.counts: list[tuple[str, int]] = []
        contact = Contact([HERE], self.connect, 5.0)
        self.metadata = Metadata(contact, self.brokers.append, lambda topic, count: self.counts.append((topic, count)))
        self.task = self.loop.create_task(self.metadata.run())

    async def connect(self, _: Address) -> FakeLink:
        """Answer a connect."""
        if self.fault is not None:
            raise self.fault
        if not self.link.usable:
            self.link = FakeLink(metadata_answers=self.answer)
        return self.link

    def answer(self, topics: list[str]) -> ClusterMetadata:
        """Describe the topics asked for."""
        self.asked.append((self.loop.time(), topics))
        return cluster(*(self.told.get(topic, TopicMetadata(topic, 3, {})) for topic in topics))

    def away(self) -> None:
        """Let no broker answer any more."""
        self.fault = UnreachableError("away")
        self.link.abort(self.fault)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Start it, with the topic ``t`` of two partitions."""
    world = World()
    world.told["t"] = led("t", 2)
    yield world
    world.task.cancel()
    world.metadata.close()
    await asyncio.wait([world.task])


async def test_the_brokers_are_asked_for_at_once(world: World) -> None:
    """Readiness needs no topic."""
    await asyncio.sleep(0.1)
    assert world.metadata.answered
    assert world.brokers == [{1: HERE}]
    assert world.asked[0][1] == []


async def test_a_topic_is_asked_for_when_needed(world: World) -> None:
    """The first publish does not wait for a tick."""
    await asyncio.sleep(0.05)
    began = world.loop.time()
    assert await world.metadata.partitions("t", fresh=False) == 2
    assert world.loop.time() - began < 0.01


async def test_what_is_known_is_not_asked_for(world: World) -> None:
    """The next publish costs no request."""
    await world.metadata.partitions("t", fresh=False)
    asked = len(world.asked)
    assert await world.metadata.partitions("t", fresh=False) == 2
    await asyncio.sleep(1)
    assert len(world.asked) == asked


async def test_a_thousand_waiters_are_one_question(world: World) -> None:
    """One refresh is in flight, and it serves all."""
    counts = await asyncio.gather(*(world.metadata.partitions("t", fresh=False) for _ in range(1000)))
    assert set(counts) == {2}
    assert len(world.asked) <= 2


async def test_fresh_asks_again(world: World) -> None:
    """And an answer that was under way already does not count."""
    await world.metadata.partitions("t", fresh=False)
    world.told["t"] = led("t", 5)
    assert await world.metadata.partitions("t", fresh=True) == 5
    assert world.counts == [("t", 5)]


async def test_an_unknown_topic_is_refused_after_four_answers(world: World) -> None:
    """A second is enough, and no time without an answering broker counts."""
    await asyncio.sleep(0.05)
    began = world.loop.time()
    answer = await world.metadata.partitions("nope", fresh=False)
    assert isinstance(answer, Rejected)
    assert answer.code == 3
    assert 0.75 <= world.loop.time() - began < 1.5


async def test_an_unknown_topic_is_refused_at_once_the_next_time(world: World) -> None:
    """One more answer that says so is enough; and one that knows it is, too."""
    await world.metadata.partitions("nope", fresh=False)
    await asyncio.sleep(1)
    began = world.loop.time()
    assert isinstance(await world.metadata.partitions("nope", fresh=False), Rejected)
    assert world.loop.time() - began < 0.1
    world.told["nope"] = led("nope", 1)
    assert await world.metadata.partitions("nope", fresh=False) == 1


async def test_a_topic_that_comes_late_is_found(world: World) -> None:
    """Created half a second after the first publish: no error."""
    world.loop.call_later(0.5, world.told.update, {"late": led("late", 1)})
    assert await world.metadata.partitions("late", fresh=False) == 1


async def test_nobody_asks_for_refused_topics_any_more(world: World) -> None:
    """A typo is not carried along in every later request."""
    await world.metadata.partitions("nope", fresh=False)
    world.metadata.want_all()
    await asyncio.sleep(1)
    assert "nope" not in world.asked[-1][1]


async def test_time_without_a_broker_does_not_make_a_topic_unknown(world: World) -> None:
    """The wait goes on, and ends when a broker answers."""
    await asyncio.sleep(0.1)
    world.away()
    task = asyncio.create_task(world.metadata.partitions("t", fresh=False))
    await asyncio.sleep(60)
    assert not task.done()
    world.fault = None
    assert await task == 2


async def test_while_nobody_answers_rounds_are_bounded(world: World) -> None:
    """A thousand publishes to new topics do not become a thousand rounds of connects."""
    await asyncio.sleep(0.1)
    world.away()
    rounds: list[float] = []
    connect = world.connect

    async def counted(address: Address) -> FakeLink:
        rounds.append(world.loop.time())
        return await connect(address)

    world.metadata._contact._connect = counted
    tasks = []
    for number in range(600):
        tasks.append(asyncio.create_task(world.metadata.partitions(f"t{number}", fresh=False)))
        world.metadata.want_all()
        await asyncio.sleep(0.1)
    assert len(rounds) < 90
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_at_most_ten_refreshes_begin_in_a_second(world: World) -> None:
    """However many leaders turn out stale."""
    await world.metadata.partitions("t", fresh=False)
    for _ in range(500):
        world.metadata.mark_stale(partition(0))
        await asyncio.sleep(0.01)
    times = [at for at, _ in world.asked]
    assert max(sum(begin <= at < begin + 0.99 for at in times) for begin in times) <= 10


async def test_a_stale_leader_is_waited_for(world: World) -> None:
    """The old one is forgotten at once, and an answer that was under way does not bring it back."""
    await world.metadata.partitions("t", fresh=False)
    world.metadata.want_all()
    await settle()
    world.metadata.mark_stale(partition(0))
    assert partition(0) not in world.metadata.topics.leaders
    assert await world.metadata.leader(partition(0)) == 1


async def test_a_leaderless_partition_is_asked_for_until_it_has_one(world: World) -> None:
    """Several times a second, not once in five minutes."""
    world.told["t"] = led("t", 2, node=None)
    task = asyncio.create_task(world.metadata.leader(partition(0)))
    await asyncio.sleep(4)
    assert not task.done()
    assert 8 <= len(world.asked) <= 40
    world.told["t"] = led("t", 2)
    began = world.loop.time()
    assert await task == 1
    assert world.loop.time() - began < 0.7


async def test_nobody_waits_nobody_asks(world: World) -> None:
    """A cancelled wait leaves no polling behind."""
    world.told["t"] = led("t", 2, node=None)
    task = asyncio.create_task(world.metadata.leader(partition(0)))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(1)
    asked = len(world.asked)
    await asyncio.sleep(100)
    assert len(world.asked) == asked


async def test_a_partition_beyond_the_count_is_refused(world: World) -> None:
    """After an answer of now; partitions may have been added since the last one."""
    await world.metadata.partitions("t", fresh=False)
    answer = await world.metadata.leader(partition(7))
    assert isinstance(answer, Rejected)
    assert answer.code == 3
    world.told["t"] = led("t", 8)
    assert await world.metadata.leader(partition(7)) == 1


async def test_a_missing_right_is_told_at_once(world: World) -> None:
    """And asked for anew by the next one who needs it."""
    world.told["secret"] = TopicMetadata("secret", 29, {})
    answer = await world.metadata.partitions("secret", fresh=False)
    assert isinstance(answer, Rejected)
    assert answer.code == 29
    world.told["secret"] = led("secret", 1)
    assert await world.metadata.partitions("secret", fresh=False) == 1


async def test_everything_is_asked_for_every_five_minutes(world: World) -> None:
    """Partitions that were added are found without a failure."""
    await world.metadata.partitions("t", fresh=False)
    world.told["t"] = led("t", 4)
    await asyncio.sleep(301)
    assert world.asked[-1][1] == ["t"]
    assert world.counts == [("t", 4)]
    asked = len(world.asked)
    await asyncio.sleep(299)
    assert len(world.asked) == asked


async def test_a_large_cluster_is_asked_for_in_parts(world: World) -> None:
    """So that reading an answer does not stop the loop; what is waited for comes first."""
    names = [f"t{number:03}" for number in range(100)]
    world.told |= {name: led(name, 100) for name in names}
    await asyncio.gather(*(world.metadata.partitions(name, fresh=False) for name in names))
    world.asked.clear()
    last = asyncio.create_task(world.metadata.partitions("t099", fresh=True))
    await asyncio.sleep(0)
    world.metadata.want_all()
    await asyncio.sleep(2)
    assert await last == 100
    assert "t099" in world.asked[0][1]
    assert max(len(topics) for _, topics in world.asked) <= 20
    assert set().union(*(topics for _, topics in world.asked)) == set(names)


async def test_closing_ends_every_wait(world: World) -> None:
    """With a value, not an exception."""
    await asyncio.sleep(0.1)
    world.away()
    count = asyncio.create_task(world.metadata.partitions("other", fresh=False))
    leader = asyncio.create_task(world.metadata.leader(partition(0)))
    await settle()
    world.metadata.close()
    assert isinstance(await count, Rejected)
    assert await leader is None
