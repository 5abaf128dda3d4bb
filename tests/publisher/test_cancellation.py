"""Cancellation (rule 10) at every await: withdrawn before the stamp, else the delivery goes on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import (
    CRITICAL,
    STANDARD,
    TELEMETRY,
    BufferLimits,
    Delivery,
    DeliveryProfile,
    PersistenceStatus,
    Publisher,
    PublisherState,
    StartError,
)
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import STEADY, Listener, now, one_partition, opened, outcome, record, turns, values

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator


class ThrownInto:
    """Awaits a coroutine by hand and throws `asyncio.CancelledError` into it where it waits for the n-th time.

    Unlike ``Task.cancel`` it leaves alone what the coroutine waits for, so that outcome and
    cancellation meet in the same step.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], step: int) -> None:
        self._coroutine = coroutine
        self._step = step
        self.thrown = False

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, value = self._coroutine, None
        for step in range(1_000_000):
            try:
                if step == self._step:
                    self.thrown = True
                    waited_for = coroutine.throw(asyncio.CancelledError())
                else:
                    waited_for = coroutine.send(value)
            except StopIteration as end:
                return end.value
            value = yield waited_for
        return None


def settled(publisher: Publisher) -> bool:
    """Return whether nothing counts against the buffer any more."""
    statistics = publisher.statistics()
    return (statistics.unconfirmed, statistics.unconfirmed_bytes, statistics.waiting_for_room) == (0, 0, 0)


@pytest.mark.parametrize("profile", [CRITICAL, STANDARD, TELEMETRY], ids=lambda profile: profile.name)
@pytest.mark.parametrize("latency", [0, 0.2])
async def test_publish_cancelled_at_every_turn(profile: DeliveryProfile, latency: float) -> None:
    """After n turns of the loop, for all n: withdrawn and nowhere, or delivered and told to the hooks; once at most."""
    landed_once = withdrawn_once = False
    for steps in range(60):
        broker, listener = one_partition(), Listener()
        broker.latency(latency)
        async with opened(broker, profile=profile, hooks=[listener]) as publisher:
            task = asyncio.create_task(publisher.publish(record(1)))
            await turns(steps) if not latency else await asyncio.sleep(steps * 0.02)
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            await publisher.flush()
            await asyncio.sleep(1)
            landed = values(broker)
            withdrawn = publisher.statistics().withdrawn
            assert len(landed) <= 1
            assert settled(publisher)
            if isinstance(result, Delivery):
                assert landed == ["1"]
                landed_once = True
                continue
            assert isinstance(result, asyncio.CancelledError)
            # Cancelled before its first turn it never was a publish.
            assert len(listener.outcomes) + withdrawn == (
                0 if steps == 0 and not listener.outcomes and not withdrawn else 1
            )
            assert bool(landed) == bool(listener.outcomes)
            withdrawn_once = withdrawn_once or bool(withdrawn)
    assert landed_once
    assert withdrawn_once or not latency


