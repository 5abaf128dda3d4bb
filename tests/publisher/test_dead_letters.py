"""What is kept instead of delivered, when, and when its caller is told."""

from __future__ import annotations

import asyncio
import logging
import pickle
from typing import TYPE_CHECKING

import anyio
import pytest

from eventpub import (
    CRITICAL,
    STANDARD,
    TELEMETRY,
    BufferFullError,
    BufferLimits,
    ConfigurationError,
    DeadLetterError,
    Delivery,
    EventTooLargeError,
    PersistenceStatus,
    PossiblyPersistedError,
    Publisher,
    PublishError,
    SerializationError,
    UnavailableError,
    UsageError,
    delivery_budget,
)
from eventpub._engine import dead_letters
from eventpub.deadletter import DeadLetters, TopicSink
from eventpub.transports.memory import MemoryBroker
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
from tests.publisher.sinks import FakeSink

if TYPE_CHECKING:
    from eventpub.abc import DeadLetterDetails

LATE = 0.25
REFUSED = DeadLetterError("full")
IN_DOUBT = DeadLetterError("no answer", in_doubt=True)
QUICK = CRITICAL.replace(delivery_timeout=2)
PATIENT = CRITICAL.replace(request_timeout=10)


def keeping(*sinks: FakeSink, **more: BufferLimits) -> DeadLetters:
    """Return dead letters in *sinks*."""
    return DeadLetters(*sinks, **more)


# --- what is kept -----------------------------------------------------------------------


async def test_what_could_not_be_delivered_is_kept_and_the_caller_learns_where() -> None:
    """The record byte for byte, why it is here, and a receipt in the exception."""
    broker, sink = one_partition(), FakeSink()
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK) as publisher:
        sent = record("v", b"k", headers=[("h", b"1"), ("h", None)], timestamp=5)
        error = await error_of(publisher.publish(sent))
        (letter,) = sink.letters
    assert letter.record == sent
    assert (letter.status, letter.stage, letter.reason) == (PersistenceStatus.NOT_PERSISTED, "send", "budget")
    assert (letter.error, letter.attempts, letter.profile) == ("UnavailableError", 0, "critical")
    assert (letter.budget, round(letter.elapsed)) == (2.0, 2)
    assert letter.cut is None
    assert error.dead_letter == (letter.id, "shelf", "written")
    assert str(error).endswith(f"; dead letter {letter.id} in shelf")
    assert publisher.statistics().dead_letters_written == 1


async def test_an_event_s_id_and_type_are_in_the_letter() -> None:
    """Nobody has to decode the value to know what it was."""
    broker, sink = MemoryBroker(), FakeSink()
    broker.create_topic("notes", 1)
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK) as publisher:
        event = Noted(key="k")
        await error_of(publisher.publish(event))
    assert (sink.letters[0].event_id, sink.letters[0].event_type) == (event.envelope.id, "noted")


async def test_a_rejected_event_is_kept() -> None:
    """The broker's code and its name are in the letter."""
    broker, sink = one_partition(max_message_bytes=200), FakeSink()
    async with opened(broker, dead_letters=keeping(sink)) as publisher:
        error = await error_of(publisher.publish(record("x" * 500)))
    assert isinstance(error, EventTooLargeError)
    assert (sink.letters[0].reason, sink.letters[0].kafka_code) == ("rejected", 10)
    assert sink.letters[0].kafka_error == "MESSAGE_TOO_LARGE"


async def test_a_letter_in_doubt_says_where_to_look_for_it() -> None:
    """Partition, last acknowledged offset before it, producer id, epoch and its own sequence."""
    broker, sink = one_partition(), FakeSink()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK) as publisher:
        for number in range(3):
            await publisher.publish(record(number))
        broker.pause()
        errors = await asyncio.gather(*(error_of(publisher.publish(record(number))) for number in (3, 4)))
        broker.resume()
    assert {type(error) for error in errors} == {PossiblyPersistedError}
    assert [letter.status for letter in sink.letters] == [PersistenceStatus.POSSIBLY_PERSISTED] * 2
    cuts = [letter.cut for letter in sink.letters]
    assert [(cut.partition, cut.after, cut.epoch, cut.sequence) for cut in cuts if cut] == [(0, 2, 0, 3), (0, 2, 0, 4)]


