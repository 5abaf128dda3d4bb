"""Too few replicas, or none at all: what is delivered when they are back, and what callers are told when not."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from eventpub import (
    AttemptOutcome,
    Delivery,
    PersistenceStatus,
    PossiblyPersistedError,
    Publisher,
    Record,
    UnavailableError,
)
from support.readback import read_topic
from tests.kafka.cluster import PARTITIONS, leader_of, new_topic, wait_in_sync

if TYPE_CHECKING:
    from support.kafka_node import ApacheKafka

NOT_ENOUGH_REPLICAS = 19
PROBE = b"probe"

_log = logging.getLogger(__name__)


async def until_refused(kafka: ApacheKafka, topic: str) -> None:
    """Return once the leader itself acts by the smaller in-sync set, which the metadata may show before."""
    async with Publisher(kafka.url, source="/tests") as publisher:
        while True:
            try:
                await publisher.publish(Record(topic, PROBE), timeout=0.5)
            except UnavailableError:
                return
            except PossiblyPersistedError:
                pass  # appended, and waited for replicas in vain


async def test_too_few_replicas_delay_what_has_time_and_fail_what_has_not(split_nodes: ApacheKafka) -> None:
    """NOT_ENOUGH_REPLICAS with a clean history is not persisted; with budget left it is delivered when they are back."""
    topic = await asyncio.to_thread(new_topic, split_nodes, 1)
    async with Publisher(split_nodes.url, source="/tests") as publisher:
        await publisher.publish(Record(topic, b"before"))
        followers = set(split_nodes.brokers) - {await leader_of(split_nodes, topic)}
        for follower in followers:
            await asyncio.to_thread(split_nodes.kill, follower)
        await asyncio.to_thread(wait_in_sync, split_nodes, topic, 1)
        await until_refused(split_nodes, topic)
        with pytest.raises(UnavailableError) as caught:
            await publisher.publish(Record(topic, b"short"), timeout=1)
        long = asyncio.create_task(publisher.publish(Record(topic, b"long")))
        restored = asyncio.create_task(asyncio.to_thread(split_nodes.restore))
        delivery = await long
        await restored
        assert publisher.statistics().epoch_bumps == 0
    error = caught.value
    assert (error.status, error.kafka_code, error.reason) == (
        PersistenceStatus.NOT_PERSISTED,
        NOT_ENOUGH_REPLICAS,
        "budget",
    )
    assert {(a.outcome, a.kafka_code) for a in error.history} == {(AttemptOutcome.NOT_APPENDED, NOT_ENOUGH_REPLICAS)}
    assert error.elapsed <= 1.25
    assert delivery.attempts > 1
    _log.info("%d attempts, delivered after %.2f s", delivery.attempts, delivery.elapsed)
    read = await asyncio.to_thread(read_topic, split_nodes.bootstrap_servers, topic)
    assert [record.value for record in read if record.value != PROBE] == [b"before", b"long"]


@pytest.mark.slow
async def test_a_refusal_after_the_append_does_not_make_it_unwritten(split_nodes: ApacheKafka) -> None:
    """Appended, then answered REQUEST_TIMED_OUT and later NOT_ENOUGH_REPLICAS: possibly persisted, and it is there."""
    topic = await asyncio.to_thread(new_topic, split_nodes)
    leads = {n: await leader_of(split_nodes, topic, n) for n in range(PARTITIONS)}
    one, other = [n for n in leads if leads[n] == leads[0]][:2]
    async with Publisher(split_nodes.url, source="/tests") as publisher:
        await asyncio.gather(*(publisher.publish(Record(topic, b"before", partition=n)) for n in (one, other)))
        followers = set(split_nodes.brokers) - {leads[one]}
        for follower in followers:
            split_nodes.pause(follower)
        long = asyncio.create_task(publisher.publish(Record(topic, b"long", partition=other)))
        with pytest.raises(PossiblyPersistedError) as caught:
            await publisher.publish(Record(topic, b"short", partition=one), timeout=9)
        for follower in followers:
            split_nodes.resume(follower)
        delivery = await long
        after = await publisher.publish(Record(topic, b"after", partition=one))
        assert publisher.statistics().epoch_bumps == 1
    error = caught.value
    assert error.reason == "budget"
    codes = [attempt.kafka_code for attempt in error.history]
    _log.info("codes %s; the other delivered after %.2f s, %d attempts", codes, delivery.elapsed, delivery.attempts)
    assert NOT_ENOUGH_REPLICAS in codes
    assert error.history[0].outcome is AttemptOutcome.IN_DOUBT
    assert (delivery.offset, delivery.attempts > 1, after.offset) == (1, True, 2)
    read = await asyncio.to_thread(read_topic, split_nodes.bootstrap_servers, topic)
    assert [r.value for r in read if r.partition == one] == [b"before", b"short", b"after"]
    assert [r.value for r in read if r.partition == other] == [b"before", b"long"]


async def test_twenty_thousand_publishes_outlast_a_cluster_that_is_down(split_nodes: ApacheKafka) -> None:
    """All brokers killed, started again two seconds later: every event is acked once, in order."""
    topic = await asyncio.to_thread(new_topic, split_nodes)
    async with Publisher(split_nodes.url, source="/tests") as publisher:
        await publisher.publish(Record(topic, b"first", partition=0))
        await asyncio.gather(*(asyncio.to_thread(split_nodes.kill, node) for node in split_nodes.brokers))
        publishes = asyncio.gather(
            *(publisher.publish(Record(topic, str(n).encode(), partition=n % PARTITIONS)) for n in range(20_000)),
            return_exceptions=True,
        )
        await asyncio.sleep(2)
        await asyncio.to_thread(split_nodes.restore)
        back = asyncio.get_running_loop().time()
        results = await publishes
        _log.info("the last ack %.2f s after the last broker was back", asyncio.get_running_loop().time() - back)
    assert {type(result) for result in results} == {Delivery}
    read = await asyncio.to_thread(read_topic, split_nodes.bootstrap_servers, topic, timeout=30)
    for partition in range(PARTITIONS):
        values = [record.value for record in read if record.partition == partition and record.value != b"first"]
        assert values == [str(n).encode() for n in range(partition, 20_000, PARTITIONS)]