@pytest.mark.parametrize("step", range(4))
async def test_publish_thrown_into(step: int) -> None:
    """A cancellation that meets the outcome in the same step loses nothing."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        awaited = ThrownInto(publisher.publish(record(1)), step)
        try:
            result = await awaited
        except asyncio.CancelledError:
            result = None
        await publisher.flush()
        await turns(3)
        statistics = publisher.statistics()
        if result is not None:
            assert values(broker) == ["1"]
        elif step == 0:
            assert (values(broker), statistics.withdrawn) == ([], 0)  # thrown before it began
        else:
            assert len(values(broker)) + statistics.withdrawn == 1
            assert len(listener.outcomes) == len(values(broker))
        assert settled(publisher)


STAGES = {
    "waiting for room": 0.0,
    "topic unknown": 0.25,
    "producer id awaited": 0.75,
    "in flight": 1.25,
    "backing off clean": 1.55,
}


@pytest.mark.parametrize("stage", STAGES)
async def test_publish_cancelled_in_each_stage(stage: str) -> None:
    """Only an attempt that may have been appended keeps the event; everything before withdraws it."""
    broker, listener = one_partition(), Listener()
    broker.latency(0.5)
    limits = BufferLimits(max_records=1) if stage == "waiting for room" else BufferLimits()
    async with opened(broker, profile=STEADY, buffer=limits, hooks=[listener]) as publisher:
        holder = publisher.publish_nowait(record("holder")) if stage == "waiting for room" else None
        if stage == "backing off clean":
            broker.reject_next(19)
        task = asyncio.create_task(publisher.publish(record("cancelled")))
        await asyncio.sleep(STAGES[stage])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if holder is not None:
            await holder
        await asyncio.sleep(5)
        landed = "cancelled" in values(broker)
        assert landed == (stage == "in flight")
        assert publisher.statistics().withdrawn == (0 if landed else 1)
        told = [details.outcome.status for details in listener.outcomes]
        assert told == ([PersistenceStatus.PERSISTED] if landed or holder is not None else [])
        assert settled(publisher)
        # The sequence has no gap: the next event goes through at once.
        assert (await publisher.publish(record("next"))).attempts == 1


async def test_cancelled_while_a_batch_in_doubt_is_resent() -> None:
    """It may be in the log already, so it goes on until that is known, and the hooks hear the end."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, profile=STEADY, hooks=[listener]) as publisher:
        await publisher.publish(record("warm"))
        broker.lose_next_ack()
        task = asyncio.create_task(publisher.publish(record(1)))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(1)
        assert values(broker) == ["warm", "1"]
        assert len(listener.outcomes) == 2
        delivery = listener.outcomes[1].outcome
        assert isinstance(delivery, Delivery)
        assert delivery.attempts == 2


async def test_cancelled_in_doubt_and_never_answered() -> None:
    """Its budget goes on too: the hooks are told possibly persisted when that ends, and a log line says so."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        await publisher.publish(record("warm"))
        broker.hold_next(times=100)
        task = asyncio.create_task(publisher.publish(record(1), timeout=4))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(listener.outcomes) == 1
        await asyncio.sleep(3.3)
        assert listener.outcomes[1].outcome.status is PersistenceStatus.POSSIBLY_PERSISTED
        assert settled(publisher)


async def test_a_neighbour_cancelled_before_the_recut_is_left_out() -> None:
    """A batch that was refused clean is cut anew without the record whose caller left."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        broker.reject_next(19)
        tasks = [asyncio.create_task(publisher.publish(record(n))) for n in range(3)]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [Delivery, asyncio.CancelledError, Delivery]
        assert values(broker) == ["warm", "0", "2"]
        assert settled(publisher)


async def test_all_cancelled_before_the_recut_costs_nothing() -> None:
    """With nobody left the batch is dropped, and the lane sleeps no longer."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        broker.reject_next(19)
        tasks = [asyncio.create_task(publisher.publish(record(n))) for n in range(3)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert settled(publisher)
        assert (await publisher.publish(record("next"))).offset == 1


async def test_cancelling_is_never_wrapped() -> None:
    """What comes out of a cancelled publish is `asyncio.CancelledError` itself."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        task = asyncio.create_task(publisher.publish(record(1)))
        await turns(2)
        task.cancel("theirs")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert type(caught.value) is asyncio.CancelledError
        assert task.cancelled()


async def test_no_internal_cancellation_reaches_a_caller() -> None:
    """While lanes and resolvers are cancelled inside, callers see outcomes only."""
    for how in ("expire", "close"):
        broker = one_partition()
        broker.down()
        async with opened(broker) as publisher:
            tasks = [asyncio.create_task(outcome(publisher.publish(record(n), timeout=1))) for n in range(20)]
            await turns(2)
            if how == "close":
                await publisher.aclose(0)
            results = await asyncio.gather(*tasks)
            assert {result.status for result in results} == {PersistenceStatus.NOT_PERSISTED}