async def test_what_leaves_a_batch_before_it_is_tried_again_is_kept() -> None:
    """Two in one batch that brokers refuse for now; the first has no time left for another attempt."""
    broker, sink = one_partition(), FakeSink()
    async with opened(broker, dead_letters=keeping(sink), profile=STEADY) as publisher:
        await publisher.publish(record(0))
        broker.not_enough_replicas("t", 0)
        hasty = asyncio.create_task(error_of(publisher.publish(record(1), timeout=1.02)))
        patient = asyncio.create_task(publisher.publish(record(2), timeout=10))
        error = await hasty
        assert now() <= 1.02 + LATE
        broker.enough_replicas("t", 0)
        await patient
    assert error.dead_letter == (sink.letters[0].id, "shelf", "written")
    assert sink.letters[0].status is PersistenceStatus.NOT_PERSISTED


async def test_a_letter_of_a_batch_that_was_cut_anew_says_where_it_is_now() -> None:
    """Its companion ended during the first attempt; in the second it has the first sequence, and not the second."""
    broker, sink = one_partition(), FakeSink()
    async with opened(broker, dead_letters=keeping(sink), profile=PATIENT) as publisher:
        await publisher.publish(record(0))
        broker.not_enough_replicas("t", 0)
        broker.latency(2)
        hasty = asyncio.create_task(error_of(publisher.publish(record(1), timeout=1)))
        patient = asyncio.create_task(error_of(publisher.publish(record(2), timeout=6)))
        await hasty
        await asyncio.sleep(0.5)
        broker.enough_replicas("t", 0)
        await asyncio.sleep(1)
        broker.pause()
        await patient
        broker.resume()
    cuts = [letter.cut for letter in sink.letters]
    assert [(cut.after, cut.sequence) for cut in cuts if cut] == [(0, 1), (0, 1)]


async def test_who_waited_for_room_until_the_budget_ended_is_kept() -> None:
    """It never got a place, and is as lost without a letter as the others."""
    broker, sink = one_partition(), FakeSink()
    broker.down()
    limits = BufferLimits(max_records=1)
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK, buffer=limits) as publisher:
        publishes = (error_of(publisher.publish(record(number), timeout=2 - number)) for number in range(2))
        await asyncio.gather(*publishes)
    assert sorted(letter.stage for letter in sink.letters) == ["admit", "send"]


async def test_who_waits_for_room_at_the_close_is_kept() -> None:
    """Its waiting ends with the close, in the close's own stage."""
    broker, sink = one_partition(), FakeSink()
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), buffer=BufferLimits(max_records=1)) as publisher:
        tasks = [asyncio.create_task(error_of(publisher.publish(record(number)))) for number in range(2)]
        await turns(2)
        report = await publisher.aclose(2)
        await asyncio.gather(*tasks)
    assert [letter.stage for letter in sink.letters] == ["close", "close"]
    assert {letter.reason for letter in sink.letters} == {"closing", "drain"}
    assert {error.dead_letter.state for error in report.unconfirmed if error.dead_letter} == {"written"}
    assert len(report.unconfirmed) == 2


async def test_what_its_caller_still_holds_is_not_kept() -> None:
    """No room for a ``publish_nowait``, no form on the wire, wrong use, withdrawn: he knows, and has the event."""
    broker, sink = one_partition(), FakeSink()
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), buffer=BufferLimits(max_records=1)) as publisher:
        pending = publisher.publish_nowait(record(1))
        with pytest.raises(BufferFullError):
            publisher.publish_nowait(record(2))
        with pytest.raises(SerializationError):
            await publisher.publish(Noted(key="\ud800"))
        with pytest.raises(UsageError):
            await publisher.publish("no event")  # type: ignore[arg-type]  # on purpose
        assert pending.cancel()
        await asyncio.sleep(60)
    assert sink.letters == []


