"""``aclose``: takes nothing more, drains, settles what is left, and leaves nothing behind (rule 11)."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import (
    CRITICAL,
    STANDARD,
    TELEMETRY,
    BufferLimits,
    Delivery,
    NotPersistedError,
    PersistenceStatus,
    PossiblyPersistedError,
    Publisher,
    PublisherClosed,
    PublisherNotOpen,
    PublisherState,
    StartError,
    UnavailableError,
    UsageError,
)
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import (
    NO_PAUSE,
    STEADY,
    Listener,
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
    from collections.abc import Callable

BREAK: dict[str, Callable[[MemoryBroker], None]] = {
    "up": lambda broker: None,
    "down": lambda broker: broker.down(),
    "paused": lambda broker: broker.pause(),
    "clogged": lambda broker: broker.clog(),
    "leaderless": lambda broker: broker.leaderless("t", 0),
    "refusing": lambda broker: broker.refuse_clients(),
    "silent": lambda broker: broker.hold_next(times=100),
    "slow": lambda broker: broker.latency(30),
    "throttling": lambda broker: broker.throttle(30),
    "without replicas": lambda broker: broker.not_enough_replicas("t", 0),
    "without answer of followers": lambda broker: broker.stall_replication("t", 0),
    "without producer ids": lambda broker: broker.deny_producer_ids(),
}


async def opened_publisher(broker: MemoryBroker, **settings: object) -> Publisher:
    """Return a publisher that the test closes itself."""
    publisher = Publisher(broker, source="/tests", **settings)  # type: ignore[arg-type]  # whatever the test says
    await publisher.open()
    return publisher


async def test_drains_what_is_open() -> None:
    """Events on their way when it begins are delivered and counted."""
    broker = one_partition()
    broker.latency(1)
    publisher = await opened_publisher(broker)
    pending = [publisher.publish_nowait(record(n)) for n in range(5)]
    report = await publisher.aclose()
    assert (report.confirmed, report.failed, report.unconfirmed) == (5, (), ())
    assert all(each.done() for each in pending)
    assert values(broker) == [str(n) for n in range(5)]
    assert publisher.state is PublisherState.CLOSED


async def test_counts_what_failed_by_itself() -> None:
    """An event that is refused while draining has failed; the close did not end it."""
    broker = one_partition()
    broker.latency(1)
    publisher = await opened_publisher(broker)
    broker.reject_next(87)
    failing = asyncio.create_task(error_of(publisher.publish(record(1))))
    await turns(1)
    report = await publisher.aclose()
    assert report.failed == (await failing,)
    assert (report.confirmed, report.unconfirmed) == (0, ())
    assert str(report).startswith("0 confirmed, 1 failed, 0 unconfirmed in ")


@pytest.mark.parametrize("timeout", [0, 2])
@pytest.mark.parametrize("profile", [CRITICAL, STANDARD, TELEMETRY], ids=lambda profile: profile.name)
@pytest.mark.parametrize("warm", [True, False], ids=["connected", "unconnected"])
@pytest.mark.parametrize("how", BREAK)
async def test_ends_in_time_whatever_the_broker_does(how: str, warm: bool, profile: object, timeout: float) -> None:  # noqa: FBT001 - a parameter of the test
    """Within timeout + 1 s every event has an outcome that is true, whatever is broken; nothing is left."""
    broker = one_partition()
    publisher = await opened_publisher(broker, profile=profile)
    if warm:
        await publisher.publish(record("warm"))
        await asyncio.sleep(0)
    BREAK[how](broker)
    tasks = [asyncio.create_task(outcome(publisher.publish(record(n)))) for n in range(5)]
    await asyncio.sleep(0.3)
    began = now()
    report = await publisher.aclose(timeout)
    assert now() - began <= timeout + 1
    results = await asyncio.gather(*tasks)
    assert now() - began <= timeout + 1
    errors = {*report.failed, *report.unconfirmed}
    assert errors <= {each for each in results if not isinstance(each, Delivery)}
    told = dict(zip(map(str, range(5)), results, strict=True))
    broker.heal()
    broker.release()
    await asyncio.sleep(100)
    landed = values(broker)
    for value, result in told.items():
        if result.status is PersistenceStatus.PERSISTED:
            assert landed.count(value) == 1
        if result.status is PersistenceStatus.NOT_PERSISTED:
            assert value not in landed
    statistics = publisher.statistics()
    assert (statistics.unconfirmed, statistics.unconfirmed_bytes, statistics.waiting_for_room) == (0, 0, 0)


async def test_in_flight_ends_possibly_persisted() -> None:
    """What was written and not answered is reported as possibly persisted, reason *drain*, to caller and close."""
    broker = one_partition()
    publisher = await opened_publisher(broker)
    await publisher.publish(record(0))
    broker.hold_next()
    caller = asyncio.create_task(error_of(publisher.publish(record(1))))
    await turns(5)
    behind = asyncio.create_task(error_of(publisher.publish(record(2))))
    await turns(1)
    report = await publisher.aclose(1)
    error, queued = await caller, await behind
    assert isinstance(error, PossiblyPersistedError)
    assert error.reason == "drain"
    assert error.attempts == 1
    assert isinstance(queued, UnavailableError)
    assert (queued.reason, queued.attempts) == ("drain", 0)
    assert set(report.unconfirmed) == {error, queued}
    broker.release()
    await asyncio.sleep(1)
    assert values(broker) == ["0", "1"]


async def test_unrouted_events_ended_as_rejected_by_a_broker_that_never_answered() -> None:
    """Events that wait for their topic's partition count end as unavailable, reason *drain*, not as rejected."""
    broker = one_partition()
    broker.down()
    publisher = await opened_publisher(broker)
    caller = asyncio.create_task(error_of(publisher.publish(record(1))))
    await turns(3)
    report = await publisher.aclose(1)
    error = await caller
    assert isinstance(error, UnavailableError)
    assert (error.reason, error.kafka_code) == ("drain", None)
    assert report.unconfirmed == (error,)


