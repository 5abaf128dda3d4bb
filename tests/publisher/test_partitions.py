"""Which partition a record goes to: keys, null keys, explicit numbers, and counts that grow."""

from __future__ import annotations

import asyncio

import pytest

from eventpub import CRITICAL, Delivery, InvalidRecordError, TopicAuthorizationError, UnknownTopicError
from eventpub.partitioner import partition_for
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import error_of, now, opened, outcome, record, turns, values


def broker_of(partitions: int, brokers: int = 1) -> MemoryBroker:
    """Return a broker whose topic ``t`` has that many partitions."""
    broker = MemoryBroker(brokers=brokers)
    broker.create_topic("t", partitions)
    return broker


async def test_keys_are_partitioned_as_java_does() -> None:
    """Equal keys share a partition, which murmur2 names; the empty key is a key."""
    async with opened(broker_of(7)) as publisher:
        for key in (b"", b"a", b"42", b"\x00\xff", b"k" * 300):
            assert (await publisher.publish(record(1, key))).partition == partition_for(key, 7)


async def test_null_keys_stick_per_batch() -> None:
    """Records without a key share a partition until its batch is cut, then the next one takes its turn."""
    broker = broker_of(4)
    async with opened(broker) as publisher:
        rounds = []
        for _ in range(8):
            reports = await publisher.publish_many([record(n) for n in range(10)])
            rounds.append({each.partition for each in reports.deliveries})
        assert all(len(partitions) == 1 for partitions in rounds)
        assert {partition for partitions in rounds for partition in partitions} == {0, 1, 2, 3}


async def test_null_keys_avoid_partitions_without_a_leader() -> None:
    """While some other partition has a leader, nothing without a key waits for one that has none."""
    broker = broker_of(3)
    broker.leaderless("t", 1)
    async with opened(broker) as publisher:
        deliveries = [await publisher.publish(record(n), timeout=1) for n in range(9)]
        assert {each.partition for each in deliveries} == {0, 2}


async def test_null_keys_move_on_from_a_partition_that_loses_its_leader() -> None:
    """Only what stuck to it already waits for the leader; a few records at most."""
    broker = broker_of(2)
    async with opened(broker) as publisher:
        first = await publisher.publish(record("warm"))
        lost = 1 - first.partition
        broker.leaderless("t", lost)
        pending = [publisher.publish_nowait(record("x" * 1000)) for _ in range(100)]
        await asyncio.sleep(1)
        done = [each for each in pending if each.done()]
        assert len(done) >= 80
        broker.leader_back("t", lost)
        await publisher.flush()
        assert all(each.done() for each in pending)


async def test_without_any_leader_null_keys_wait() -> None:
    """They are delivered once a leader is back."""
    broker = broker_of(2)
    for partition in (0, 1):
        broker.leaderless("t", partition)
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(3)
        assert not pending.done()
        for partition in (0, 1):
            broker.leader_back("t", partition)
        assert isinstance(await outcome(pending), Delivery)


async def test_explicit_partition() -> None:
    """The number given goes before the key."""
    async with opened(broker_of(5)) as publisher:
        for number in range(5):
            assert (await publisher.publish(record(1, b"same key"), partition=number)).partition == number


async def test_a_partition_beyond_the_count_is_refused_after_a_fresh_look() -> None:
    """The error is an outcome that says how many there are; the brokers were asked again first."""
    broker = broker_of(2)
    async with opened(broker) as publisher:
        await publisher.publish(record(1))
        asked = broker.received["metadata"]
        error = await error_of(publisher.publish(record(1, partition=2)))
        assert isinstance(error, InvalidRecordError)
        assert "t[2] does not exist, the topic has 2; give one from 0 to 1" in str(error)
        assert (error.topic, error.partition, error.attempts) == ("t", 2, 0)
        assert broker.received["metadata"] == asked + 1
        await publisher.publish(record("fine", partition=1))


async def test_a_partition_beyond_the_count_as_the_first_publish() -> None:
    """The same with nothing known yet."""
    async with opened(broker_of(2)) as publisher:
        assert isinstance(await error_of(publisher.publish(record(1, partition=9))), InvalidRecordError)


async def test_a_partition_added_since_is_found_by_the_fresh_look() -> None:
    """A publisher that knew fewer asks, and delivers."""
    broker = broker_of(2)
    async with opened(broker) as publisher:
        await publisher.publish(record(1))
        broker.detach(publisher._transport)  # type: ignore[arg-type]  # nobody tells it
        broker.add_partitions("t", 4)
        broker.attach(publisher._transport)  # type: ignore[arg-type]  # as before
        assert (await publisher.publish(record("new", partition=3))).partition == 3


async def test_partitions_added_later_are_used() -> None:
    """New keyed records follow the new count, and null keys reach the new partitions."""
    broker = broker_of(2)
    async with opened(broker) as publisher:
        await publisher.publish(record(1))
        broker.add_partitions("t", 5)
        for key in (b"a", b"b", b"c", b"d"):
            assert (await publisher.publish(record(1, key))).partition == partition_for(key, 5)
        seen = {(await publisher.publish(record(n))).partition for n in range(10)}
        assert seen == {0, 1, 2, 3, 4}