async def test_acks_0_makes_no_dead_letters() -> None:
    """Nobody says what was not written; what could not even be sent is told and not kept."""
    broker, sink = one_partition(), FakeSink()
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), profile=TELEMETRY) as publisher:
        await error_of(publisher.publish(record(1), timeout=1))
    assert sink.letters == []


async def test_a_profile_may_do_without() -> None:
    """``dead_letter=False``: its events are told and not kept."""
    broker, sink = one_partition(), FakeSink()
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK.replace(dead_letter=False)) as publisher:
        error = await error_of(publisher.publish(record(1)))
    assert error.dead_letter is None
    assert sink.letters == []


async def test_a_cancelled_caller_does_not_stop_it() -> None:
    """What was on its way when he left is kept like any other; only a hook gets to know."""
    broker, sink, hook = one_partition(), FakeSink(takes=1), Keeper()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK, hooks=[hook]) as publisher:
        await publisher.publish(record(0))
        broker.pause()
        task = asyncio.create_task(publisher.publish(record(1)))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.sleep(3)
        broker.resume()
    assert [letter.record.value for letter in sink.letters] == [b"1"]
    assert [details.receipt.state for details in hook.heard] == ["written"]


async def test_letters_tell_in_what_order_their_events_were_published() -> None:
    """To the microsecond, whichever failed first: a replay keeps a key's order by it."""
    broker, sink = one_partition(), FakeSink()
    broker.down()
    async with opened(broker, dead_letters=keeping(sink)) as publisher:
        publishes = (error_of(publisher.publish(record(number), timeout=3 - number)) for number in range(3))
        tasks = []
        for publish in publishes:
            tasks.append(asyncio.create_task(publish))
            await asyncio.sleep(0.00001)
        await asyncio.gather(*tasks)
    assert [letter.record.value for letter in sink.letters] == [b"2", b"1", b"0"]
    by_publish = sorted(sink.letters, key=lambda letter: letter.failed_at - letter.elapsed)
    assert [letter.record.value for letter in by_publish] == [b"0", b"1", b"2"]


# --- when the caller is told ------------------------------------------------------------


async def test_the_caller_waits_for_the_write_and_no_longer_than_its_timeout() -> None:
    """``delivery_timeout`` + ``dead_letter_timeout`` + 250 ms, whatever the sink does."""
    broker, sink = one_partition(), FakeSink(takes=600)
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK.replace(dead_letter_timeout=3)) as publisher:
        error = await error_of(publisher.publish(record(1)))
        assert 5 <= now() <= 5 + LATE
    assert error.dead_letter is not None
    assert error.dead_letter.state == "failed"


async def test_an_enclosing_budget_ends_the_waiting_and_not_the_write() -> None:
    """There the exception says *pending*, and a hook gets the result."""
    broker, sink, hook = one_partition(), FakeSink(takes=1), Keeper()
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), hooks=[hook], profile=QUICK) as publisher:
        with delivery_budget(2):
            error = await error_of(publisher.publish(record(1)))
        assert 2 <= now() <= 2 + LATE
        assert error.dead_letter is not None
        assert error.dead_letter.state == "pending"
        assert "still being written" in str(error)
        await asyncio.sleep(2)
    assert [letter.id for letter in sink.letters] == [error.dead_letter.id]
    assert [details.receipt for details in hook.heard] == [(error.dead_letter.id, "shelf", "written")]


async def test_a_cancel_scope_ends_the_waiting_before_it_cancels() -> None:
    """The caller is told, not torn away."""
    broker, sink = one_partition(), FakeSink(takes=1)
    broker.down()
    async with opened(broker, dead_letters=keeping(sink)) as publisher:
        with anyio.move_on_after(2) as scope:
            error = await error_of(publisher.publish(record(1)))
        assert not scope.cancelled_caught
        assert error.dead_letter is not None
        assert error.dead_letter.state == "pending"


