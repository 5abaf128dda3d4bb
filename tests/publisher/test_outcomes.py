"""Which of the three words an event ends with, by which fault, and what the error tells (rules 1, 2, 5)."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import (
    STANDARD,
    TELEMETRY,
    AttemptOutcome,
    Delivery,
    EventTooLargeError,
    InvalidRecordError,
    PersistenceStatus,
    PossiblyPersistedError,
    PublishError,
    RejectedError,
    RetryPolicy,
    TopicAuthorizationError,
    UnavailableError,
)
from eventpub.transports.memory import MemoryBroker, MemoryTransport
from support.no_callbacks import NoCallbacks
from tests.publisher.kit import STEADY, Listener, Noted, error_of, one_partition, opened, outcome, record, turns, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventpub.abc import Transport

ONCE = RetryPolicy(stop=lambda _state: True)
SECRET = "payload-that-must-not-show"

REJECTIONS: list[tuple[int, type[RejectedError], str]] = [
    (10, EventTooLargeError, "max.message.bytes"),
    (18, EventTooLargeError, "segment.bytes"),
    (29, TopicAuthorizationError, "grant"),
    (32, InvalidRecordError, "timestamp"),
    (87, InvalidRecordError, "key"),
    (17, RejectedError, "legal topic"),
    (21, RejectedError, "acks"),
    (42, RejectedError, "broker's log"),
    (43, RejectedError, "message format"),
    (44, RejectedError, "policies"),
    (76, RejectedError, "compression"),
]


@pytest.mark.parametrize("code, kind, advice", REJECTIONS)
async def test_a_permanent_code_is_told_at_once(code: int, kind: type[RejectedError], advice: str) -> None:
    """It is not retried; class, code and name say what to fix; the next event goes through."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(0.5)
        broker.reject_next(code)
        event = Noted(key=SECRET, text=SECRET)
        error = await error_of(publisher.publish(event, topic="t"))
        assert type(error) is kind
        assert (error.status, error.kafka_code, error.attempts) == (PersistenceStatus.NOT_PERSISTED, code, 1)
        assert (error.topic, error.partition, error.event_id) == ("t", 0, event.envelope.id)
        assert error.kafka_error is not None
        assert f"t[0]: {error.kafka_error} ({code})" in str(error)
        assert advice in str(error)
        assert error.record is event
        assert error.elapsed == pytest.approx(0.5)
        (attempt,) = error.history
        assert (attempt.outcome, attempt.kafka_code) == (AttemptOutcome.NOT_APPENDED, code)
        assert attempt.broker == "memory:1"
        assert attempt.duration == pytest.approx(0.5)
        assert SECRET not in str(error) + repr(error)
        assert (await publisher.publish(record("next"))).offset == 1


async def test_a_damaged_batch_is_sent_once_more_and_then_refused() -> None:
    """Code 2 may come from the way; twice it is the record's."""
    broker = one_partition()
    async with opened(broker) as publisher:
        broker.reject_next(2)
        assert (await publisher.publish(record(1))).attempts == 2
        broker.reject_next(2, times=2)
        error = await error_of(publisher.publish(record(2)))
        assert isinstance(error, InvalidRecordError)
        assert (error.kafka_code, error.attempts) == (2, 2)
        assert (await publisher.publish(record(3))).attempts == 1


async def test_no_permission_for_a_producer_id() -> None:
    """Code 31 is told at once, with the permission to ask for; nothing was attempted."""
    broker = one_partition()
    broker.deny_producer_ids()
    async with opened(broker) as publisher:
        error = await error_of(publisher.publish(record(1)))
        assert isinstance(error, TopicAuthorizationError)
        assert (error.kafka_code, error.attempts, error.elapsed) == (31, 0, 0)
        assert "producer id" in str(error)
        broker.allow_producer_ids()
        assert (await publisher.publish(record(2))).offset == 0


@pytest.mark.parametrize("code", [5, 6, 7, 9, 13, 19, 20, 56, 74, 75, 89, 45, 47, 59])
async def test_a_passing_code_is_retried(code: int) -> None:
    """An idempotent event outlives it, and is in the log once."""
    for appended in (False, True):
        broker = one_partition()
        async with opened(broker, profile=STEADY) as publisher:
            await publisher.publish(record("warm"))
            broker.reject_next(code, times=3, appended=appended and code in {6, 7})
            delivery = await publisher.publish(record(1))
            assert delivery.attempts == 4
            await publisher.publish(record(2))
            assert values(broker) == ["warm", "1", "2"]