async def test_events_without_a_producer_id_ended_as_rejected_by_a_broker_that_never_answered() -> None:
    """Events that wait for a producer id end as unavailable, reason *drain*, too."""
    broker = one_partition()
    publisher = await opened_publisher(broker)
    await publisher.publish(record(0), profile=STANDARD)
    broker.down()
    caller = asyncio.create_task(error_of(publisher.publish(record(1))))
    await turns(3)
    await publisher.aclose(1)
    error = await caller
    assert isinstance(error, UnavailableError)
    assert (error.reason, error.kafka_code) == ("drain", None)


@pytest.mark.timeout(10)
async def test_a_policy_without_pause_spun_on_the_closed_transport() -> None:
    """A retry policy that waits for nothing does not keep the event loop from ending the close."""
    broker = one_partition()
    publisher = await opened_publisher(broker, profile=CRITICAL.replace(retry=NO_PAUSE))
    await publisher.publish(record(0))
    broker.hold_next()
    caller = asyncio.create_task(error_of(publisher.publish(record(1))))
    await turns(5)
    began = now()
    await publisher.aclose(0)
    error = await caller
    assert error.reason == "drain"
    assert error.attempts == 1
    assert now() == began


async def test_backing_off_ends_as_its_history_says() -> None:
    """A batch between two attempts ends at once: clean as unavailable, in doubt as possibly persisted."""
    for code, status in ((19, PersistenceStatus.NOT_PERSISTED), (7, PersistenceStatus.POSSIBLY_PERSISTED)):
        broker = one_partition()
        publisher = await opened_publisher(broker, profile=STEADY)
        await publisher.publish(record(0))
        broker.reject_next(code, times=1000)
        caller = asyncio.create_task(error_of(publisher.publish(record(1))))
        await asyncio.sleep(1.05)
        await publisher.aclose(0)
        error = await caller
        assert (error.status, error.reason, error.attempts) == (status, "drain", 11)