async def test_a_timeout_of_the_call_leaves_time_for_the_letter() -> None:
    """``timeout=`` is for the delivery; keeping it has its own."""
    broker, sink = one_partition(), FakeSink(takes=1)
    broker.down()
    async with opened(broker, dead_letters=keeping(sink)) as publisher:
        error = await error_of(publisher.publish(record(1), timeout=2))
        assert 3 <= now() <= 3 + LATE
    assert error.dead_letter is not None
    assert error.dead_letter.state == "written"


async def test_a_pending_delivery_is_done_when_the_letter_is() -> None:
    """Before that it is neither done nor cancelled, however often it is awaited."""
    broker, sink = one_partition(), FakeSink(takes=1)
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK) as publisher:
        pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(2.5)
        assert not pending.done()
        assert not pending.cancel()
        error = await error_of(pending)
        assert pending.done()
        assert await error_of(pending) is error
    assert error.dead_letter is not None


async def test_publish_many_reports_each_one_s_receipt() -> None:
    """One that failed is kept; its siblings are not."""
    broker, sink = one_partition(max_message_bytes=200), FakeSink()
    async with opened(broker, dead_letters=keeping(sink)) as publisher:
        reports = await publisher.publish_many([record(1), record("x" * 500), record(3)])
    assert len(reports.deliveries) == 2
    assert [failure.dead_letter.state for failure in reports.failures if failure.dead_letter] == ["written"]


async def test_a_flush_waits_for_letters_too() -> None:
    """What is being kept has no outcome yet."""
    broker, sink = one_partition(), FakeSink(takes=1)
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK) as publisher:
        publisher.publish_nowait(record(1))
        await asyncio.sleep(2.5)
        report = await publisher.flush(10)
        assert now() == pytest.approx(3, abs=0.3)
    assert len(report.failed) == 1


# --- acknowledgements that come late ----------------------------------------------------


async def hasty_and_patient(publisher: Publisher) -> Delivery | PublishError:
    """Publish two in one batch, which lives on after the first one's budget of a second; return what that came to."""
    hasty = asyncio.create_task(outcome(publisher.publish(record("hasty"), timeout=1)))
    patient = asyncio.create_task(outcome(publisher.publish(record("patient"), timeout=10)))
    result = await hasty
    assert isinstance(await patient, Delivery)
    return result


async def test_an_ack_before_the_write_makes_publish_return_it() -> None:
    """Eight groups are being written: the ninth waits, and meanwhile its event turns out to be in the log."""
    broker, sink = one_partition(max_message_bytes=300), FakeSink(takes=3)
    async with opened(broker, dead_letters=keeping(sink), profile=PATIENT) as publisher:
        await publisher.publish(record(0))
        refused = []
        for _ in range(8):
            refused.append(asyncio.create_task(error_of(publisher.publish(record("x" * 500)))))
            await asyncio.sleep(0.01)
        broker.latency(1.5)
        result = await hasty_and_patient(publisher)
        broker.latency(0)
        await asyncio.gather(*refused)
    assert isinstance(result, Delivery), result
    assert result.elapsed == pytest.approx(1.5, abs=0.1)
    assert b"hasty" not in {letter.record.value for letter in sink.letters}
    assert sink.resolutions == []
    assert publisher.statistics().late_outcomes == 0


async def test_an_ack_after_the_write_resolves_the_letter() -> None:
    """The caller was told *possibly persisted*; the sink and a hook learn that it is there."""
    broker, sink, hook = one_partition(), FakeSink(), Listener()
    async with opened(broker, dead_letters=keeping(sink), profile=PATIENT, hooks=[hook]) as publisher:
        await publisher.publish(record(0))
        broker.latency(3)
        error = await hasty_and_patient(publisher)
        broker.latency(0)
    assert isinstance(error, PossiblyPersistedError)
    (resolution,) = sink.resolutions
    assert resolution.id == sink.letters[0].id
    assert (resolution.verdict, resolution.partition, resolution.offset) == ("persisted", 0, 1)
    assert [details.outcome.status for details in hook.late] == [PersistenceStatus.PERSISTED]
    assert values(broker) == ["0", "hasty", "patient"]


