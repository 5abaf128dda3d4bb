"""Brokers that crash, hang, restart and fall silent, under load: no event is lost, doubled or misreported."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import (
    CRITICAL,
    Delivery,
    KafkaConfig,
    PersistenceStatus,
    Publisher,
    PublishError,
    Record,
)
from support.readback import read_topic
from tests.fix_kafka import proxied
from tests.kafka.cluster import PARTITIONS, leader_of, new_topic, wait_in_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from eventpub import PendingDelivery
    from support.kafka_node import ApacheKafka

KEYS = 40

_log = logging.getLogger(__name__)


# --- the load ----------------------------------------------------------------------------------


class Load:
    """Publishes numbered events of forty keys at a steady rate, and keeps what became of each."""

    def __init__(self, publisher: Publisher, topic: str, rate: int) -> None:
        self.publisher = publisher
        self.topic = topic
        self.sent: list[tuple[bytes, bytes]] = []
        self._rate = rate
        self._pending: list[PendingDelivery] = []
        self._begun = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self._stopped = False

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not self._stopped:
            while len(self.sent) < (loop.time() - started) * self._rate:
                number = len(self.sent)
                key, value = f"key-{number % KEYS}".encode(), str(number).encode()
                self.sent.append((key, value))
                self._pending.append(self.publisher.publish_nowait(Record(self.topic, value, key=key)))
            if len(self.sent) >= KEYS:
                self._begun.set()
            await asyncio.sleep(0.005)

    async def first_acks(self) -> None:
        """Wait until the load runs."""
        await self._begun.wait()
        for pending in self._pending[:KEYS]:
            await pending

    async def outcomes(self) -> list[Delivery | PublishError]:
        """Stop, and return what every publish came to."""
        self._stopped = True
        await self._task
        return [await outcome(pending) for pending in self._pending]


@asynccontextmanager
async def load(kafka: ApacheKafka, topic: str, rate: int, **profile: Any) -> AsyncIterator[Load]:
    """Run a load through a publisher at the default profile, or one that differs in *profile*."""
    async with Publisher(kafka.url, source="/tests", profile=CRITICAL.replace(**profile)) as publisher:
        running = Load(publisher, topic, rate)
        await running.first_acks()
        yield running


async def outcome(pending: PendingDelivery) -> Delivery | PublishError:
    """Return what a publish came to, errors too."""
    try:
        return await pending
    except PublishError as error:
        return error


async def check_all_once_in_order(kafka: ApacheKafka, running: Load, results: list[Delivery | PublishError]) -> None:
    """Nobody saw an error; the log holds each event once, where its caller was told, and each key in order."""
    errors = [result for result in results if isinstance(result, PublishError)]
    assert not errors, f"{len(errors)} of {len(results)} failed, the first: {errors[0]}"
    read = await asyncio.to_thread(read_topic, kafka.bootstrap_servers, running.topic, timeout=30)
    assert sorted((record.key, record.value) for record in read) == sorted(running.sent)
    where = {(record.partition, record.offset): record.value for record in read}
    deliveries = [result for result in results if isinstance(result, Delivery)]
    for (_, value), delivery in zip(running.sent, deliveries, strict=True):
        assert where[delivery.partition, delivery.offset or 0] == value
    for key in {key for key, _ in running.sent}:
        numbers = [int(record.value or b"") for record in read if record.key == key]
        assert numbers == sorted(numbers)
    statistics = running.publisher.statistics()
    assert statistics.epoch_bumps == 0
    _log.info(
        "%d events, %d of %d attempts failed, longest publish %.2f s",
        len(results),
        statistics.failed_attempts,
        statistics.attempts,
        max(delivery.elapsed for delivery in deliveries),
    )


# --- crashes and hangs ---------------------------------------------------------------------------


async def test_a_killed_leader_is_noticed_by_nobody(three_nodes: ApacheKafka) -> None:
    """Kill -9 under 2,000 events a second, default profile: all acked, once, in order, no caller sees an error."""
    topic = await asyncio.to_thread(new_topic, three_nodes)
    async with load(three_nodes, topic, 2_000) as running:
        await asyncio.sleep(0.5)
        killed = await leader_of(three_nodes, topic)
        await asyncio.to_thread(three_nodes.kill, killed)
        while await leader_of(three_nodes, topic) in {killed, -1}:
            pass
        await asyncio.sleep(0.5)
        results = await running.outcomes()
        await check_all_once_in_order(three_nodes, running, results)
        assert running.publisher.statistics().failed_attempts > 0  # else the kill met no request


async def test_a_frozen_leader_costs_a_request_timeout(three_nodes: ApacheKafka) -> None:
    """SIGSTOP: requests in doubt are resent to the new leader; when the old one wakes up it adds no copy."""
    topic = await asyncio.to_thread(new_topic, three_nodes)
    async with load(three_nodes, topic, 1_000, request_timeout=2) as running:
        frozen = await leader_of(three_nodes, topic)
        three_nodes.pause(frozen)
        await asyncio.sleep(6)
        three_nodes.resume(frozen)
        await asyncio.sleep(0.5)
        results = await running.outcomes()
        await asyncio.to_thread(wait_in_sync, three_nodes, topic, 3)
        await check_all_once_in_order(three_nodes, running, results)
        assert running.publisher.statistics().failed_attempts > 0
    assert max(result.attempts for result in results if isinstance(result, Delivery)) > 1


@pytest.mark.slow
async def test_a_rolling_restart_is_noticed_by_nobody(three_nodes: ApacheKafka) -> None:
    """Three brokers restarted one after the other (SIGTERM) under load."""
    topic = await asyncio.to_thread(new_topic, three_nodes)
    async with load(three_nodes, topic, 500) as running:
        for node in three_nodes.brokers:
            await asyncio.to_thread(three_nodes.terminate, node)
            await asyncio.to_thread(three_nodes.start_node, node)
            await asyncio.to_thread(wait_in_sync, three_nodes, topic, 3)
        results = await running.outcomes()
        await check_all_once_in_order(three_nodes, running, results)


# --- one broker out of three -------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the first connection", "under way"])
async def test_a_silent_broker_delays_nobody_but_its_own(three_nodes: ApacheKafka, when: str) -> None:
    """Partitions led by others are acked at once while one broker accepts everything and answers nothing."""
    topic = await asyncio.to_thread(new_topic, three_nodes)
    leads = {n: await leader_of(three_nodes, topic, n) for n in range(PARTITIONS)}
    silent = leads[0]
    healthy = [n for n in leads if leads[n] != silent]
    with proxied(three_nodes) as proxy:
        target = KafkaConfig(proxy.bootstrap_servers, connect_timeout=5, metadata_timeout=5)
        async with Publisher(target, source="/tests", profile=CRITICAL.replace(request_timeout=5)) as publisher:
            if when == "under way":
                await asyncio.gather(*(publisher.publish(Record(topic, b"first", partition=n)) for n in leads))
            hole = proxy.black_hole(broker=silent)
            if when != "under way":
                # Whichever server is asked first: a silent one is given a second's head start.
                await publisher.publish(Record(topic, b"known", partition=healthy[0]), timeout=5)
            stuck = asyncio.create_task(publisher.publish(Record(topic, b"stuck", partition=0)))
            await hole.happened()
            quick = []
            for _ in range(20):
                quick += await asyncio.gather(*(publisher.publish(Record(topic, b"x", partition=n)) for n in healthy))
            assert not stuck.done()
            # What the silent one keeps waiting, it keeps for two seconds: those that a connect is given at first.
            assert max(delivery.elapsed for delivery in quick) < 1.5
            assert {delivery.attempts for delivery in quick} == {1}
            hole.stop()
            assert (await stuck).status is PersistenceStatus.PERSISTED
    read = await asyncio.to_thread(read_topic, three_nodes.bootstrap_servers, topic)
    assert [record.value for record in read].count(b"stuck") == 1
    assert len(read) == 1 + len(quick) + (PARTITIONS if when == "under way" else 1)
