"""Budgets (rule 4): every publish ends within its budget + 250 ms, broker up or down, with the right word."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest

from eventpub import (
    CRITICAL,
    STANDARD,
    TELEMETRY,
    BufferLimits,
    ConfigurationError,
    Delivery,
    DeliveryProfile,
    PersistenceStatus,
    PossiblyPersistedError,
    PublishError,
    UnavailableError,
    UsageError,
    delivery_budget,
)
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import Listener, error_of, now, one_partition, opened, outcome, record, turns, values

if TYPE_CHECKING:
    from collections.abc import Callable

LATE = 0.25

FAULTS: dict[str, Callable[[MemoryBroker], None]] = {
    "down": lambda broker: broker.down(),
    "paused": lambda broker: broker.pause(),
    "clogged": lambda broker: broker.clog(),
    "leaderless": lambda broker: broker.leaderless("t", 0),
    "refusing clients": lambda broker: broker.refuse_clients(),
    "swallowing requests": lambda broker: broker.drop_next(times=1000, disconnect=False),
    "cutting connections": lambda broker: broker.drop_next(times=1000),
    "losing answers": lambda broker: broker.lose_next_ack(times=1000),
    "holding requests": lambda broker: broker.hold_next(times=1000),
    "not writing": lambda broker: broker.not_sent_next(times=1000),
    "without replicas": lambda broker: broker.not_enough_replicas("t", 0),
    "with stalled followers": lambda broker: broker.stall_replication("t", 0),
    "slow": lambda broker: broker.latency(40),
    "throttling": lambda broker: broker.throttle(40),
    "answering 7": lambda broker: broker.reject_next(7, times=1000),
    "answering 7 after the append": lambda broker: broker.reject_next(7, times=1000, appended=True),
    "answering 6": lambda broker: broker.reject_next(6, times=1000),
    "answering 45": lambda broker: broker.reject_next(45, times=1000),
    "answering -1 as 56": lambda broker: broker.reject_next(56, times=1000),
}
DUPLICATING = STANDARD.replace(allow_duplicates=True)


@pytest.mark.parametrize("budget", [0.03, 1, 7])
@pytest.mark.parametrize("profile", [CRITICAL, STANDARD, DUPLICATING, TELEMETRY], ids=["all", "1", "1 twice", "0"])
@pytest.mark.parametrize("warm", [True, False], ids=["connected", "unconnected"])
@pytest.mark.parametrize("how", FAULTS)
async def test_ends_within_its_budget_and_tells_the_truth(
    how: str,
    warm: bool,  # noqa: FBT001 - a parameter of the test
    profile: DeliveryProfile,
    budget: float,
) -> None:
    """Whatever is broken, the outcome comes in time, and what it says of the log is true for ever after."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, profile=profile, hooks=[listener]) as publisher:
        if warm:
            await publisher.publish(record("warm"))
        FAULTS[how](broker)
        began = now()
        results = await asyncio.gather(
            *(outcome(publisher.publish(record(n), timeout=budget)) for n in range(3)),
        )
        assert now() - began <= budget + LATE
        assert all(result.elapsed <= budget + LATE for result in results)
    # What was held or stuck arrives after all.
    broker.heal()
    broker.release()
    await asyncio.sleep(100)
    landed = values(broker)
    for n, result in enumerate(results):
        if isinstance(result, Delivery) and result.status is PersistenceStatus.PERSISTED:
            assert landed.count(str(n)) == 1
        elif result.status is PersistenceStatus.NOT_PERSISTED:
            assert str(n) not in landed
        if profile is CRITICAL:
            assert landed.count(str(n)) <= 1


async def test_profile_budget() -> None:
    """Without anything else the profile's ``delivery_timeout`` ends it."""
    broker = one_partition()
    broker.down()
    async with opened(broker, profile=CRITICAL.replace(delivery_timeout=3)) as publisher:
        error = await error_of(publisher.publish(record(1)))
        assert isinstance(error, UnavailableError)
        assert error.reason == "budget"
        assert 3 <= error.elapsed <= 3 + LATE
        assert "of 3 s" in str(error)
        assert "delivery_timeout" in str(error)


