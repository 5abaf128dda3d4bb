"""What the log says: state changes, the first failure of a kind, one line a minute, and the recovery."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from eventpub import (
    CRITICAL,
    STANDARD,
    Delivery,
    EventTooLargeError,
    PossiblyPersistedError,
    RetryPolicy,
    UnavailableError,
    UnknownTopicError,
)
from eventpub._engine.attempt_log import AttemptLog, Outage
from eventpub.abc import TopicPartition
from eventpub.delivery import Attempt, AttemptOutcome
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import STEADY, error_of, now, one_partition, opened, outcome, record, turns

NOT_ENOUGH_REPLICAS = 19
OUT_OF_ORDER = 45
RESERVED = {*vars(logging.makeLogRecord({})), "message", "asctime"}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Keep every line of eventpub's."""
    caplog.set_level(logging.DEBUG, "eventpub")
    return caplog


def lines(log: pytest.LogCaptureFixture, prefix: str = "") -> list[str]:
    """Return level and text of the lines whose name begins with *prefix*."""
    found = [entry for entry in log.records if str(facts(entry).get("line")).startswith(prefix)]
    return [f"{entry.levelname} {entry.getMessage()}" for entry in found]


def facts(entry: logging.LogRecord) -> dict[str, Any]:
    """Return what a line carries besides its text."""
    return {name: value for name, value in vars(entry).items() if name not in RESERVED}


def one(log: pytest.LogCaptureFixture, line: str) -> dict[str, Any]:
    """Return what the only line called *line* carries."""
    (found,) = [facts(entry) for entry in log.records if facts(entry).get("line") == line]
    return found


async def test_a_life_is_three_lines(log: pytest.LogCaptureFixture) -> None:
    """Open, draining, closed with its report; a delivery that works is no line at all."""
    async with opened(one_partition(), client_id="task-api") as publisher:
        await publisher.publish(record("secret", key=b"secret"))
    assert [entry.levelname for entry in log.records] == ["INFO"] * 3
    said = "publisher task-api: {}"
    assert [entry.getMessage() for entry in log.records[:2]] == [said.format("open"), said.format("draining")]
    assert log.messages[2].startswith("publisher task-api: closed: 0 confirmed, 0 failed, 0 unconfirmed")
    closed = one(log, "publisher.closed")
    assert (closed["client_id"], closed["confirmed"], closed["unconfirmed"]) == ("task-api", 0, 0)


async def test_the_first_failure_and_the_recovery(log: pytest.LogCaptureFixture) -> None:
    """A warning with what to do, and how long it took and how often it failed once it is over."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        broker.not_enough_replicas("t", 0)
        asyncio.get_running_loop().call_later(12.25, broker.enough_replicas, "t", 0)
        await publisher.publish(record("secret"))
    warning, recovery = lines(log, "attempt")
    assert warning == (
        "WARNING t[0]: attempt not appended (NOT_ENOUGH_REPLICAS) after 0.0 ms; it is tried again inside its budget;"
        " if this lasts, bring replicas back, or lower min.insync.replicas"
    )
    assert re.fullmatch(
        r"INFO t\[0\]: written again after 12\.3 s, 12\d attempts failed \(NOT_ENOUGH_REPLICAS\)", recovery
    )
    failed = one(log, "attempt.failed")
    assert failed == {
        "line": "attempt.failed",
        "topic": "t",
        "partition": 0,
        "broker": "memory:1",
        "attempt_outcome": "not appended",
        "error_type": "NOT_ENOUGH_REPLICAS",
        "kafka_code": NOT_ENOUGH_REPLICAS,
        "records": 1,
        "untold": 0,
    }
    recovered = one(log, "attempt.recovered")
    assert recovered["duration"] == pytest.approx(12.25, abs=0.1)
    assert recovered["failures"] == publisher.statistics().failed_attempts


async def test_one_line_a_minute_says_how_many_more(log: pytest.LogCaptureFixture) -> None:
    """Five minutes of failures are five lines, the later ones with what was kept back."""
    broker = one_partition()
    async with opened(broker, profile=STEADY.replace(delivery_timeout=600)) as publisher:
        broker.not_enough_replicas("t", 0)
        pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(299)
        broker.enough_replicas("t", 0)
        await pending
    told = [facts(entry)["untold"] for entry in log.records if facts(entry)["line"] == "attempt.failed"]
    assert len(told) == 5
    assert told[0] == 0
    assert all(590 <= untold <= 610 for untold in told[1:])
    assert "more since the last such line" in lines(log, "attempt.failed")[1]


async def test_a_flapping_partition_is_not_told_each_time(log: pytest.LogCaptureFixture) -> None:
    """A failure every second, each recovered at once: one warning a minute, and no recovery without a warning."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        for n in range(100):
            broker.reject_next(NOT_ENOUGH_REPLICAS)
            await publisher.publish(record(n))
            await asyncio.sleep(1)
    assert len(lines(log, "attempt.failed")) == 2
    assert len(lines(log, "attempt.recovered")) == 2