async def test_lingering_ends() -> None:
    """Records that wait for company are sent at once, also those whose partition is not known yet."""
    for warm in (True, False):
        broker = one_partition()
        publisher = await opened_publisher(broker, profile=CRITICAL.replace(linger=20))
        if warm:
            await publisher.publish(record("warm"), profile=STANDARD)
        pending = publisher.publish_nowait(record(1))
        await turns(0 if not warm else 5)
        report = await publisher.aclose(1)
        assert report.confirmed == 1
        assert report.elapsed < 0.1
        assert isinstance(await pending, Delivery)


async def test_waiters_for_room_end_at_once() -> None:
    """They are not drained: they end with reason *closing* in the moment the close begins."""
    broker = one_partition()
    broker.latency(5)
    publisher = await opened_publisher(broker, buffer=BufferLimits(max_records=1))
    holder = publisher.publish_nowait(record(0))
    waiting = asyncio.create_task(error_of(publisher.publish(record(1))))
    await turns(2)
    closing = asyncio.create_task(publisher.aclose())
    began = now()
    error = await waiting
    assert now() == began
    assert isinstance(error, UnavailableError)
    assert error.reason == "closing"
    report = await closing
    assert (report.confirmed, report.failed, report.unconfirmed) == (1, (), (error,))
    await holder


async def test_nothing_is_taken_while_draining() -> None:
    """From the call on a publish is refused with an error that is both *not persisted* and a usage error."""
    broker = one_partition()
    broker.latency(2)
    publisher = await opened_publisher(broker)
    publisher.publish_nowait(record(0))
    closing = asyncio.create_task(publisher.aclose())
    await turns(1)
    assert publisher.state is PublisherState.DRAINING
    for attempt in (publisher.publish(record("late")), publisher.publish_many([record("late")])):
        with pytest.raises(PublisherClosed, match="draining; nothing was sent") as caught:
            await attempt
        assert isinstance(caught.value, NotPersistedError)
        assert isinstance(caught.value, UsageError)
        assert caught.value.status is PersistenceStatus.NOT_PERSISTED
        assert caught.value.record == record("late")
    with pytest.raises(PublisherClosed):
        publisher.publish_nowait(record("late"))
    assert (await closing).confirmed == 1
    with pytest.raises(PublisherClosed, match="closed"):
        await publisher.publish(record("late", headers=[("ce_id", b"id-7")]))
    assert values(broker) == ["0"]


async def test_publish_many_in_the_middle_of_a_close() -> None:
    """What it had handed over is drained; the rest is told *closed* one by one, and nothing is lost silently."""
    broker = one_partition()
    publisher = await opened_publisher(broker)
    publishing = asyncio.create_task(publisher.publish_many([record(n) for n in range(5000)]))
    await turns(2)
    report = await publisher.aclose()
    reports = await publishing
    assert len(reports) == 5000
    assert 0 < report.confirmed <= len(reports.deliveries) == len(values(broker)) < 5000
    assert all(isinstance(each, PublisherClosed) for each in reports.failures)


async def test_called_twice_and_at_once() -> None:
    """Every call, also after the end, returns the one report."""
    broker = one_partition()
    broker.latency(1)
    publisher = await opened_publisher(broker)
    publisher.publish_nowait(record(0))
    first, second = await asyncio.gather(publisher.aclose(), publisher.aclose(0))
    assert first is second
    assert first.confirmed == 1
    assert await publisher.aclose() is first


async def test_cancelled_it_hurries_and_leaves_nothing() -> None:
    """Cancelling the close settles what is left at once, then lets the cancellation through."""
    broker = one_partition()
    publisher = await opened_publisher(broker)
    await publisher.publish(record(0))
    broker.down()
    caller = asyncio.create_task(error_of(publisher.publish(record(1))))
    await turns(2)
    closing = asyncio.create_task(publisher.aclose(20))
    await asyncio.sleep(1)
    began = now()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert publisher.state is PublisherState.CLOSED
    assert (await caller).reason == "drain"
    assert now() - began < 1
    assert len((await publisher.aclose()).unconfirmed) == 1