async def test_default_budget_is_thirty_seconds() -> None:
    """The default profile gives up after half a minute."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        assert 30 <= (await error_of(publisher.publish(record(1)))).elapsed <= 30 + LATE


async def test_the_smallest_of_all_budgets_counts() -> None:
    """Profile, argument and enclosing budget only shorten each other."""
    broker = one_partition()
    broker.down()
    async with opened(broker, profile=CRITICAL.replace(delivery_timeout=4)) as publisher:
        with delivery_budget(2):
            assert (await error_of(publisher.publish(record(1)))).elapsed == pytest.approx(2, abs=LATE)
            assert (await error_of(publisher.publish(record(1), timeout=5))).reason == "budget"
        with delivery_budget(20):
            assert (await error_of(publisher.publish(record(1), timeout=1))).elapsed == pytest.approx(1, abs=LATE)
            assert (await error_of(publisher.publish(record(1)))).elapsed == pytest.approx(4, abs=LATE)


async def test_nested_delivery_budgets_only_shorten() -> None:
    """An inner budget ends no later than the outer one, and the outer one is back afterwards."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        with delivery_budget(5):
            with delivery_budget(100):
                assert (await error_of(publisher.publish(record(1), timeout=3))).elapsed < 3 + LATE
            with delivery_budget(1):
                assert (await error_of(publisher.publish(record(1)))).elapsed < 1 + LATE
            assert (await error_of(publisher.publish(record(1)))).elapsed == pytest.approx(1, abs=3 * 0.05)


async def test_delivery_budget_reaches_tasks_started_inside() -> None:
    """Tasks inherit it, those started before do not have it."""
    broker = one_partition()
    broker.down()
    async with opened(broker, profile=CRITICAL.replace(delivery_timeout=10)) as publisher:
        go = asyncio.Event()

        async def outside() -> PublishError:
            await go.wait()
            return await error_of(publisher.publish(record("outside")))

        before = asyncio.create_task(outside())
        await turns(1)
        with delivery_budget(2):
            inside = asyncio.create_task(error_of(publisher.publish(record("inside"))))
            go.set()
            assert (await inside).elapsed == pytest.approx(2, abs=LATE)
        assert (await before).elapsed == pytest.approx(10, abs=LATE)


async def test_delivery_budget_holds_for_all_ways_to_publish() -> None:
    """``publish_nowait`` and ``publish_many`` inside are bounded too."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        with delivery_budget(2):
            pending = publisher.publish_nowait(record(1))
            reports = await publisher.publish_many([record(n) for n in range(3)])
        assert now() == pytest.approx(2, abs=LATE)
        assert [type(each) for each in reports] == [UnavailableError] * 3
        assert isinstance(await outcome(pending), UnavailableError)


async def test_a_budget_already_spent_is_refused_at_the_call() -> None:
    """Nothing is sent, no time passes, and the error is the one that a budget ends with."""
    broker = one_partition()
    async with opened(broker) as publisher:
        with delivery_budget(1):
            await asyncio.sleep(2)
            began = now()
            with pytest.raises(UnavailableError, match="already spent; nothing was sent") as caught:
                await publisher.publish(record(1, headers=[("ce_id", b"id-1")]))
            assert (caught.value.reason, caught.value.event_id, caught.value.topic) == ("budget", "id-1", "t")
            assert caught.value.record is not None
            with pytest.raises(UnavailableError):
                publisher.publish_nowait(record(1))
            assert [type(each) for each in await publisher.publish_many([record(1)])] == [UnavailableError]
        assert now() == began
        assert values(broker) == []
        assert publisher.statistics().unconfirmed == 0


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "1", None])
async def test_a_budget_that_is_none_is_refused(seconds: object) -> None:
    """A duration is finite and more than zero."""
    with pytest.raises(ConfigurationError, match="delivery_budget"), delivery_budget(seconds):  # type: ignore[arg-type]
        pass


def test_a_budget_needs_a_clock() -> None:
    """Outside an event loop there is none, and the error says what to do."""
    with pytest.raises(UsageError, match="timeout="), delivery_budget(1):
        pass


@pytest.mark.parametrize("how", ["down", "holding requests"])
async def test_the_outcome_arrives_before_an_anyio_scope_cancels(how: str) -> None:
    """Inside ``move_on_after`` the caller hears the outcome, 100 ms before, and is not cancelled."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm"))
        FAULTS[how](broker)
        began = now()
        with anyio.move_on_after(2) as scope:
            error = await error_of(publisher.publish(record(1)))
        assert not scope.cancelled_caught
        assert error.reason == "budget"
        assert 1.9 <= now() - began < 2
        with anyio.fail_after(3):
            reports = await publisher.publish_many([record(1)])
        assert len(reports.failures) == 1


