"""Hooks: told of every attempt, outcome, late outcome and state; what they do changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from eventpub import (
    STANDARD,
    AttemptOutcome,
    BufferLimits,
    Delivery,
    PendingDelivery,
    PersistenceStatus,
    PossiblyPersistedError,
    PublishError,
    UnavailableError,
)
from tests.publisher.kit import STEADY, Listener, Noted, error_of, one_partition, opened, outcome, record, turns, values

if TYPE_CHECKING:
    from eventpub.abc import OutcomeDetails


async def test_each_attempt() -> None:
    """Topic, partition, how many records, and what came of it."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, profile=STEADY, hooks=[listener]) as publisher:
        broker.reject_next(19)
        await publisher.publish_many([record(n) for n in range(3)])
        first, second = listener.attempts
        assert (first.topic, first.partition, first.records) == ("t", 0, 3)
        assert (first.attempt.outcome, first.attempt.kafka_code) == (AttemptOutcome.NOT_APPENDED, 19)
        assert (second.records, second.attempt.outcome) == (3, AttemptOutcome.ACKED)


async def test_each_outcome() -> None:
    """One for each event, the same object that its caller gets."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        event = Noted(key="k")
        delivery = await publisher.publish(event, topic="t")
        broker.reject_next(87)
        error = await error_of(publisher.publish(record(1)))
        assert [details.outcome for details in listener.outcomes] == [delivery, error]
        assert listener.outcomes[1].outcome is error
        assert (listener.outcomes[0].event_id, listener.outcomes[0].topic) == (event.envelope.id, "t")


async def test_states() -> None:
    """From opening to closed, each once."""
    listener = Listener()
    async with opened("memory://", hooks=[listener]) as publisher:
        assert [state.value for state in listener.states] == ["opening", "open"]
        await publisher.aclose()
    assert [state.value for state in listener.states] == ["opening", "open", "draining", "closed"]


async def test_any_subset_and_any_number() -> None:
    """A hook has the methods it needs; several are told in their order."""
    told: list[str] = []

    class One:
        def on_outcome(self, _details: OutcomeDetails) -> None:
            told.append("one")

    class Other:
        def on_outcome(self, _details: OutcomeDetails) -> None:
            told.append("other")

        def on_state(self, _state: object) -> None:
            pass

    async with opened(one_partition(), hooks=[One(), Other()]) as publisher:
        await publisher.publish(record(1))
    assert told == ["one", "other"]


async def test_a_hook_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; outcomes, the hooks behind it and later events are as they would be."""

    class Broken:
        def on_attempt(self, _details: object) -> None:
            raise RuntimeError("broken")

        on_outcome = on_late_outcome = on_state = on_attempt

    listener = Listener()
    broker = one_partition()
    async with opened(broker, hooks=[Broken(), listener]) as publisher:
        reports = await publisher.publish_many([record(n) for n in range(5)])
        assert len(reports.deliveries) == 5
        assert len(listener.outcomes) == 5
        assert publisher.statistics().unconfirmed == 0
    assert "a hook raised" in caplog.text
    assert listener.states


async def test_a_late_acknowledgement() -> None:
    """An answer after the budget reaches ``on_late_outcome`` and the statistics; the caller's word stays."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, profile=STEADY, hooks=[listener]) as publisher:
        await publisher.publish(record("warm"))
        broker.hold_next(late_answer=True)
        error = await error_of(publisher.publish(record(1, headers=[("ce_id", b"id-1")]), timeout=1))
        assert isinstance(error, PossiblyPersistedError)
        assert listener.late == []
        broker.release()
        await turns(3)
        (late,) = listener.late
        assert late.event_id == "id-1"
        assert isinstance(late.outcome, Delivery)
        assert (late.outcome.offset, late.outcome.status) == (1, PersistenceStatus.PERSISTED)
        assert values(broker) == ["warm", "1"]
        statistics = publisher.statistics()
        assert (statistics.late_outcomes, statistics.possibly_persisted, statistics.persisted) == (1, 1, 1)
        assert len(listener.outcomes) == 2


async def test_a_late_rejection() -> None:
    """A single attempt whose answer comes late and says no was not persisted after all."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        await publisher.publish(record("warm"))
        broker.hold_next(late_answer=True)
        await error_of(publisher.publish(record(1), timeout=1))
        broker.deny("t")
        broker.release()
        await turns(3)
        (late,) = listener.late
        assert isinstance(late.outcome, PublishError)
        assert late.outcome.status is PersistenceStatus.NOT_PERSISTED
        assert late.outcome.kafka_code == 29


async def test_a_late_answer_settles_a_batch_that_still_lives() -> None:
    """While the batch is backing off for its resend, the answer ends it without another attempt."""
    broker = one_partition()
    profile = STEADY.replace(request_timeout=1)
    slow = profile.replace(retry=type(profile.retry)(wait=lambda _state: 5.0))
    async with opened(broker, profile=slow) as publisher:
        await publisher.publish(record("warm"))
        broker.hold_next(late_answer=True)
        pending = asyncio.create_task(publisher.publish(record(1)))
        await asyncio.sleep(2)
        broker.release()
        delivery = await pending
        assert (delivery.offset, delivery.attempts) == (1, 1)
        assert delivery.elapsed == pytest.approx(2)
        assert (await publisher.publish(record(2))).attempts == 1


async def test_an_outcome_told_early_is_told_late_once() -> None:
    """A record whose budget ended in flight, and whose batch is persisted later, has one outcome and one late one."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(3)
        short = publisher.publish_nowait(record("short"), timeout=1)
        long = publisher.publish_nowait(record("long"))
        assert isinstance(await outcome(short), PossiblyPersistedError)
        await long
        assert len(listener.outcomes) == 3
        assert [type(details.outcome) for details in listener.late] == [Delivery]


async def test_possibly_persisted_is_not_told_twice() -> None:
    """When the batch of such a record ends in doubt as well, there is no news."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        await publisher.publish(record("warm"))
        broker.hold_next(times=100)
        short = publisher.publish_nowait(record("short"), timeout=1)
        long = publisher.publish_nowait(record("long"), timeout=3)
        assert [type(await outcome(each)) for each in (short, long)] == [PossiblyPersistedError] * 2
        await asyncio.sleep(5)
        assert listener.late == []
        assert publisher.statistics().possibly_persisted == 2


async def test_a_hook_may_withdraw_a_neighbour() -> None:
    """Cancelling another event from inside a hook gives each event one end, and room back once."""
    broker = one_partition()
    broker.down()
    handles: list[PendingDelivery] = []

    class Canceller:
        def on_outcome(self, _details: OutcomeDetails) -> None:
            for handle in handles:
                handle.cancel()

    async with opened(broker, hooks=[Canceller()], buffer=BufferLimits(max_records=50)) as publisher:
        handles.extend(publisher.publish_nowait(record(n), timeout=1) for n in range(50))
        await asyncio.sleep(2)
        statistics = publisher.statistics()
        assert (statistics.not_persisted, statistics.withdrawn, statistics.unconfirmed) == (1, 49, 0)
        results = await asyncio.gather(*(outcome(handle) for handle in handles), return_exceptions=True)
        assert sum(isinstance(result, UnavailableError) for result in results) == 1
        assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 49


async def test_outcomes_are_told_in_the_order_of_the_log() -> None:
    """Hooks hear of a partition's events in the order in which they lie there."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        await publisher.publish_many([record(n) for n in range(100)], profile=STANDARD)
        offsets = [details.outcome.offset for details in listener.outcomes if isinstance(details.outcome, Delivery)]
        assert offsets == list(range(100))