@pytest.mark.parametrize("latency", [0, 0.2])
async def test_publish_many_cancelled_at_every_turn(latency: float) -> None:
    """For all n: each event is in the log and told, or withdrawn; none twice, none half."""
    for steps in range(40):
        broker, listener = one_partition(), Listener()
        broker.latency(latency)
        async with opened(broker, hooks=[listener], buffer=BufferLimits(max_records=300)) as publisher:
            task = asyncio.create_task(publisher.publish_many([record(n) for n in range(600)]))
            await turns(steps) if not latency else await asyncio.sleep(steps * 0.04)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await publisher.flush()
            landed = values(broker)
            statistics = publisher.statistics()
            assert len(set(landed)) == len(landed) == len(listener.outcomes) == statistics.persisted
            if not task.cancelled():
                assert len(landed) == 600
            assert landed == sorted(landed, key=int)
            assert settled(publisher)


WAITING: dict[str, Callable[[Publisher, float], Coroutine[Any, Any, object]]] = {
    "flush": Publisher.flush,
    "wait_ready": Publisher.wait_ready,
    "aclose": Publisher.aclose,
}


@pytest.mark.parametrize("call", WAITING)
async def test_the_other_coroutines_cancelled_at_every_turn(call: str) -> None:
    """Flush and wait_ready leave everything as it was; aclose closes. Nothing is left in any case."""
    for steps in range(25):
        broker = one_partition()
        broker.latency(0.2)
        async with opened(broker) as publisher:
            pending = publisher.publish_nowait(record(1))
            if call == "wait_ready":
                broker.pause()
            task = asyncio.ensure_future(WAITING[call](publisher, 5))
            await asyncio.sleep(steps * 0.03)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            broker.resume()
            if call == "aclose":
                assert publisher.state is PublisherState.CLOSED
            else:
                assert isinstance(await outcome(pending), Delivery)
            await outcome(pending)
            assert settled(publisher)


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("call", WAITING)
async def test_the_other_coroutines_thrown_into(call: str, step: int) -> None:
    """The same with the exception thrown in by hand at each place where they wait."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(0.2)
        pending = publisher.publish_nowait(record(1))
        if call == "wait_ready":
            broker.pause()
        awaited = ThrownInto(WAITING[call](publisher, 0.5), step)
        with suppress(asyncio.CancelledError, StartError):
            await awaited
        broker.resume()
        await outcome(pending)
        assert settled(publisher)


async def test_open_cancelled_at_every_moment() -> None:
    """An eager open that is cancelled leaves a closed publisher and nothing else; a lazy one never waits."""
    for steps in range(15):
        broker = one_partition()
        broker.latency(0.5)
        publisher = Publisher(broker, connect="eager")
        task = asyncio.create_task(publisher.open())
        await asyncio.sleep(steps * 0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            assert publisher.state is PublisherState.CLOSED
        else:
            assert publisher.state is PublisherState.OPEN
        await publisher.aclose(0)
        assert publisher.state is PublisherState.CLOSED


async def test_a_storm_of_cancellations_loses_no_room() -> None:
    """Thousands published and cancelled at random moments; afterwards the buffer is empty and the log has no double."""
    broker = MemoryBroker()
    broker.create_topic("t", 3)
    broker.latency(0.05)
    async with opened(broker, profile=STEADY, buffer=BufferLimits(max_records=100)) as publisher:
        tasks = []
        for n in range(2000):
            if n % 100 == 0:
                broker.reject_next(19)
                broker.lose_next_ack()
            tasks.append(asyncio.create_task(publisher.publish(record(n, str(n % 17).encode()))))
            if n % 3 == 0:
                tasks[n - n % 5].cancel()
            if n % 50 == 0:
                await asyncio.sleep(0.03)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await publisher.flush()
        began = now()
        assert settled(publisher)
        landed = values(broker)
        assert len(landed) == len(set(landed))
        delivered = {str(n) for n, result in enumerate(results) if isinstance(result, Delivery)}
        assert delivered <= set(landed)
        assert (await publisher.publish(record("after"))).attempts == 1
        assert now() - began < 1
