"""Bounds on what is unconfirmed: who waits for room, who gets it, and that it is always given back (rule 9)."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import (
    STANDARD,
    BufferLimits,
    ConfigurationError,
    Delivery,
    PersistenceStatus,
    PublishError,
    Record,
    UnavailableError,
)
from tests.publisher.kit import (
    STEADY,
    Listener,
    Noted,
    error_of,
    now,
    one_partition,
    opened,
    outcome,
    record,
    turns,
    values,
)

if TYPE_CHECKING:
    from eventpub.abc import OutcomeDetails


async def test_waits_for_room_and_is_delivered() -> None:
    """Publishes beyond the limit wait, and none is lost."""
    broker = one_partition()
    broker.latency(1)
    async with opened(broker, buffer=BufferLimits(max_records=3)) as publisher:
        waiting = [asyncio.create_task(publisher.publish(record(n))) for n in range(10)]
        await turns(2)
        statistics = publisher.statistics()
        assert (statistics.unconfirmed, statistics.waiting_for_room) == (3, 7)
        assert [(await each).offset for each in waiting] == list(range(10))
        statistics = publisher.statistics()
        assert (statistics.unconfirmed, statistics.unconfirmed_bytes, statistics.waiting_for_room) == (0, 0, 0)


async def test_bytes_are_bounded_too() -> None:
    """Records wait for bytes as they wait for a place."""
    broker = one_partition()
    broker.down()
    async with opened(broker, buffer=BufferLimits(max_bytes=3000)) as publisher:
        tasks = [asyncio.create_task(outcome(publisher.publish(record("x" * 1000)))) for _ in range(4)]
        await turns(2)
        statistics = publisher.statistics()
        assert (statistics.unconfirmed, statistics.waiting_for_room) == (2, 2)
        assert 2000 <= statistics.unconfirmed_bytes <= 3000
        broker.up()
        assert all(isinstance(each, Delivery) for each in await asyncio.gather(*tasks))


async def test_larger_than_the_buffer_goes_alone() -> None:
    """An event above the byte limit waits until nothing else is unconfirmed, is sent, and others wait for it."""
    broker = one_partition()
    broker.latency(1)
    async with opened(broker, buffer=BufferLimits(max_bytes=1000)) as publisher:
        first = asyncio.create_task(publisher.publish(record("a")))
        await turns(1)
        large = asyncio.create_task(publisher.publish(record("b" * 5000)))
        last = asyncio.create_task(publisher.publish(record("c")))
        await turns(2)
        assert publisher.statistics().waiting_for_room == 2
        await first
        await turns(2)
        assert publisher.statistics().unconfirmed == 1
        assert publisher.statistics().waiting_for_room == 1
        await asyncio.gather(large, last)
        assert [value[0] for value in values(broker)] == ["a", "b", "c"]


async def test_waiting_for_room_is_inside_the_budget() -> None:
    """Room that does not come in time ends the publish as unavailable, without an attempt."""
    broker = one_partition()
    broker.down()
    async with opened(broker, buffer=BufferLimits(max_records=1)) as publisher:
        holder = publisher.publish_nowait(record(0))
        error = await error_of(publisher.publish(record(1), timeout=2))
        assert isinstance(error, UnavailableError)
        assert (error.reason, error.attempts, error.topic) == ("budget", 0, "t")
        assert 2 <= error.elapsed <= 2.25
        assert not holder.done()
        assert publisher.statistics().waiting_for_room == 0


async def test_nobody_later_gets_room_first() -> None:
    """A publish that comes in the very turn in which room is given back goes behind those that wait (rule 7)."""
    broker = one_partition()
    async with opened(broker, buffer=BufferLimits(max_records=1)) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(1)
        late: list[asyncio.Task[Delivery]] = []

        async def first() -> None:
            await publisher.publish(record("first"))
            late.append(asyncio.create_task(publisher.publish(record("newcomer"))))

        holder = asyncio.create_task(first())
        await turns(1)
        waiting = [asyncio.create_task(publisher.publish(record(n))) for n in range(3)]
        await asyncio.gather(holder, *waiting)
        await late[0]
        assert values(broker) == ["warm", "first", "0", "1", "2", "newcomer"]


async def test_a_publish_from_a_hook_gets_no_room_first() -> None:
    """Not even a publish made while an outcome is being told overtakes those that wait."""
    broker = one_partition()
    newcomers: list[asyncio.Task[object]] = []

    class Greedy:
        def on_outcome(self, details: OutcomeDetails) -> None:
            if not newcomers and details.outcome.status is PersistenceStatus.PERSISTED:
                newcomers.append(asyncio.ensure_future(outcome(publisher.publish(record("newcomer")))))

    async with opened(broker, buffer=BufferLimits(max_records=2), hooks=[Greedy()]) as publisher:
        await asyncio.gather(*(publisher.publish(record(n)) for n in range(5)))
        await newcomers[0]
        assert values(broker) == ["0", "1", "2", "3", "4", "newcomer"]


async def _callbacks_run(publishes: int) -> int:
    broker, loop = one_partition(), asyncio.get_running_loop()
    async with opened(broker, buffer=BufferLimits(max_records=10)) as publisher:
        tasks = [asyncio.create_task(publisher.publish(record(n))) for n in range(publishes)]
        await turns(1)
        assert publisher.statistics().waiting_for_room == publishes - 10
        scheduled = 0
        call_soon = loop.call_soon

        def counting(*args: Any, **kwargs: Any) -> asyncio.Handle:
            nonlocal scheduled
            scheduled += 1
            return call_soon(*args, **kwargs)

        loop.call_soon = counting  # type: ignore[assignment,method-assign]
        try:
            await asyncio.gather(*tasks)
        finally:
            loop.call_soon = call_soon  # type: ignore[method-assign]
        return scheduled


async def test_each_waiter_is_woken_once() -> None:
    """Four times as many who wait for room cost four times the wake-ups, not sixteen times."""
    few, many = await _callbacks_run(200), await _callbacks_run(800)
    assert 800 <= many < 5 * few


async def test_small_record_waited_behind_a_large_one_that_had_left() -> None:
    """Where the first who waits is cancelled, those behind it that fit get room in that step."""
    broker = one_partition()
    broker.down()
    async with opened(broker, buffer=BufferLimits(max_bytes=2000)) as publisher:
        holder = publisher.publish_nowait(record("a" * 1000))
        large = asyncio.create_task(publisher.publish(record("b" * 1500)))
        small = asyncio.create_task(outcome(publisher.publish(record("c"))))
        await turns(2)
        assert publisher.statistics().waiting_for_room == 2
        large.cancel()
        await turns(2)
        assert publisher.statistics().waiting_for_room == 0
        assert publisher.statistics().unconfirmed == 2
        broker.up()
        assert isinstance(await small, Delivery)
        await holder


async def test_small_record_waited_behind_a_large_one_whose_budget_had_ended() -> None:
    """The same where the first one's budget ends."""
    broker = one_partition()
    broker.down()
    async with opened(broker, buffer=BufferLimits(max_bytes=2000)) as publisher:
        holder = publisher.publish_nowait(record("a" * 1000))
        large = asyncio.create_task(outcome(publisher.publish(record("b" * 1500), timeout=1)))
        small = asyncio.create_task(outcome(publisher.publish(record("c"))))
        assert isinstance(await large, UnavailableError)
        assert publisher.statistics().waiting_for_room == 0
        assert publisher.statistics().unconfirmed == 2
        broker.up()
        assert isinstance(await small, Delivery)
        await holder