async def test_kinds_are_told_apart_and_named_together(log: pytest.LogCaptureFixture) -> None:
    """Another reason is another warning; the recovery names both."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        broker.reject_next(NOT_ENOUGH_REPLICAS, times=2)
        broker.reject_next(7)
        await publisher.publish(record(1))
    assert len(lines(log, "attempt.failed")) == 2
    assert lines(log, "attempt.recovered")[0].endswith("3 attempts failed (NOT_ENOUGH_REPLICAS, REQUEST_TIMED_OUT)")


async def test_partitions_of_a_topic_recover_in_one_line(log: pytest.LogCaptureFixture) -> None:
    """A broker that goes with thirty leaderships is one warning for each kind, and one recovery when the last is back."""
    broker = MemoryBroker()
    broker.create_topic("t", 30)
    async with opened(broker, profile=STEADY) as publisher:
        for partition in range(30):
            broker.not_enough_replicas("t", partition)
        pending = [publisher.publish_nowait(record(n, partition=n)) for n in range(30)]
        await asyncio.sleep(1)
        for partition in range(30):
            broker.enough_replicas("t", partition)
            await asyncio.sleep(0.2)
        await asyncio.gather(*pending)
    assert len(lines(log, "attempt.failed")) == 1
    (recovery,) = lines(log, "attempt.recovered")
    assert recovery.startswith("INFO t, 30 partitions: written again after ")


async def test_a_partition_that_was_given_up_hides_no_recovery(log: pytest.LogCaptureFixture) -> None:
    """Nobody tries it any more; a minute later the others' recovery is told without it."""
    broker = MemoryBroker()
    broker.create_topic("t", 2)
    async with opened(broker, profile=STEADY.replace(delivery_timeout=2)) as publisher:
        for partition in (0, 1):
            broker.not_enough_replicas("t", partition)
            assert isinstance(await error_of(publisher.publish(record(1, partition=partition))), UnavailableError)
        broker.enough_replicas("t", 0)
        await publisher.publish(record(2, partition=0))
        assert lines(log, "attempt.recovered") == []
        await asyncio.sleep(61)
        await publisher.publish(record(3, partition=0))
    assert len(lines(log, "attempt.recovered")) == 1