async def test_a_lost_answer_is_recognised_on_the_resend() -> None:
    """The frozen batch goes again under the same stamp; the broker answers with where it lies."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        broker.lose_next_ack(times=3)
        delivery = await publisher.publish(record(1))
        assert (delivery.attempts, delivery.offset) == (4, 1)
        assert values(broker) == ["warm", "1"]
        assert publisher.statistics().epoch_bumps == 0


async def test_an_old_brokers_duplicate_code_is_an_acknowledgement() -> None:
    """Code 46 says it is there, without the offset."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        broker.lose_next_ack()
        await turns(1)
        broker.reject_next(46)
        delivery = await publisher.publish(record(1))
        assert delivery.status is PersistenceStatus.PERSISTED


async def test_without_idempotence_doubt_is_not_retried() -> None:
    """Trying again could write it twice: the veto comes before the retry policy (rule 3)."""
    broker = one_partition()
    asked: list[object] = []

    def ask(state: object) -> bool:
        asked.append(state)
        return True

    policy = RetryPolicy(retry=ask)
    async with opened(broker, profile=STANDARD.replace(retry=policy)) as publisher:
        for script in ("lose", "drop", "answer 7"):
            if script == "lose":
                broker.lose_next_ack()
            elif script == "drop":
                broker.drop_next()
            else:
                broker.reject_next(7, appended=True)
            error = await error_of(publisher.publish(record(1)))
            assert isinstance(error, PossiblyPersistedError)
            assert (error.reason, error.attempts) == ("no_retry", 1)
            assert error.status is PersistenceStatus.POSSIBLY_PERSISTED
            assert error.history[0].outcome is AttemptOutcome.IN_DOUBT
            assert "idempotence=True, or allow_duplicates=True" in str(error)
        assert asked == []
        assert len(values(broker)) == 2


async def test_without_idempotence_a_clean_failure_is_retried() -> None:
    """What certainly was not written may go again."""
    broker = one_partition()
    async with opened(broker, profile=STANDARD.replace(retry=STEADY.retry)) as publisher:
        broker.not_sent_next()
        broker.reject_next(19)
        broker.reject_next(6)
        assert (await publisher.publish(record(1))).attempts == 4
        assert values(broker) == ["1"]


async def test_allowing_duplicates_retries_doubt() -> None:
    """The profile that says so may write twice, and is told persisted."""
    broker = one_partition()
    async with opened(broker, profile=STANDARD.replace(allow_duplicates=True, retry=STEADY.retry)) as publisher:
        broker.lose_next_ack()
        assert (await publisher.publish(record(1))).attempts == 2
        assert values(broker) == ["1", "1"]


async def test_doubt_stays_after_a_later_refusal() -> None:
    """A permanent code after an attempt in doubt: the earlier one may have been appended (and was)."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        broker.lose_next_ack()
        pending = asyncio.create_task(error_of(publisher.publish(record(2))))
        await asyncio.sleep(0.05)
        broker.deny("t")
        refused = await pending
        assert isinstance(refused, PossiblyPersistedError)
        assert (refused.reason, refused.attempts) == ("rejected", 2)
        assert [attempt.outcome for attempt in refused.history] == [
            AttemptOutcome.IN_DOUBT,
            AttemptOutcome.NOT_APPENDED,
        ]
        assert values(broker)[-1] == "2"


async def test_a_forgotten_sequence_after_doubt_is_fenced() -> None:
    """Where the broker lost what it knew, nobody can ask it again: possibly persisted, and the next event is fine."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        broker.lose_next_ack()
        pending = asyncio.create_task(error_of(publisher.publish(record(1))))
        await asyncio.sleep(0.05)
        broker.reject_next(45)
        error = await pending
        assert isinstance(error, PossiblyPersistedError)
        assert error.reason == "fenced"
        assert (await publisher.publish(record(2))).attempts == 1
        assert publisher.statistics().epoch_bumps == 1
        assert values(broker) == ["warm", "1", "2"]