async def test_close_ends_every_waiter_also_those_that_would_fit_now() -> None:
    """A close lets nobody in: those who wait for room end as *closing*, the small behind the large as well."""
    broker = one_partition()
    broker.latency(2)
    async with opened(broker, buffer=BufferLimits(max_bytes=2000)) as publisher:
        holder = publisher.publish_nowait(record("a" * 1000))
        waiting = [asyncio.create_task(error_of(publisher.publish(record(text)))) for text in ("b" * 1500, "c")]
        await turns(2)
        report = await publisher.aclose(10)
        errors = [await each for each in waiting]
        assert [error.reason for error in errors] == ["closing", "closing"]
        assert all(isinstance(error, UnavailableError) for error in errors)
        assert report.unconfirmed == tuple(errors)
        assert report.confirmed == 1
        assert (await holder).offset == 0
        assert len(values(broker)) == 1


async def test_room_comes_back_however_a_publish_ends() -> None:
    """Delivered, rejected, expired, cancelled, possibly persisted: nothing is counted afterwards."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("delivered"))
        broker.reject_next(87)
        await error_of(publisher.publish(record("rejected")))
        broker.lose_next_ack()
        await error_of(publisher.publish(record("in doubt"), profile=STANDARD))
        broker.pause()
        await error_of(publisher.publish(record("paused"), timeout=1))
        broker.resume()
        broker.down()
        await error_of(publisher.publish(record("expired"), timeout=1))
        cancelled = asyncio.create_task(publisher.publish(record("cancelled")))
        await turns(3)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        broker.up()
        await publisher.publish(record("last"))
        statistics = publisher.statistics()
        assert (statistics.unconfirmed, statistics.unconfirmed_bytes) == (0, 0)


async def test_room_leaked_for_a_record_that_expired_in_flight_of_a_batch_cut_anew() -> None:
    """A record told *possibly persisted* whose batch then was refused and cut anew gives its room back."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, profile=STEADY, hooks=[listener]) as publisher:
        await publisher.publish(record(0))
        broker.latency(1)
        broker.reject_next(19)
        short = asyncio.create_task(error_of(publisher.publish(record("short"), timeout=0.5)))
        long = asyncio.create_task(publisher.publish(record("long")))
        assert (await short).reason == "budget"
        assert (await long).offset == 1
        assert values(broker) == ["0", "long"]
        assert publisher.statistics().unconfirmed == 0
        assert [str(details.outcome.status) for details in listener.late] == ["PersistenceStatus.NOT_PERSISTED"]