async def test_doubt_says_what_happens_to_the_bytes(log: pytest.LogCaptureFixture) -> None:
    """Idempotent, they are sent again; else they may be there and are not."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        broker.lose_next_ack()
        await publisher.publish(record(1))
        assert "in doubt (ConnectionResetError)" in lines(log, "attempt.failed")[0]
        assert "the same bytes are sent again" in lines(log, "attempt.failed")[0]
        broker.reject_next(7)
        await error_of(publisher.publish(record(1), profile=STANDARD))
        assert "it may be in the log, and is not sent again" in lines(log, "attempt.failed")[1]


async def test_a_record_that_is_too_large_is_no_outage(log: pytest.LogCaptureFixture) -> None:
    """The warning says what to do; nothing recovers when the next record is written."""
    broker = one_partition()
    async with opened(broker) as publisher:
        broker.reject_next(10)
        assert isinstance(await error_of(publisher.publish(record(1))), EventTooLargeError)
        await publisher.publish(record(2))
    (warning,) = lines(log, "attempt")
    assert warning.endswith("make the event smaller, or raise the topic's max.message.bytes")


async def test_a_topic_that_is_not_there(log: pytest.LogCaptureFixture) -> None:
    """It is refused before any attempt, which is a warning too; when it is created, it is written."""
    broker = MemoryBroker(auto_create=False)
    async with opened(broker) as publisher:
        for _ in range(3):
            assert isinstance(await error_of(publisher.publish(record(1))), UnknownTopicError)
        broker.create_topic("t", 1)
        await publisher.publish(record(2))
    (refusal,) = lines(log, "topic")
    assert refusal == (
        "WARNING t: refused before anything was sent (UNKNOWN_TOPIC_OR_PARTITION);"
        " create the topic (eventpub never does), or correct its name"
    )
    assert lines(log, "attempt.recovered")[0].startswith("INFO t[0]: written again after ")


async def test_an_epoch_that_is_left(log: pytest.LogCaptureFixture) -> None:
    """A batch given up in doubt costs an epoch, and the log says which one ended."""
    broker = one_partition()
    async with opened(broker, profile=CRITICAL.replace(delivery_timeout=2)) as publisher:
        broker.lose_next_ack(times=1_000)
        assert isinstance(await error_of(publisher.publish(record(1))), PossiblyPersistedError)
        await turns(3)
    assert lines(log, "epoch") == ["INFO t[0]: a batch of 1 was given up in doubt, and the partition leaves epoch 0"]
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record(1))
        broker.reject_next(OUT_OF_ORDER)
        await publisher.publish(record(2))
    assert lines(log, "attempt.failed")[-1].endswith("the partition goes on in a new epoch")


async def test_a_late_answer_says_what_was_told_before(log: pytest.LogCaptureFixture) -> None:
    """Where it is now, and the word its caller had heard."""
    broker = one_partition()
    profile = CRITICAL.replace(delivery_timeout=2, retry=RetryPolicy(stop=lambda _state: True))
    async with opened(broker, profile=profile) as publisher:
        broker.hold_next(late_answer=True)
        assert isinstance(await error_of(publisher.publish(record(1))), PossiblyPersistedError)
        broker.release()
        await turns(5)
    (late,) = lines(log, "outcome.late")
    assert late.startswith("INFO late answer: t[0]@0 persisted in ")
    assert late.endswith("its caller had been told: possibly persisted")
    assert one(log, "outcome.late")["outcome"] == "persisted"


async def test_an_outcome_that_nobody_awaits(log: pytest.LogCaptureFixture) -> None:
    """It carries the event's id, its topic and its outcome."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record(0))
        broker.pause()
        publishing = asyncio.create_task(outcome(publisher.publish(record(1, headers=[("ce_id", b"42")]), timeout=1)))
        await turns(5)
        publishing.cancel()
        await asyncio.sleep(2)
    unheard = one(log, "outcome.unheard")
    assert (unheard["event_id"], unheard["topic"], unheard["outcome"]) == ("42", "t", "possibly persisted")
    assert unheard["attempts"] == 1


async def test_no_line_has_a_name_that_logging_keeps_for_itself(log: pytest.LogCaptureFixture) -> None:
    """`extra` with such a name raises; every line of eventpub's tells what it is by `line`."""
    broker = one_partition()
    async with opened(broker, profile=STEADY.replace(delivery_timeout=5)) as publisher:
        broker.reject_next(NOT_ENOUGH_REPLICAS)
        await publisher.publish(record(1))
        broker.lose_next_ack(times=100)
        await error_of(publisher.publish(record(1)))
    assert len(log.records) > 5
    assert all("line" in facts(entry) for entry in log.records)


# --- from inside ------------------------------------------------------------------------


def test_topics_in_trouble_are_bounded() -> None:
    """A thousand topics that fail are neither a thousand entries nor a thousand lines."""
    troubles = AttemptLog()
    attempt = Attempt(0.0, 0.1, "b:1", AttemptOutcome.NOT_APPENDED, 19, "NOT_ENOUGH_REPLICAS")

    class Batch:
        profile = CRITICAL
        entries = (None,)

    for n in range(1_000):
        troubles.failed(TopicPartition(f"t{n}", 0), Batch(), attempt, 0.0)  # type: ignore[arg-type]  # a fake
    assert len(troubles.open) == 200
    assert len(troubles._limiter._kinds) == 201


def test_an_outage_names_a_few_kinds() -> None:
    """However many there were."""
    outage = Outage(0.0)
    for n in range(100):
        outage.failed(0, f"CODE_{n}", 0.0)
    assert (outage.failures, len(outage.kinds)) == (100, 5)


class Deaf:
    """Has nothing open, and nothing that could be called."""

    open: tuple[()] = ()


async def test_nothing_is_asked_of_attempt_log_while_all_is_well() -> None:
    """An acknowledgement costs a truth test: `written` is not called."""
    broker = one_partition()
    async with opened(broker) as publisher:
        assert publisher._engine is not None
        publisher._engine._attempt_log = Deaf()  # type: ignore[assignment]  # any call would raise
        assert isinstance(await publisher.publish(record(1)), Delivery)
        assert now() == 0