async def test_an_ack_during_the_write_resolves_the_letter_behind_it() -> None:
    """The sink hears of the letter first, then of what became of it."""
    broker, sink = one_partition(), FakeSink(takes=2)
    async with opened(broker, dead_letters=keeping(sink), profile=PATIENT) as publisher:
        await publisher.publish(record(0))
        broker.latency(2)
        error = await hasty_and_patient(publisher)
        broker.latency(0)
    assert error.elapsed == pytest.approx(1, abs=0.1)
    assert [resolution.id for resolution in sink.resolutions] == [sink.letters[0].id]


@pytest.mark.parametrize("resolving_takes, told", [(0, 1), (600, 0)])
async def test_an_ack_behind_a_write_that_never_ends_is_told_at_the_close(resolving_takes: float, told: int) -> None:
    """The sink may have the letter, so it hears what became of it, and no longer than it may take to be closed."""
    broker, sink = one_partition(), FakeSink(takes=600)
    sink.resolving_takes = resolving_takes
    publisher = Publisher(broker, dead_letters=keeping(sink), profile=PATIENT)
    await publisher.open()
    await publisher.publish(record(0))
    broker.latency(2)
    hasty = asyncio.create_task(error_of(publisher.publish(record("hasty"), timeout=1)))
    await publisher.publish(record("patient"), timeout=10)
    broker.latency(0)
    began = now()
    await publisher.aclose(2)
    assert now() - began <= 3
    error = await hasty
    assert error.dead_letter is not None
    assert error.dead_letter.state == "failed"
    assert [resolution.id for resolution in sink.resolutions] == [error.dead_letter.id] * told
    assert sink.state == "closed"


# --- the chain --------------------------------------------------------------------------


async def test_the_next_sink_takes_what_the_first_refuses() -> None:
    """One id in both."""
    broker, first, second = one_partition(), FakeSink("first", fault=REFUSED), FakeSink("second")
    broker.down()
    async with opened(broker, dead_letters=keeping(first, second), profile=QUICK) as publisher:
        error = await error_of(publisher.publish(record(1)))
    assert error.dead_letter == (second.letters[0].id, "second", "written")
    assert second.letters[0].doubtful_in is None


async def test_a_sink_in_doubt_is_named_to_the_next() -> None:
    """The letter may lie in both."""
    broker, first, second = one_partition(), FakeSink("first", fault=IN_DOUBT), FakeSink("second")
    broker.down()
    async with opened(broker, dead_letters=keeping(first, second), profile=QUICK) as publisher:
        await error_of(publisher.publish(record(1)))
    assert second.letters[0].doubtful_in == "first"


async def test_a_sink_that_is_not_the_last_gets_half_of_the_time() -> None:
    """One that never answers leaves enough for the next."""
    broker, first, second = one_partition(), FakeSink("first", takes=600), FakeSink("second")
    broker.down()
    async with opened(broker, dead_letters=keeping(first, second), profile=QUICK) as publisher:
        await error_of(publisher.publish(record(1)))
    (began, until), (after, end) = first.given[0], second.given[0]
    assert until - began == pytest.approx(2.5, abs=0.1)
    assert end - began == pytest.approx(5, abs=0.1)
    assert after - began <= 2.5 + LATE
    assert second.letters[0].doubtful_in == "first"


async def test_a_sink_that_is_known_to_be_away_is_skipped() -> None:
    """It costs no time, and is named if all fail."""
    broker, first, second = one_partition(), FakeSink("first", takes=600), FakeSink("second")
    first.known_trouble = "no broker"
    broker.down()
    async with opened(broker, dead_letters=keeping(first, second), profile=QUICK) as publisher:
        await error_of(publisher.publish(record(1)))
        assert now() <= 2 + LATE
    assert first.given == []
    assert second.letters[0].doubtful_in is None


