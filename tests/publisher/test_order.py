"""Order (rule 7): a publish takes its place in the call itself, and a retry never overtakes."""

from __future__ import annotations

import asyncio
import random

import pytest

from eventpub import STANDARD, BufferLimits, Delivery, PersistenceStatus
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import STEADY, Noted, one_partition, opened, outcome, record, turns, values


@pytest.mark.parametrize("room", [100_000, 3])
@pytest.mark.parametrize("latency", [0, 0.3])
async def test_gathered_publishes_keep_the_order_of_the_calls(room: int, latency: float) -> None:
    """With and without room, with and without a slow broker."""
    broker = one_partition()
    broker.latency(latency)
    async with opened(broker, buffer=BufferLimits(max_records=room)) as publisher:
        await asyncio.gather(*(publisher.publish(record(n)) for n in range(50)))
        assert values(broker) == [str(n) for n in range(50)]


@pytest.mark.parametrize("room", [100_000, 3])
async def test_tasks_keep_the_order_in_which_they_began(room: int) -> None:
    """A task takes its place at its first turn; tasks get that in the order of their creation."""
    broker = one_partition()
    broker.latency(0.1)
    async with opened(broker, buffer=BufferLimits(max_records=room)) as publisher:
        tasks = []
        for n in range(40):
            tasks.append(asyncio.create_task(publisher.publish(record(n))))
            if n % 7 == 0:
                await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)
        assert values(broker) == [str(n) for n in range(40)]


async def test_order_per_key_over_many_partitions() -> None:
    """Each key's events lie in one partition, in the order of their publishes, though others fail and retry."""
    broker = MemoryBroker(brokers=3)
    broker.create_topic("notes", 6)
    chance = random.Random(7)
    async with opened(broker, profile=STEADY, buffer=BufferLimits(max_records=20)) as publisher:
        tasks = []
        for n in range(600):
            if n % 40 == 0:
                chance.choice(
                    [
                        lambda: broker.reject_next(chance.choice([6, 7, 19, 45, 5])),
                        broker.lose_next_ack,
                        broker.drop_next,
                        broker.not_sent_next,
                    ]
                )()
            key = f"k{chance.randrange(12)}"
            tasks.append(asyncio.create_task(publisher.publish(Noted(key=key, text=str(n)))))
            if n % 10 == 0:
                await asyncio.sleep(0.02)
        assert all(isinstance(each, Delivery) for each in await asyncio.gather(*tasks))
    by_key: dict[bytes, list[int]] = {}
    where: dict[bytes, set[int]] = {}
    for logged in broker.records("notes"):
        assert logged.key is not None
        by_key.setdefault(logged.key, []).append(int(Noted.model_validate_json(logged.value or b"").text))
        where.setdefault(logged.key, set()).add(logged.partition)
    assert sum(map(len, by_key.values())) == 600
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert all(len(partitions) == 1 for partitions in where.values())


async def test_a_retry_never_overtakes() -> None:
    """Records published while an earlier batch is refused, lost or in doubt come behind it."""
    for fault in ("reject", "lose", "drop", "not sent"):
        broker = one_partition()
        async with opened(broker, profile=STEADY) as publisher:
            await publisher.publish(record("warm"))
            {
                "reject": lambda broker=broker: broker.reject_next(19, times=3),
                "lose": lambda broker=broker: broker.lose_next_ack(times=3),
                "drop": lambda broker=broker: broker.drop_next(times=3),
                "not sent": lambda broker=broker: broker.not_sent_next(times=3),
            }[fault]()
            first = asyncio.create_task(publisher.publish(record("first")))
            await asyncio.sleep(0.15)
            second = asyncio.create_task(publisher.publish(record("second")))
            assert (await first).attempts == 4
            assert (await second).attempts == 1
            assert values(broker) == ["warm", "first", "second"]


async def test_one_batch_in_flight_per_partition() -> None:
    """What is published while one is on its way forms the next batch (linger 0)."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(1)
        pending = [publisher.publish_nowait(record(0))]
        await turns(3)
        pending += [publisher.publish_nowait(record(n)) for n in range(1, 20)]
        for each in pending:
            await each
        assert publisher.statistics().attempts == 3


async def test_nowait_goes_behind_those_whose_count_is_unknown() -> None:
    """Before the first metadata answer all ways in share one queue."""
    broker = one_partition()
    broker.latency(0.5)
    async with opened(broker) as publisher:
        first = asyncio.create_task(publisher.publish(record("a")))
        await turns(1)
        second = publisher.publish_nowait(record("b"))
        third = asyncio.create_task(publisher.publish_many([record("c"), record("d")]))
        await asyncio.gather(first, outcome(second), third)
        assert values(broker) == ["a", "b", "c", "d"]


async def test_a_publish_in_the_turn_of_the_first_metadata_answer_overtakes_nobody() -> None:
    """While thousands are routed, some in each turn of the loop, newcomers go behind them."""
    broker = one_partition()
    broker.latency(0.5)
    async with opened(broker) as publisher:
        tasks = [asyncio.create_task(publisher.publish(record(n))) for n in range(3500)]
        late: list[asyncio.Task[Delivery]] = []

        async def newcomers() -> None:
            for n in range(50):
                late.append(asyncio.create_task(publisher.publish(record(f"late{n}"))))
                await asyncio.sleep(0)

        await turns(1)
        loop = asyncio.get_running_loop()
        coming = asyncio.Event()
        loop.call_later(0.5, coming.set)
        await coming.wait()
        await newcomers()
        await asyncio.gather(*tasks, *late)
        assert values(broker) == [str(n) for n in range(3500)] + [f"late{n}" for n in range(50)]


async def test_waiters_of_several_topics_are_first_come_first_served() -> None:
    """Room goes to who waited longest, whichever topic that is."""
    broker = one_partition()
    broker.create_topic("u", 1)
    async with opened(broker, buffer=BufferLimits(max_records=1)) as publisher:
        done: list[str] = []

        async def publish(topic: str, n: int) -> None:
            await publisher.publish(record(n), topic=topic)
            done.append(f"{topic}{n}")

        await asyncio.gather(*(publish("tu"[n % 2], n) for n in range(8)))
        assert done == ["t0", "u1", "t2", "u3", "t4", "u5", "t6", "u7"]


async def test_order_without_idempotence_while_nothing_is_in_doubt() -> None:
    """acks=1 keeps order through clean retries too."""
    broker = one_partition()
    profile = STANDARD.replace(retry=STEADY.retry)
    async with opened(broker, profile=profile) as publisher:
        broker.reject_next(19, times=2)
        await asyncio.gather(*(publisher.publish(record(n)) for n in range(10)))
        assert values(broker) == [str(n) for n in range(10)]


async def test_a_rejected_record_never_wedges_its_partition() -> None:
    """Before and after a refused record the sequence goes on without a gap (rule 5)."""
    broker = one_partition(compacted=True)
    async with opened(broker) as publisher:
        for n in range(5):
            assert isinstance(await outcome(publisher.publish(record(n, b"k"))), Delivery)
            refused = await outcome(publisher.publish(record("no key")))
            assert refused.status is PersistenceStatus.NOT_PERSISTED
        assert [logged.stamp.sequence for logged in broker.records("t")] == list(range(5))
        assert publisher.statistics().epoch_bumps == 0