async def test_an_abandoned_batch_costs_one_epoch_and_fences_its_late_copy() -> None:
    """A request held back beyond the budget, arriving after its successor, is refused by the broker."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm"))
        broker.hold_next(times=10)
        error = await error_of(publisher.publish(record("late"), timeout=5))
        assert isinstance(error, PossiblyPersistedError)
        broker.forget_script()
        await publisher.publish(record("next"))
        assert publisher.statistics().epoch_bumps == 1
        assert broker.release() >= 1
        await asyncio.sleep(1)
        assert values(broker) == ["warm", "next"]


async def test_other_partitions_keep_their_epoch() -> None:
    """What one partition gave up in doubt touches no other."""
    broker = MemoryBroker()
    broker.create_topic("t", 2)
    async with opened(broker) as publisher:
        for partition in (0, 1):
            await publisher.publish(record("warm", partition=partition))
        broker.hold_next(times=10, partition=0)
        await error_of(publisher.publish(record(1, partition=0), timeout=2))
        broker.forget_script()
        for partition in (0, 1):
            await publisher.publish(record("next", partition=partition))
        epochs = {logged.partition: logged.stamp.epoch for logged in broker.records("t")}
        assert epochs == {0: 1, 1: 0}


async def test_acks_0_that_was_never_written_is_retried_and_then_unavailable() -> None:
    """Nobody answers, but what did not reach the socket is known."""
    broker = one_partition()
    async with opened(broker, profile=TELEMETRY.replace(retry=STEADY.retry)) as publisher:
        broker.not_sent_next()
        assert (await publisher.publish(record(1))).attempts == 2
        broker.not_sent_next(times=1000)
        error = await error_of(publisher.publish(record(2), timeout=1))
        assert isinstance(error, UnavailableError)
        assert error.attempts > 3
        assert values(broker) == ["1"]


async def test_acks_0_in_a_socket_that_takes_nothing_ends_in_doubt() -> None:
    """Bytes may be in the socket's buffer: nobody knows."""
    broker = one_partition()
    async with opened(broker, profile=TELEMETRY) as publisher:
        await publisher.publish(record("warm"))
        broker.clog()
        result = await outcome(publisher.publish(record(1), timeout=1))
        assert isinstance(result, PublishError)
        assert result.status is PersistenceStatus.POSSIBLY_PERSISTED


async def test_history_tells_every_attempt() -> None:
    """Oldest first: when, how long, which broker, which code, and what it did to the log."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        broker.latency(0.5)
        broker.reject_next(19, times=2)
        profile = STEADY.replace(request_timeout=1)
        pending = asyncio.create_task(error_of(publisher.publish(record(1), timeout=3, profile=profile)))
        await asyncio.sleep(1.15)
        broker.lose_next_ack(times=100, disconnect=False)
        error = await pending
        assert isinstance(error, PossiblyPersistedError)
        assert [attempt.kafka_code for attempt in error.history] == [19, 19, None, None]
        assert [attempt.outcome for attempt in error.history] == [AttemptOutcome.NOT_APPENDED] * 2 + [
            AttemptOutcome.IN_DOUBT
        ] * 2
        assert error.attempts == 4
        assert [attempt.started for attempt in error.history] == sorted(attempt.started for attempt in error.history)
        assert {attempt.broker for attempt in error.history} == {"memory:1"}
        assert str(len(error.history)) in str(error)
        assert str(error.history[-1]) in str(error)


def _all_errors(broker: MemoryBroker) -> list[Any]:
    return [
        lambda: broker.reject_next(87),
        lambda: broker.reject_next(10),
        broker.lose_next_ack,
        broker.down,
    ]


async def test_no_error_shows_a_payload_and_all_survive_pickling() -> None:
    """Neither text, repr, pickle nor log line holds key or value; facts and class stay."""
    for number in range(4):
        broker = one_partition()
        async with opened(broker, profile=STANDARD) as publisher:
            _all_errors(broker)[number]()
            event = Noted(key=SECRET, text=SECRET)
            error = await error_of(publisher.publish(event, topic="t", timeout=1))
            assert SECRET not in f"{error}{error!r}{error.history}"
            pickled = pickle.dumps(error)
            assert SECRET.encode() not in pickled
            restored = pickle.loads(pickled)
            assert type(restored) is type(error)
            assert str(restored) == str(error)
            facts = (
                "status",
                "reason",
                "kafka_code",
                "attempts",
                "history",
                "event_id",
                "topic",
                "partition",
                "elapsed",
            )
            assert [getattr(restored, fact) for fact in facts] == [getattr(error, fact) for fact in facts]
            assert (error.record, restored.record) == (event, None)


class _Faulty(MemoryTransport):
    """Has a bug that shows once, by either way in."""

    shows = False

    def post(self, *args: Any) -> Any:
        shows, self.shows = self.shows, False
        if shows:
            raise RuntimeError("a bug")
        return super().post(*args)


@pytest.mark.parametrize("wrap", [lambda transport: transport, NoCallbacks])
async def test_a_transport_that_raises_does_not_end_the_lane(
    wrap: Callable[[Transport], Transport], caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in a transport is logged, counts as doubt, and later events are delivered."""
    transport = _Faulty(one_partition())
    async with opened(wrap(transport), profile=STEADY) as publisher:
        await publisher.publish(record("warm"))
        transport.shows = True
        delivery = await publisher.publish(record(1))
        assert isinstance(delivery, Delivery)
        assert delivery.attempts == 2
        assert "the transport raised" in caplog.text