async def test_if_every_sink_fails_the_exception_has_both_causes(caplog: pytest.LogCaptureFixture) -> None:
    """Why it was not delivered, why it was not kept, and the event; one line is logged."""
    broker, first, second = one_partition(), FakeSink("first", fault=REFUSED), FakeSink("second", fault=REFUSED)
    broker.down()
    sent = record("secret")
    async with opened(broker, dead_letters=keeping(first, second), profile=QUICK) as publisher:
        errors = await asyncio.gather(*(error_of(publisher.publish(sent)) for _ in range(3)))
        assert publisher.statistics().dead_letters_failed == 3
    error = errors[0]
    assert isinstance(error, UnavailableError)
    assert isinstance(error.__cause__, DeadLetterError)
    assert str(error.__cause__) == "no sink took the dead letter: first: full; second: full"
    assert error.record is sent
    assert error.dead_letter is not None
    assert error.dead_letter.state == "failed"
    assert pickle.loads(pickle.dumps(error)).dead_letter == error.dead_letter
    lines = [line for line in caplog.records if line.levelno == logging.ERROR]
    assert len(lines) == 1
    assert "secret" not in caplog.text


async def test_a_sink_that_raises_is_left_for_the_next() -> None:
    """A user's own sink may do anything."""

    class Broken(FakeSink):
        async def write(self, *_: object) -> list[None]:
            raise RuntimeError("bug")

    broker, second = one_partition(), FakeSink("second")
    broker.down()
    async with opened(broker, dead_letters=keeping(Broken("first"), second), profile=QUICK) as publisher:
        await error_of(publisher.publish(record(1)))
    assert second.letters[0].doubtful_in == "first"


