"""Retry policies (rule 3): tenacity's own objects, asked only after a failed attempt, on the loop's clock."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tenacity import (
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_fixed,
    wait_incrementing,
    wait_none,
)

from eventpub import (
    CRITICAL,
    DeliveryProfile,
    PersistenceStatus,
    PossiblyPersistedError,
    PublishError,
    RetryPolicy,
    UnavailableError,
)
from tests.publisher.kit import error_of, now, one_partition, opened, record, values

if TYPE_CHECKING:
    from collections.abc import Callable


def profile(**policy: object) -> DeliveryProfile:
    """Return the default profile with a policy."""
    return CRITICAL.replace(retry=RetryPolicy(**policy))  # type: ignore[arg-type]  # tenacity's objects


async def test_stop_after_attempt() -> None:
    """It gives up after that many attempts, long before the budget ends, and says so."""
    broker = one_partition()
    broker.reject_next(19, times=100)
    policy = RetryPolicy(wait=wait_fixed(1), stop=stop_after_attempt(3), retry=retry_if_exception_type(PublishError))
    async with opened(broker, profile=CRITICAL.replace(retry=policy)) as publisher:
        error = await error_of(publisher.publish(record(1)))
        assert isinstance(error, UnavailableError)
        assert (error.reason, error.attempts, error.kafka_code) == ("attempts", 3, 19)
        assert error.elapsed == pytest.approx(2)
        assert "profile.retry" in str(error)


async def test_giving_up_in_doubt_is_possibly_persisted() -> None:
    """The policy ends the attempts, the history decides the word, and the partition goes on."""
    broker = one_partition()
    async with opened(broker, profile=profile(stop=stop_after_attempt(2), wait=wait_none())) as publisher:
        await publisher.publish(record("warm"))
        broker.drop_next(times=2)
        error = await error_of(publisher.publish(record(1)))
        assert isinstance(error, PossiblyPersistedError)
        assert (error.reason, error.attempts) == ("attempts", 2)
        await publisher.publish(record(2))
        assert values(broker) == ["warm", "2"]


async def test_waits_are_those_of_the_policy() -> None:
    """Pauses of 1, 2 and 3 seconds, on the event loop's clock."""
    broker = one_partition()
    async with opened(broker, profile=profile(wait=wait_incrementing(start=1, increment=1))) as publisher:
        broker.reject_next(19, times=3)
        delivery = await publisher.publish(record(1))
        assert delivery.attempts == 4
        assert delivery.elapsed == pytest.approx(6)


async def test_stop_after_delay_counts_from_the_first_attempt() -> None:
    """Time before the first attempt is none of the policy's; the elapsed time is the loop's."""
    broker = one_partition()
    broker.leaderless("t", 0)
    async with opened(broker, profile=profile(stop=stop_after_delay(3), wait=wait_fixed(1))) as publisher:
        pending = asyncio.create_task(error_of(publisher.publish(record(1))))
        await asyncio.sleep(10)
        broker.reject_next(19, times=100)
        broker.leader_back("t", 0)
        error = await pending
        assert error.reason == "attempts"
        assert error.attempts == 4
        assert error.elapsed == pytest.approx(13)


async def test_the_budget_ends_any_policy() -> None:
    """A policy that never stops, and one that would pause for an hour, end with the budget."""
    for wait in (wait_fixed(1), wait_fixed(3600)):
        broker = one_partition()
        broker.reject_next(19, times=10_000)
        async with opened(broker, profile=profile(wait=wait)) as publisher:
            error = await error_of(publisher.publish(record(1), timeout=5))
            assert (error.reason, error.status) == ("budget", PersistenceStatus.NOT_PERSISTED)
            assert 5 <= error.elapsed <= 5.25


async def test_predicates_see_the_error_it_would_end_with() -> None:
    """Status, code and number of attempts are to be had; times are the loop's."""
    broker = one_partition()
    seen: list[tuple[object, ...]] = []

    def look(state: RetryCallState) -> bool:
        assert state.outcome is not None
        error = state.outcome.exception()
        assert isinstance(error, PublishError)
        seen.append((error.status, error.kafka_code, error.attempts, state.attempt_number, state.idle_for))
        assert state.seconds_since_start is not None
        assert 0 <= state.seconds_since_start < 10
        return True

    async with opened(broker, profile=profile(retry=look, wait=wait_fixed(2))) as publisher:
        await publisher.publish(record("warm"))
        broker.reject_next(19, times=1)
        await publisher.publish(record(1))
        broker.reject_next(7, times=2)
        await publisher.publish(record(2))
        assert seen == [
            (PersistenceStatus.NOT_PERSISTED, 19, 1, 1, 0),
            (PersistenceStatus.POSSIBLY_PERSISTED, 7, 1, 1, 0),
            (PersistenceStatus.POSSIBLY_PERSISTED, 7, 2, 2, 2),
        ]