async def test_a_shielded_scope_hides_the_outer_one() -> None:
    """The effective deadline is the one that would cancel."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        with anyio.move_on_after(1), anyio.CancelScope(shield=True):
            error = await error_of(publisher.publish(record(1), timeout=3))
        assert error.elapsed == pytest.approx(3, abs=LATE)


async def test_nowait_is_not_bound_to_the_scope_around_it() -> None:
    """A delivery in the background outlives the scope it was started in."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        with anyio.move_on_after(1):  # noqa: ASYNC100 - awaited outside, that is the point
            pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(2)
        broker.up()
        assert isinstance(await outcome(pending), Delivery)


async def test_asyncio_timeout_cancels_and_the_delivery_goes_on() -> None:
    """A timeout of asyncio cannot be seen: it cancels, and what was written still reaches the hooks."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await publisher.publish(record(1))
        await asyncio.sleep(5)
        assert [details.outcome.status for details in listener.outcomes] == [PersistenceStatus.PERSISTED] * 2


async def test_a_short_budget_never_shortens_a_neighbours_attempt() -> None:
    """The batch lives as long as the longest of its records; the short one is told in time, possibly persisted."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(3)
        short = asyncio.create_task(error_of(publisher.publish(record("short"), timeout=1)))
        long = asyncio.create_task(publisher.publish(record("long")))
        error = await short
        assert isinstance(error, PossiblyPersistedError)
        assert (error.reason, error.attempts) == ("budget", 1)
        assert 1 <= error.elapsed <= 1 + LATE
        delivery = await long
        assert (delivery.attempts, delivery.offset) == (1, 2)
        assert [details.outcome.offset for details in listener.late if isinstance(details.outcome, Delivery)] == [1]


async def test_queued_behind_a_slow_batch_ends_clean() -> None:
    """A record whose budget ends in the queue was certainly not written."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(5)
        first = asyncio.create_task(publisher.publish(record("first")))
        await turns(3)
        error = await error_of(publisher.publish(record("queued"), timeout=1))
        assert isinstance(error, UnavailableError)
        assert error.attempts == 0
        await first
        await asyncio.sleep(20)
        assert values(broker) == ["warm", "first"]


async def test_no_attempt_begins_without_time_for_it() -> None:
    """With less than two measured round trips left no attempt is made, so that a clean history stays clean."""
    broker = one_partition()
    async with opened(broker) as publisher:
        broker.latency(1)
        for n in range(10):
            await publisher.publish(record(f"warm{n}"))
        broker.latency(3.5)
        blocking = publisher.publish_nowait(record("blocking"))
        await turns(5)
        error = await error_of(publisher.publish(record("late"), timeout=5))
        assert 3.5 <= error.elapsed < 3.6
        assert isinstance(error, UnavailableError)
        assert error.attempts == 0
        await blocking
        await asyncio.sleep(10)
        assert "late" not in values(broker)


async def test_a_budget_shorter_than_the_least_attempt_is_still_tried() -> None:
    """A healthy broker delivers within a few milliseconds, also a publish that has no more than those."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(0.004)
        assert (await publisher.publish(record(1), timeout=0.02)).attempts == 1


async def test_request_timeout_gives_the_broker_another_chance() -> None:
    """One lost answer costs ``request_timeout``, not the budget; the resend is recognised."""
    broker = one_partition()
    async with opened(broker, profile=CRITICAL.replace(request_timeout=2)) as publisher:
        await publisher.publish(record("warm"))
        broker.lose_next_ack(disconnect=False)
        delivery = await publisher.publish(record(1))
        assert (delivery.offset, delivery.attempts) == (1, 2)
        assert 2 <= delivery.elapsed <= 3
        assert values(broker) == ["warm", "1"]


async def test_ten_thousand_budgets_that_end_at_once() -> None:
    """They end in time, in slices that let the loop breathe."""
    broker = one_partition()
    broker.down()
    async with opened(broker, buffer=BufferLimits(max_records=4000)) as publisher:
        tasks = [asyncio.create_task(error_of(publisher.publish(record(n), timeout=1))) for n in range(10_000)]
        errors = await asyncio.gather(*tasks)
        assert now() <= 1 + LATE
        assert {error.reason for error in errors} == {"budget"}
        assert publisher.statistics().not_persisted == 10_000


async def test_a_broker_that_comes_back_within_the_budget() -> None:
    """An outage shorter than the budget is only a delay."""
    for how in ("down", "paused", "leaderless", "refusing clients", "swallowing requests"):
        broker = one_partition()
        async with opened(broker) as publisher:
            await publisher.publish(record("warm"))
            FAULTS[how](broker)
            pending = asyncio.create_task(publisher.publish(record(1)))
            await asyncio.sleep(12)
            broker.heal()
            assert isinstance(await pending, Delivery)
            assert values(broker) == ["warm", "1"]