async def test_a_letter_that_cannot_be_made_leaves_nobody_waiting(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller hears his outcome, room and budget are free, and the fault is logged."""

    def fail(*_: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(dead_letters, "dead_letter_of", fail)
    broker, sink = one_partition(), FakeSink()
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK) as publisher:
        error = await error_of(publisher.publish(record(1)))
        assert now() <= 2 + LATE
        assert publisher.statistics().unconfirmed == 0
        broker.up()
        await publisher.publish(record(2))
    assert error.dead_letter is None
    assert "a dead letter could not be made" in caplog.text


async def test_letters_that_end_together_are_written_together() -> None:
    """Ten thousand at once are some groups, not ten thousand writes, in their order."""
    broker, sink = one_partition(), FakeSink()
    broker.down()
    async with opened(broker, dead_letters=keeping(sink), profile=QUICK) as publisher:
        await asyncio.gather(*(error_of(publisher.publish(record(number))) for number in range(10_000)))
    assert [letter.record.value for letter in sink.letters] == [b"%d" % number for number in range(10_000)]
    assert len(sink.groups) <= 40


async def test_letters_beyond_the_limits_fail_at_once() -> None:
    """Memory is bounded; whoever finds no room has the event in the exception."""
    broker, sink = one_partition(), FakeSink(takes=1)
    broker.down()
    letters = keeping(sink, buffer=BufferLimits(max_records=5))
    async with opened(broker, dead_letters=letters, profile=QUICK) as publisher:
        errors = await asyncio.gather(*(error_of(publisher.publish(record(number))) for number in range(8)))
    states = [error.dead_letter.state for error in errors if error.dead_letter]
    assert (states.count("written"), states.count("failed")) == (5, 3)
    assert "raise DeadLetters(..., buffer=BufferLimits())" in str(
        next(error.__cause__ for error in errors if error.dead_letter and error.dead_letter.state == "failed")
    )


async def test_who_waits_behind_a_sink_that_hangs_is_told_in_time() -> None:
    """More groups than may be under way at once: those whose turn does not come fail at their own deadline."""
    broker, sink = one_partition(max_message_bytes=100), FakeSink(takes=600)
    quick = QUICK.replace(name="quick", dead_letter_timeout=0.5)
    async with opened(broker, dead_letters=keeping(sink), profiles={"quick": quick}) as publisher:
        await publisher.publish(record(0))
        tasks = []
        for _ in range(20):
            tasks.append(asyncio.create_task(error_of(publisher.publish(record("x" * 200)))))
            await asyncio.sleep(0.02)
        began = now()
        error = await error_of(publisher.publish(record("x" * 200), profile="quick"))
        assert 0.5 <= now() - began <= 0.5 + LATE
        await asyncio.gather(*tasks)
        assert now() - began <= 5 + LATE
    assert error.dead_letter is not None
    assert error.dead_letter.state == "failed"
    assert isinstance(error.__cause__, DeadLetterError)
    assert not error.__cause__.in_doubt
    assert str(error.__cause__).endswith("its turn had not come when the time was over")


# --- close ------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 1, 4, 20])
async def test_the_close_leaves_the_writer_its_share(timeout: float) -> None:
    """The last fifth, at least a second, at most half; everything open is kept in it, and the sinks are closed."""
    broker, sink = one_partition(), FakeSink(takes=0.1)
    broker.down()
    publisher = Publisher(broker, dead_letters=keeping(sink))
    await publisher.open()
    tasks = [asyncio.create_task(error_of(publisher.publish(record(number)))) for number in range(3)]
    await turns(3)
    began = now()
    report = await publisher.aclose(timeout)
    assert now() - began <= timeout + 1
    errors = await asyncio.gather(*tasks)
    assert {error.dead_letter.state for error in errors if error.dead_letter} == {"written"}
    assert len(report.unconfirmed) == 3
    assert sink.state == "closed"


async def test_a_sink_that_hangs_does_not_hold_the_close() -> None:
    """Within its timeout + 1 s; what was not kept by then is told as failed."""
    broker, sink = one_partition(), FakeSink(takes=600)
    broker.down()
    publisher = Publisher(broker, dead_letters=keeping(sink))
    await publisher.open()
    task = asyncio.create_task(error_of(publisher.publish(record(1))))
    await turns(3)
    began = now()
    await publisher.aclose(4)
    assert now() - began <= 5
    error = await task
    assert error.dead_letter is not None
    assert error.dead_letter.state == "failed"
    assert isinstance(error.__cause__, DeadLetterError)
    assert error.__cause__.in_doubt


@pytest.mark.parametrize("takes, fault", [(600, None), (0, RuntimeError("no longer there"))])
async def test_a_sink_that_cannot_be_closed_keeps_no_other_open(
    takes: float, fault: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log, the publisher is closed in time, and so are the other sinks."""
    stuck, sink = FakeSink("stuck"), FakeSink()
    stuck.closing_takes, stuck.closing_fault = takes, fault
    publisher = Publisher(one_partition(), dead_letters=keeping(stuck, sink))
    await publisher.open()
    began = now()
    await publisher.aclose(2)
    assert now() - began <= 3
    assert (stuck.state, sink.state) == ("open", "closed")
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "stuck could not be closed"
    ]


async def test_a_cancelled_close_hurries_the_writer_too() -> None:
    """It ends at once, and everybody is told."""
    broker, sink = one_partition(), FakeSink(takes=600)
    broker.down()
    publisher = Publisher(broker, dead_letters=keeping(sink))
    await publisher.open()
    task = asyncio.create_task(error_of(publisher.publish(record(1))))
    await turns(3)
    closing = asyncio.create_task(publisher.aclose(20))
    await asyncio.sleep(17)
    closing.cancel()
    began = now()
    await asyncio.wait([closing])
    assert now() - began <= 1
    assert (await task).dead_letter is not None


async def test_what_failed_before_the_close_is_not_its_doing() -> None:
    """Its letter is still being written when the close begins; the report says *failed*."""
    broker, sink = one_partition(), FakeSink(takes=1)
    broker.down()
    publisher = Publisher(broker, dead_letters=keeping(sink), profile=QUICK)
    await publisher.open()
    task = asyncio.create_task(error_of(publisher.publish(record(1))))
    await asyncio.sleep(2.5)
    report = await publisher.aclose(0.4)
    assert (len(report.failed), report.unconfirmed) == (1, ())
    await task