async def test_cancelled_before_its_first_turn() -> None:
    """A close whose task never began leaves the publisher open."""
    async with opened(one_partition()) as publisher:
        closing = asyncio.create_task(publisher.aclose())
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert publisher.state is PublisherState.OPEN
        await publisher.publish(record(1))


async def test_cancelled_twice_it_still_ends_clean() -> None:
    """Impatience does not make it leave a task behind."""
    broker = one_partition()
    publisher = await opened_publisher(broker)
    await publisher.publish(record(0))
    broker.hold_next()
    caller = asyncio.create_task(outcome(publisher.publish(record(1))))
    await turns(5)
    closing = asyncio.create_task(publisher.aclose(20))
    await turns(2)
    for _ in range(3):
        closing.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert publisher.state is PublisherState.CLOSED
    assert isinstance(await caller, PossiblyPersistedError)


@pytest.mark.parametrize("how", ["up", "down", "silent", "slow"])
async def test_cancelled_at_every_turn_it_leaves_nothing(how: str) -> None:
    """Whichever await the cancellation hits, the publisher is open as before or closed for good."""
    for steps in range(12):
        broker = one_partition()
        publisher = await opened_publisher(broker)
        await publisher.publish(record("warm"))
        BREAK[how](broker)
        caller = asyncio.create_task(outcome(publisher.publish(record(1))))
        await turns(3)
        closing = asyncio.create_task(publisher.aclose(5))
        await turns(steps)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await publisher.aclose(0)
        assert publisher.state is PublisherState.CLOSED
        await caller
        assert publisher.statistics().unconfirmed == 0


async def test_leaving_the_block_by_an_exception_still_drains() -> None:
    """The user's exception comes through, after the events were delivered."""
    broker = one_partition()
    broker.latency(1)
    publisher = Publisher(broker)

    async def fail() -> None:
        async with publisher:
            publisher.publish_nowait(record(1))
            raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        await fail()
    assert values(broker) == ["1"]
    assert publisher.state is PublisherState.CLOSED


async def test_leaving_the_block_logs_what_is_unconfirmed(caplog: pytest.LogCaptureFixture) -> None:
    """It says so in one line and does not raise."""
    broker = one_partition()
    broker.down()
    quick = CRITICAL.replace(delivery_timeout=60)
    async with Publisher(broker, profile=CRITICAL.replace(delivery_timeout=2)) as publisher:
        pending = publisher.publish_nowait(record("secret"), profile=quick.replace(delivery_timeout=2), timeout=2)
        waiting = asyncio.create_task(outcome(pending))
        await turns(2)
        await publisher.aclose(1)
    lines = [line for line in caplog.records if line.name == "eventpub.publisher"]
    assert [line.levelno for line in lines] == [logging.WARNING]
    assert "1 unconfirmed" in lines[0].getMessage()
    assert isinstance(await waiting, UnavailableError)


async def test_default_timeout_is_the_longest_budget_in_use() -> None:
    """A profile given with a single publish counts as well."""
    broker = one_partition()
    broker.down()
    publisher = await opened_publisher(broker, profile=CRITICAL.replace(delivery_timeout=2))
    lost = asyncio.create_task(error_of(publisher.publish(record(1), profile=CRITICAL.replace(delivery_timeout=50))))
    await turns(2)
    began = now()
    report = await publisher.aclose()
    assert now() - began == pytest.approx(50, abs=0.1)
    assert {*report.failed, *report.unconfirmed} == {await lost}


async def test_opened_in_one_task_and_closed_in_another() -> None:
    """Fixtures and lifespans do that."""
    broker = one_partition()
    publisher = await asyncio.create_task(opened_publisher(broker))
    await asyncio.create_task(publisher.publish(record(1)))
    report = await asyncio.create_task(publisher.aclose())
    assert report.unconfirmed == ()
    assert values(broker) == ["1"]