async def test_batch_neighbours_of_a_guilty_record_are_delivered_in_order() -> None:
    """One record too large for the topic fails alone; the others keep their order, once each (rule 6)."""
    broker = one_partition(max_message_bytes=2000)
    async with opened(broker) as publisher:
        events = [record("x" * 3000 if n == 5 else n) for n in range(20)]
        reports = await publisher.publish_many(events)
        (error,) = reports.failures
        assert isinstance(error, EventTooLargeError)
        assert error.kafka_code == 10
        assert reports.index(error) == 5
        assert values(broker) == [str(n) for n in range(20) if n != 5]
        assert [each.offset for each in reports.deliveries] == list(range(19))


async def test_named_guilty_records_fail_together_and_the_rest_goes_on() -> None:
    """Where the broker names them (KIP-467), one more request is enough."""
    broker = one_partition(compacted=True)
    async with opened(broker) as publisher:
        await publisher.publish(record("warm", b"k"))
        before = publisher.statistics().attempts
        reports = await publisher.publish_many([record(n, None if n % 4 == 0 else b"k") for n in range(12)])
        assert [n for n, each in enumerate(reports) if isinstance(each, InvalidRecordError)] == [0, 4, 8]
        assert publisher.statistics().attempts - before == 2
        assert values(broker)[1:] == [str(n) for n in range(12) if n % 4]


async def test_timestamps_far_ahead_are_refused_one_by_one() -> None:
    """Code 32 concerns the record that has it."""
    broker = one_partition()
    async with opened(broker) as publisher:
        far = broker.now() + 5 * 3_600_000
        reports = await publisher.publish_many([record(n, timestamp=far if n == 1 else None) for n in range(3)])
        assert isinstance(reports[1], InvalidRecordError)
        assert reports[1].kafka_code == 32
        assert values(broker) == ["0", "2"]


async def test_a_learned_size_limit_is_kept() -> None:
    """After one refusal for size, later batches of the topic are cut below it."""
    broker = one_partition(max_message_bytes=10_000)
    async with opened(broker) as publisher:
        refused = []
        for _ in range(2):
            before = publisher.statistics().failed_attempts
            assert not (await publisher.publish_many([record("x" * 900) for _ in range(40)])).failures
            refused.append(publisher.statistics().failed_attempts - before)
        assert refused[1] < refused[0]


async def test_statistics_count_every_word() -> None:
    """One outcome an event, under its word."""
    broker, listener = one_partition(), Listener()
    async with opened(broker, hooks=[listener]) as publisher:
        await publisher.publish(record(1))
        broker.reject_next(87)
        await error_of(publisher.publish(record(2)))
        broker.lose_next_ack()
        await error_of(publisher.publish(record(3), profile=STANDARD))
        await publisher.publish(record(4), profile=TELEMETRY)
        statistics = publisher.statistics()
        assert (statistics.persisted, statistics.not_persisted, statistics.possibly_persisted) == (1, 1, 2)
        assert (statistics.attempts, statistics.failed_attempts) == (4, 2)
        assert len(listener.outcomes) == 4