# --- a topic as a sink ------------------------------------------------------------------


async def test_a_topic_of_the_same_broker_keeps_what_was_refused() -> None:
    """The original's key, value and headers, and ours behind them; a second topic's letters go to its own."""
    broker = one_partition(max_message_bytes=300)
    broker.create_topic("t.dlq", 2)
    async with opened(broker, dead_letters=DeadLetters(TopicSink())) as publisher:
        error = await error_of(publisher.publish(record("x" * 400, b"k", headers=[("h", b"1")])))
        (kept,) = broker.records("t.dlq")
    assert error.dead_letter is not None
    assert error.dead_letter.sink == "topic {topic}.dlq"
    assert (kept.key, kept.value) == (b"k", b"x" * 400)
    assert kept.headers[0] == ("h", b"1")
    assert dict(kept.headers)["__eventpub.errors.status"] == b"not persisted"


async def test_a_dead_letter_makes_no_dead_letter() -> None:
    """Where the topic is away too, the next sink gets it, once."""
    broker, spool = one_partition(), FakeSink("spool")
    broker.create_topic("t.dlq", 1)
    async with opened(broker, dead_letters=DeadLetters(TopicSink(), spool), profile=QUICK) as publisher:
        await publisher.publish(record(0))
        broker.down()
        first = await error_of(publisher.publish(record(1)))
        began = now()
        await error_of(publisher.publish(record(2)))
        assert now() - began <= 2 + LATE  # by now the topic is known to be away
    assert first.dead_letter is not None
    assert first.dead_letter.sink == "spool"
    assert [letter.record.value for letter in spool.letters] == [b"1", b"2"]
    assert {letter.doubtful_in for letter in spool.letters} == {None}


async def test_a_sink_s_own_budget_is_not_the_caller_s() -> None:
    """A letter is written although the block in which its publish was called has no time left."""
    broker = one_partition(max_message_bytes=100)
    broker.create_topic("t.dlq", 1)
    async with opened(broker, dead_letters=DeadLetters(TopicSink())) as publisher:
        broker.latency(0.4)
        with delivery_budget(0.5):
            error = await error_of(publisher.publish(record("x" * 200)))
        await asyncio.sleep(3)
        assert len(broker.records("t.dlq")) == 1
    assert error.dead_letter is not None


# --- refusals ---------------------------------------------------------------------------


def test_dead_letters_that_make_no_sense_are_refused() -> None:
    """No sink, no sink at all, one twice, a template without sense."""
    with pytest.raises(ConfigurationError, match="no sink is named"):
        DeadLetters()
    with pytest.raises(ConfigurationError, match="str is no sink: it has no open"):
        DeadLetters("spool.db")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigurationError, match="shelf is there twice"):
        DeadLetters(FakeSink(), FakeSink())
    with pytest.raises(ConfigurationError, match="another field"):
        TopicSink("{event}.dlq")
    with pytest.raises(ConfigurationError, match="the topic that they failed for"):
        TopicSink("{topic}")


def test_a_sink_belongs_to_one_publisher() -> None:
    """Its publisher closes with the other."""
    sink = TopicSink()
    Publisher("memory://", dead_letters=DeadLetters(sink))
    with pytest.raises(ConfigurationError, match="belongs to another publisher"):
        Publisher("memory://", dead_letters=DeadLetters(sink))


def test_a_profile_that_demands_dead_letters_is_refused_without() -> None:
    """At the construction, for the default and the named ones."""
    demanding = STANDARD.replace(name="strict", dead_letter=True)
    for profiles in ({"profile": demanding}, {"profiles": {"strict": demanding}}):
        with pytest.raises(ConfigurationError, match="the profile 'strict' demands them"):
            Publisher("memory://", **profiles)
    Publisher("memory://", profile=demanding, dead_letters=keeping(FakeSink()))


class Keeper:
    """A hook that hears where letters went."""

    def __init__(self) -> None:
        self.heard: list[DeadLetterDetails] = []
        self.on_dead_letter = self.heard.append
