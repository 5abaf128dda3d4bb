"""``publish_nowait`` and the handle it returns."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from eventpub import (
    BufferFullError,
    BufferLimits,
    Delivery,
    PendingDelivery,
    PossiblyPersistedError,
    PublishError,
    UnavailableError,
)
from tests.publisher.kit import Listener, now, one_partition, opened, outcome, record, turns, values


async def test_awaited_any_number_of_times() -> None:
    """Every await gives the same delivery, before and after it is done, in any number of tasks."""
    broker = one_partition()
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1))
        early = [asyncio.create_task(outcome(pending)) for _ in range(3)]
        delivery = await pending
        assert [await each for each in early] == [delivery] * 3
        assert await pending is delivery
        assert isinstance(delivery, Delivery)


async def test_error_is_raised_at_every_await() -> None:
    """A failure is not used up by the first who asks."""
    broker = one_partition()
    broker.deny("t")
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1))
        first, second = await outcome(pending), await outcome(pending)
        assert isinstance(first, PublishError)
        assert first is second


async def test_no_room_is_refused_at_once() -> None:
    """Without room it raises, tells the counts and what to change, and nothing is queued."""
    broker = one_partition()
    broker.down()
    async with opened(broker, buffer=BufferLimits(max_records=2)) as publisher:
        kept = [publisher.publish_nowait(record("secret payload")) for _ in range(2)]
        waiting = asyncio.create_task(outcome(publisher.publish(record(3), timeout=1)))
        await turns(2)
        with pytest.raises(BufferFullError, match="2 events") as caught:
            publisher.publish_nowait(record("secret payload"))
        text = str(caught.value)
        assert "1 wait for room" in text
        assert "BufferLimits(max_records=, max_bytes=)" in text
        assert "secret" not in text
        assert caught.value.record == record("secret payload")
        assert caught.value.topic == "t"
        assert isinstance(await waiting, UnavailableError)
        assert not any(each.done() for each in kept)


async def test_nobody_overtakes_who_waits_for_room() -> None:
    """Room that would do for it is refused while another publish waits for room."""
    broker = one_partition()
    broker.down()
    async with opened(broker, buffer=BufferLimits(max_bytes=1000)) as publisher:
        publisher.publish_nowait(record("a" * 500))
        waiting = asyncio.create_task(outcome(publisher.publish(record("b" * 900), timeout=1)))
        await turns(2)
        with pytest.raises(BufferFullError):
            publisher.publish_nowait(record("c"))
        await waiting
        publisher.publish_nowait(record("c"))


async def test_cancel_withdraws_what_is_queued() -> None:
    """Cancelled before anything could be written, it never lands, and awaiting it says so."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record("gone"))
        waiting = asyncio.create_task(outcome(pending))
        await turns(3)
        assert pending.cancel() is True
        assert pending.done()
        with pytest.raises(asyncio.CancelledError):
            await pending
        with pytest.raises(asyncio.CancelledError):
            await waiting
        broker.up()
        await publisher.publish(record("kept"))
        assert values(broker) == ["kept"]
        assert publisher.statistics().withdrawn == 1


async def test_cancel_after_the_write_lost_the_outcome() -> None:
    """Once it may have been written, cancel refuses, and the outcome still comes to whoever awaits it."""
    broker = one_partition()
    broker.latency(1)
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1))
        waiting = asyncio.create_task(outcome(pending))
        while not values(broker):  # noqa: ASYNC110 - a broker tells nobody
            await asyncio.sleep(0.1)
        assert pending.cancel() is False
        assert not pending.done()
        delivery = await asyncio.wait_for(waiting, 10)
        assert isinstance(delivery, Delivery)
        assert await pending is delivery
        assert pending.cancel() is False


async def test_cancel_twice_counts_once() -> None:
    """A second cancel finds nothing to withdraw."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1))
        assert [pending.cancel(), pending.cancel()] == [True, False]
        assert publisher.statistics().withdrawn == 1
        assert publisher.statistics().unconfirmed == 0


async def test_cancelling_a_task_that_awaits_leaves_the_delivery_alone() -> None:
    """The handle is the event's, the task only looks."""
    broker = one_partition()
    broker.latency(1)
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1))
        looking = asyncio.create_task(outcome(pending))
        await turns(2)
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        assert (await pending).offset == 0


async def test_callbacks() -> None:
    """Each is called once with the handle, those added late as well, and never inside the call that adds it."""
    async with opened(one_partition()) as publisher:
        heard: list[PendingDelivery] = []
        pending = publisher.publish_nowait(record(1))
        pending.add_done_callback(heard.append)
        pending.add_done_callback(heard.append)
        await pending
        await turns(2)
        assert heard == [pending] * 2
        pending.add_done_callback(heard.append)
        assert heard == [pending] * 2
        await turns(2)
        assert heard == [pending] * 3


async def test_callbacks_hear_of_a_withdrawal() -> None:
    """A withdrawn event is done."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        heard: list[PendingDelivery] = []
        pending = publisher.publish_nowait(record(1))
        pending.add_done_callback(heard.append)
        pending.cancel()
        await turns(2)
        assert heard == [pending]


async def test_unheard_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A handle dropped at once still reaches hooks and statistics, and one log line without payload."""
    broker, listener = one_partition(), Listener()
    broker.down()
    async with opened(broker, hooks=[listener]) as publisher:
        publisher.publish_nowait(record("secret", headers=[("ce_id", b"id-1")]), timeout=1)
        await asyncio.sleep(2)
        gc.collect()
        lines = [line for line in caplog.records if "(budget) after 1.0" in line.getMessage()]
        assert len(lines) == 1
        assert lines[0].name == "eventpub.delivery"
        assert lines[0].levelno == logging.WARNING
        assert "not delivered (budget)" in lines[0].getMessage()
        assert "secret" not in lines[0].getMessage()
        assert lines[0].__dict__["event_id"] == "id-1"
        assert [details.event_id for details in listener.outcomes] == ["id-1"]
        assert publisher.statistics().not_persisted == 1


async def test_failure_after_a_refused_cancel_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever gave up on an event that then fails is not the last to know."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record(0))
        broker.hold_next()
        pending = publisher.publish_nowait(record(1), timeout=1)
        await turns(5)
        assert pending.cancel() is False
        await asyncio.sleep(2)
        del pending
        gc.collect()
        assert sum("possibly persisted (budget)" in line.getMessage() for line in caplog.records) == 1


async def test_heard_failure_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever awaited the outcome needs no log line."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1), timeout=1)
        assert isinstance(await outcome(pending), UnavailableError)
        del pending
        gc.collect()
        assert not [line for line in caplog.records if "(budget) after 1.0" in line.getMessage()]


async def test_budget_runs_without_an_await() -> None:
    """Its budget began at the call, not at the first await."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record(0))
        broker.hold_next()
        pending = publisher.publish_nowait(record(1), timeout=1)
        await asyncio.sleep(5)
        assert pending.done()
        began = now()
        assert isinstance(await outcome(pending), PossiblyPersistedError)
        assert now() == began


async def test_repr_says_what_became_of_it() -> None:
    """Its repr is a status line without payload."""
    async with opened(one_partition()) as publisher:
        pending = publisher.publish_nowait(record("secret"))
        assert repr(pending) == "<PendingDelivery t pending>"
        await pending
        assert "t[0]@0 persisted" in repr(pending)