async def test_closed_before_open() -> None:
    """There is nothing to do, and it cannot be opened any more."""
    publisher = Publisher("memory://")
    report = await publisher.aclose()
    assert (report.confirmed, report.failed, report.unconfirmed, report.elapsed) == (0, (), (), 0.0)
    assert publisher.state is PublisherState.CLOSED
    with pytest.raises(UsageError, match="closed"):
        await publisher.open()
    with pytest.raises(PublisherClosed):
        await publisher.publish(record(1))


async def test_closed_while_it_opens() -> None:
    """An eager open that waits for brokers ends with an error, and does not open afterwards."""
    broker = one_partition()
    broker.down()
    publisher = Publisher(broker, connect="eager")
    opening = asyncio.create_task(publisher.open())
    await asyncio.sleep(1)
    with pytest.raises(PublisherNotOpen):
        await publisher.publish(record(1))
    await publisher.aclose()
    with pytest.raises(StartError, match="closed"):
        await opening
    assert publisher.state is PublisherState.CLOSED


async def test_open_went_on_after_a_close_in_the_moment_of_first_contact() -> None:
    """A close in the very turn in which a broker answers wins, and the states go forward only."""
    broker, listener = one_partition(), Listener()
    broker.latency(1)
    publisher = Publisher(broker, connect="eager", hooks=[listener])
    closing: list[asyncio.Task[object]] = []
    loop = asyncio.get_running_loop()
    loop.call_later(1, lambda: closing.append(asyncio.create_task(publisher.aclose())))
    opening = asyncio.create_task(publisher.open())
    (failure,) = await asyncio.gather(opening, return_exceptions=True)
    await closing[0]
    assert isinstance(failure, StartError)
    assert "closed" in str(failure)
    assert [state.value for state in listener.states] == ["opening", "draining", "closed"]


async def test_never_closed_warns() -> None:
    """A publisher that is forgotten while open says so."""
    publisher = await opened_publisher(one_partition())
    transport = publisher._transport
    with pytest.warns(ResourceWarning, match="never closed; await aclose"):  # noqa: PT031 - both make it go
        del publisher
        gc.collect()
    await transport.aclose(0)


async def test_closed_or_never_opened_does_not_warn() -> None:
    """There is nothing to warn of then."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Publisher("memory://")
        publisher = await opened_publisher(one_partition())
        await publisher.aclose()
        del publisher
        gc.collect()


async def test_a_hook_that_publishes_while_closing_is_refused_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What hooks do late is an error of theirs; the close ends as it would."""
    broker = one_partition()
    broker.latency(1)

    class Stubborn:
        def on_outcome(self, _details: object) -> None:
            publisher.publish_nowait(record("one more"))

    publisher = await opened_publisher(broker, hooks=[Stubborn()])
    publisher.publish_nowait(record(0))
    closing = asyncio.create_task(publisher.aclose())
    assert (await closing).confirmed == 1
    assert "a hook raised" in caplog.text
    assert values(broker) == ["0"]


@pytest.mark.parametrize("how", ["up", "down", "silent", "leaderless"])
async def test_no_timer_is_left(how: str) -> None:
    """After a close nothing of the publisher is scheduled any more, nor after a flush of what it waited for."""
    loop = asyncio.get_running_loop()
    scheduled: list[asyncio.TimerHandle] = []
    call_at = loop.call_at

    def noting(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        scheduled.append(call_at(*args, **kwargs))
        return scheduled[-1]

    loop.call_at = noting  # type: ignore[assignment,method-assign]
    try:
        broker = one_partition()
        publisher = await opened_publisher(broker, profile=CRITICAL.replace(linger=1))
        await publisher.publish(record("warm"))
        publisher.publish_nowait(record("lingering"))
        await publisher.flush(7)
        until = [timer.when() - now() for timer in scheduled if not timer.cancelled()]
        assert not [seconds for seconds in until if 5 < seconds < 10]
        BREAK[how](broker)
        waiting = asyncio.create_task(outcome(publisher.publish(record("open"))))
        await asyncio.sleep(2)
        await publisher.aclose(3)
        await waiting
    finally:
        del loop.call_at
    assert not [timer for timer in scheduled if not timer.cancelled() and timer.when() > now()]
