"""Topics of a memory broker, and what a consumer reads from them."""

from __future__ import annotations

import asyncio
import time

import pytest

from eventpub.abc import UNSTAMPED, Acked, Stamp, TopicPartition
from eventpub.exceptions import UsageError
from eventpub.record import Record
from eventpub.transports.memory import LoggedRecord, MemoryBroker
from eventpub.transports.memory.cluster import wall_clock
from tests.unit.transports.memory.conftest import NOW, Client, acked


async def test_records_are_read_back_as_they_were(client: Client, broker: MemoryBroker) -> None:
    """Bytes, duplicates among headers, tombstones, timestamps, and the stamp of each record."""
    headers = (("a", b"1"), ("a", None), ("b", b""))
    records = [
        Record("t", b"value", b"key", headers, timestamp=NOW),
        Record("t", None, b"", timestamp=NOW - 5),
    ]
    await client.send(client.encode(records, Stamp(client.producer.id, 0, 6)), 2)
    assert broker.records("t") == (
        LoggedRecord("t", 2, 0, NOW, b"key", b"value", headers, Stamp(client.producer.id, 0, 6)),
        LoggedRecord("t", 2, 1, NOW - 5, b"", None, (), Stamp(client.producer.id, 0, 7)),
    )


async def test_record_without_a_producer_has_no_stamp(client: Client, broker: MemoryBroker) -> None:
    """All records of a batch are alike in that."""
    await client.send(client.batch(None, b"0", b"1"))
    assert [record.stamp for record in broker.records("t")] == [UNSTAMPED, UNSTAMPED]


async def test_records_come_in_the_order_of_their_appends(client: Client, broker: MemoryBroker) -> None:
    """Over all partitions, so that a test can compare a list; one partition alone can be asked for."""
    for sequence, partition in enumerate((3, 0, 3, 1)):
        await client.send(client.batch(None, b"%d" % sequence), partition)
    assert client.log() == [b"0", b"1", b"2", b"3"]
    assert client.log(3) == [b"0", b"2"]
    assert [record.offset for record in broker.records("t", 3)] == [0, 1]


async def test_batches_appended_in_one_turn_keep_their_order(client: Client) -> None:
    """That of the calls."""
    await asyncio.gather(*(client.put(0, b"%d" % partition, partition=partition) for partition in (2, 0, 1)))
    assert client.log() == [b"2", b"0", b"1"]


def test_unknown_topic_has_no_records() -> None:
    """Reading creates nothing."""
    broker = MemoryBroker()
    assert broker.records("missing") == ()
    assert broker.count("missing") is None


async def test_append_time_replaces_the_records_own(client: Client, broker: MemoryBroker) -> None:
    """The ack tells it, and a timestamp far ahead is no fault."""
    broker.create_topic("stamped", log_append_time=True)
    batch = client.batch(0, b"0", timestamp=NOW + 99_999_999)
    assert await client.send(batch, topic="stamped") == Acked("memory:1", 0, NOW)
    assert [record.timestamp for record in broker.records("stamped")] == [NOW]


def test_leaders_are_spread_over_the_brokers() -> None:
    """In turn, also those of partitions that are added."""
    broker = MemoryBroker(brokers=3)
    broker.create_topic("t", 4)
    broker.add_partitions("t", 5)
    assert [broker.leader_of("t", partition) for partition in range(5)] == [1, 2, 3, 1, 2]
    assert broker.names == ("memory:1", "memory:2", "memory:3")


def test_leader_that_is_down_is_none() -> None:
    """Null keys avoid its partitions; the leadership is not moved."""
    broker = MemoryBroker(brokers=2)
    broker.create_topic("t", 2)
    broker.down(2)
    assert [broker.has_leader(TopicPartition("t", partition)) for partition in (0, 1, 2)] == [True, False, False]
    assert broker.leader_of("t", 1) == 2
    broker.leaderless("t", 1)
    assert broker.leader_of("t", 1) is None


@pytest.mark.parametrize("partitions", [0, -1])
def test_topic_without_partitions_is_refused(broker: MemoryBroker, partitions: int) -> None:
    """Nothing could be written to it."""
    with pytest.raises(UsageError, match="at least one partition"):
        broker.create_topic("empty", partitions)


def test_topic_is_created_once(broker: MemoryBroker) -> None:
    """A second time is a mistake in the test."""
    with pytest.raises(UsageError, match="already"):
        broker.create_topic("t")


def test_verbs_name_what_is_missing(broker: MemoryBroker) -> None:
    """A fault on a topic or partition that does not exist would hit nothing."""
    with pytest.raises(UsageError, match="no topic 'missing'"):
        broker.leaderless("missing", 0)
    with pytest.raises(UsageError, match="no partition 4"):
        broker.not_enough_replicas("t", 4)
    with pytest.raises(UsageError, match="no topic 'missing'"):
        broker.delete_topic("missing")


def test_cluster_without_brokers_is_refused() -> None:
    """It could answer nobody."""
    with pytest.raises(UsageError, match="at least one broker"):
        MemoryBroker(brokers=0)


async def test_deleted_topic_stays_deleted(client: Client, broker: MemoryBroker) -> None:
    """First use does not bring it back; creating it does, empty."""
    await client.put(0, b"0")
    broker.delete_topic("t")
    assert await client.transport.partitions("t") != 4
    broker.create_topic("t", 4)
    assert await client.transport.partitions("t") == 4
    assert broker.records("t") == ()


async def test_deleted_topic_owes_no_answer(client: Client, broker: MemoryBroker) -> None:
    """Whoever waited for its replicas is answered."""
    broker.stall_replication("t", 0)
    sending = asyncio.create_task(client.put(0, b"0"))
    await asyncio.sleep(0.1)
    broker.delete_topic("t")
    assert await sending == acked(0)


def test_wall_clock_is_the_machines() -> None:
    """Timestamps of records are judged by it, and nothing else."""
    assert abs(wall_clock() - time.time() * 1000) < 5000