PREDICATES: list[tuple[Callable[[RetryCallState], bool], int]] = [
    (retry_if_exception(lambda error: getattr(error, "kafka_code", None) != 19), 1),
    (retry_if_exception(lambda error: error.status is PersistenceStatus.NOT_PERSISTED), 3),  # type: ignore[attr-defined]
    (retry_if_exception_type(UnavailableError), 3),
    (retry_if_not_exception_type(UnavailableError), 1),
    (retry_if_exception_type(PublishError) & retry_if_exception(lambda error: error.attempts < 2), 2),  # type: ignore[attr-defined]
]


@pytest.mark.parametrize("predicate, attempts", PREDICATES)
async def test_tenacitys_predicates(predicate: Callable[[RetryCallState], bool], attempts: int) -> None:
    """Its ready-made and combined conditions decide on the error's class and facts."""
    broker = one_partition()
    broker.reject_next(19, times=100)
    policy = profile(retry=predicate, stop=stop_after_attempt(3), wait=wait_none())
    async with opened(broker, profile=policy) as publisher:
        error = await error_of(publisher.publish(record(1)))
        assert (error.reason, error.attempts) == ("attempts", attempts)


@pytest.mark.parametrize("part", ["wait", "stop", "retry"])
async def test_a_policy_that_raises_gives_up(part: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its exception is logged, the event ends as its history says, and the partition goes on."""

    def broken(_state: object) -> float:
        raise ZeroDivisionError

    broker = one_partition()
    async with opened(broker, profile=profile(**{part: broken})) as publisher:
        broker.reject_next(19)
        error = await error_of(publisher.publish(record(1)))
        assert isinstance(error, UnavailableError)
        assert (error.reason, error.attempts) == ("attempts", 1)
        assert "the retry policy raised" in caplog.text
        await publisher.publish(record(2))
        assert values(broker) == ["2"]


async def test_the_happy_path_asks_nobody() -> None:
    """A policy is consulted after a failure only."""

    def never(_state: object) -> bool:
        raise AssertionError

    broker = one_partition()
    async with opened(broker, profile=profile(retry=never, stop=never, wait=never)) as publisher:
        await publisher.publish_many([record(n) for n in range(100)])


async def test_waiting_until_it_could_be_written_uses_up_no_attempt() -> None:
    """A broker that is away, a leader that is missing and throttling are no attempts."""
    broker = one_partition()
    async with opened(broker, profile=profile(stop=stop_after_attempt(1))) as publisher:
        broker.down()
        pending = asyncio.create_task(publisher.publish(record(1)))
        await asyncio.sleep(5)
        broker.up()
        assert (await pending).attempts == 1
        broker.leaderless("t", 0)
        pending = asyncio.create_task(publisher.publish(record(2)))
        await asyncio.sleep(5)
        broker.leader_back("t", 0)
        assert (await pending).attempts == 1
        broker.throttle(3)
        await publisher.publish(record(3))
        began = now()
        assert (await publisher.publish(record(4))).attempts == 1
        assert now() - began == pytest.approx(3)


async def test_narrowing_uses_up_no_attempt() -> None:
    """Attempts that only search for a guilty record are not counted against the policy."""
    broker = one_partition()
    async with opened(broker, profile=profile(stop=stop_after_attempt(2), wait=wait_none())) as publisher:
        await publisher.publish(record("warm"))
        broker.reject_next(10, times=2)
        broker.reject_next(19)
        reports = await publisher.publish_many([record(n) for n in range(4)])
        assert not reports.failures
        assert values(broker) == ["warm", "0", "1", "2", "3"]


async def test_default_pauses_are_jittered_and_bounded() -> None:
    """From almost nothing to a second, growing, so that a broker that is back is not met by all at once."""
    broker = one_partition()
    broker.reject_next(19, times=10_000)
    async with opened(broker) as publisher:
        error = await error_of(publisher.publish(record(1)))
        starts = [attempt.started for attempt in error.history]
        pauses = [later - earlier for earlier, later in pairwise(starts)]
        assert max(pauses) <= 1.01
        assert len({round(pause, 3) for pause in pauses}) > len(pauses) / 2
        assert 30 <= len(starts) <= 150


async def test_each_batch_has_its_own_count() -> None:
    """Attempts of one batch are not counted against the next."""
    broker = one_partition()
    async with opened(broker, profile=profile(stop=stop_after_attempt(2), wait=wait_none())) as publisher:
        for n in range(5):
            broker.reject_next(19)
            assert (await publisher.publish(record(n))).attempts == 2