async def test_a_later_publish_overtook_one_that_waited_for_a_new_partition() -> None:
    """Records that asked for a partition before it was there come before those that ask when it is (rule 7)."""
    broker = broker_of(1)
    async with opened(broker) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(1)
        early = [asyncio.create_task(publisher.publish(record(n, partition=1))) for n in range(3)]
        await asyncio.sleep(0.1)
        broker.add_partitions("t", 2)
        late = asyncio.create_task(publisher.publish(record("late", partition=1)))
        await asyncio.gather(*early, late)
        assert values(broker, "t", 1) == ["0", "1", "2", "late"]


async def test_a_fresh_look_ends_with_the_last_record_that_needs_it() -> None:
    """With the broker gone, a partition that may exist waits for its budget, and others are not held up."""
    broker = broker_of(2)
    async with opened(broker) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(5)
        beyond = asyncio.create_task(error_of(publisher.publish(record(1, partition=7), timeout=1)))
        known = asyncio.create_task(publisher.publish(record(2, partition=1)))
        assert (await beyond).reason == "budget"
        assert (await known).elapsed == pytest.approx(5)


async def test_an_unknown_topic_takes_four_answers() -> None:
    """A topic is unknown after four answers at least 250 ms apart; time without an answer does not count (rule 12)."""
    broker = MemoryBroker(auto_create=False)
    broker.down()
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(5)
        assert not pending.done()
        broker.up()
        began = now()
        error = await error_of(pending)
        assert isinstance(error, UnknownTopicError)
        assert now() - began == pytest.approx(0.75, abs=0.01)
        assert error.kafka_code == 3
        assert "create the topic" in str(error)
        assert (error.attempts, error.partition) == (0, None)


async def test_a_topic_created_meanwhile_is_found() -> None:
    """An answer that knows it ends the search."""
    broker = MemoryBroker(auto_create=False)
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(0.6)
        broker.create_topic("t", 1)
        assert (await pending).offset == 0


async def test_an_unknown_topic_leaves_others_alone() -> None:
    """Waiting for one topic's answers holds up nothing else, and each publish has its own outcome."""
    broker = MemoryBroker(auto_create=False)
    broker.create_topic("t", 1)
    async with opened(broker) as publisher:
        missing = [publisher.publish_nowait(record(n), topic="missing") for n in range(3)]
        assert (await publisher.publish(record(1))).elapsed < 0.1
        assert [type(await error_of(each)) for each in missing] == [UnknownTopicError] * 3
        assert not publisher._engine._topics["missing"]._queue  # type: ignore[union-attr]  # open


async def test_a_deleted_topic_is_unknown_in_the_end() -> None:
    """A topic known before gets thirty seconds to come back."""
    broker = broker_of(1)
    async with opened(broker) as publisher:
        await publisher.publish(record(1))
        broker.delete_topic("t")
        error = await error_of(
            publisher.publish(record(2), timeout=100, profile=CRITICAL.replace(delivery_timeout=100))
        )
        assert isinstance(error, UnknownTopicError)
        assert 29 <= error.elapsed <= 33


async def test_a_recreated_topic_takes_up_again() -> None:
    """Deleted and created anew within its time, the next publish is delivered."""
    broker = broker_of(1)
    async with opened(broker) as publisher:
        await publisher.publish(record(1))
        broker.delete_topic("t")
        pending = publisher.publish_nowait(record(2))
        await asyncio.sleep(5)
        broker.create_topic("t", 1)
        assert (await pending).offset == 0


async def test_a_topic_that_may_not_be_written_is_told_at_once() -> None:
    """Code 29 in the metadata or in the answer fails the whole batch, without bisecting."""
    broker = broker_of(1)
    broker.deny("t")
    async with opened(broker) as publisher:
        error = await error_of(publisher.publish(record(1)))
        assert isinstance(error, TopicAuthorizationError)
        assert (error.kafka_code, error.elapsed) == (29, 0)
        broker.allow("t")
        await publisher.publish(record(2))
        broker.deny("t")
        before = publisher.statistics().attempts
        reports = await publisher.publish_many([record(n) for n in range(8)])
        assert [type(each) for each in reports] == [TopicAuthorizationError] * 8
        assert publisher.statistics().attempts == before + 1
        broker.allow("t")
        assert (await publisher.publish(record("again"))).offset == 1


async def test_many_partitions_and_brokers_at_once() -> None:
    """A thousand keys over thirty partitions of three brokers: everything arrives."""
    broker = broker_of(30, brokers=3)
    broker.latency(0.1)
    async with opened(broker) as publisher:
        reports = await publisher.publish_many([record(n, str(n).encode()) for n in range(1000)])
        assert len(reports.deliveries) == 1000
        assert len({each.partition for each in reports.deliveries}) == 30
        await turns(1)
        assert sorted(map(int, values(broker))) == list(range(1000))