async def test_a_batch_holds_room_beyond_its_callers_budget() -> None:
    """The caller does not wait for it, but bytes that are still on the wire count (rule 9)."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record(0))
        broker.latency(4)
        short = asyncio.create_task(error_of(publisher.publish(record("short"), timeout=1)))
        long = asyncio.create_task(publisher.publish(record("long")))
        error = await short
        assert error.elapsed < 1.25
        assert publisher.statistics().unconfirmed == 2
        await long
        assert publisher.statistics().unconfirmed == 0


async def test_20000_simultaneous_publishes_are_delivered() -> None:
    """More publishers than room, all at once, on a healthy broker: every one is told *persisted*, in order."""
    broker = one_partition()
    async with opened(broker, buffer=BufferLimits(max_records=5_000)) as publisher:
        tasks = [asyncio.create_task(publisher.publish(record(n))) for n in range(20_000)]
        deliveries = await asyncio.gather(*tasks)
        assert [each.offset for each in deliveries] == list(range(20_000))
        assert values(broker) == [str(n) for n in range(20_000)]
        assert publisher.statistics().attempts < 200


async def test_20000_publishes_while_the_broker_is_away_are_delivered() -> None:
    """Two seconds without a broker cost time, not events."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        tasks = [asyncio.create_task(publisher.publish(record(n))) for n in range(20_000)]
        await asyncio.sleep(2)
        broker.up()
        assert [each.offset for each in await asyncio.gather(*tasks)] == list(range(20_000))


async def test_an_unconfirmed_event_costs_no_more_than_3_kib_over_its_payload() -> None:
    """Memory of an event that waits for its broker, its caller's task included."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        await error_of(publisher.publish(record(0), timeout=1))
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            tasks = [
                asyncio.create_task(outcome(publisher.publish(Noted(key=str(n), text="x" * 100), topic="t")))
                for n in range(500)
            ]
            await turns(3)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (after - before) / 500 - 200 < 3 * 1024
        broker.up()
        await asyncio.gather(*tasks)


async def test_expired_events_do_not_pile_up_behind_a_long_budget() -> None:
    """With the broker away, short budgets end behind a long one, and nothing of them stays."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        holder = publisher.publish_nowait(record("long"))
        for _ in range(20):
            ended = await publisher.publish_many([record(n) for n in range(100)], timeout=0.5)
            assert len(ended.failures) == 100
        (topic,) = publisher._engine._topics.values()  # type: ignore[union-attr]  # open
        assert len(topic._queue.entries) < 200
        assert publisher.statistics().unconfirmed == 1
        broker.up()
        await holder


@pytest.mark.parametrize("setting", ["max_records", "max_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_limits_that_let_nothing_through_are_refused(setting: str, value: object) -> None:
    """A limit is a whole number of at least one, and the message names it."""
    with pytest.raises(ConfigurationError, match=f"buffer.{setting}"):
        BufferLimits(**{setting: value})  # type: ignore[arg-type]  # that is the point


async def test_room_is_shared_by_all_topics() -> None:
    """The limits are the publisher's: one topic without a leader takes room from the others, and says so."""
    broker = one_partition()
    broker.create_topic("other", 1)
    broker.leaderless("t", 0)
    async with opened(broker, buffer=BufferLimits(max_records=2)) as publisher:
        stuck = [publisher.publish_nowait(record(n)) for n in range(2)]
        waiting = asyncio.create_task(outcome(publisher.publish(Record("other", b"x"), timeout=3)))
        await turns(2)
        assert not publisher.health()
        assert "buffer is full" in str(publisher.health())
        began = now()
        result = await waiting
        assert isinstance(result, PublishError)
        assert now() - began == pytest.approx(3, abs=0.06)
        broker.leader_back("t", 0)
        assert [(await each).offset for each in stuck] == [0, 1]
