"""The ledger and the recorder: nothing that was meant or said gets lost on its way into them."""

from __future__ import annotations

import asyncio
import io
import signal
import subprocess
import sys
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
    Event,
    EventRegistry,
    PossiblyPersistedError,
    Publisher,
    Record,
    SerializationError,
    delivery_budget,
)
from eventpub.abc import OutcomeDetails
from eventpub.testing import Ledger, MemoryBroker, Recorder, Word, check_ledger
from eventpub.testing.ledger import Closed, Intent, Room, Said, Voice, identity_of
from support.kafka_node import ROOT
from tests.unit.testing.kit import TOPIC, event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Noted(Event, type="noted", topic=TOPIC, key="key", registry=EventRegistry()):
    """An event with a key."""

    key: str
    text: object = ""


class Enclosed(Event, type="enclosed", topic=TOPIC, envelope="structured", registry=EventRegistry()):
    """An event that carries its envelope in its value."""

    text: str


@pytest.fixture
def broker() -> MemoryBroker:
    """Return a broker whose topic has one partition."""
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    return broker


@pytest.fixture
def ledger() -> Ledger:
    """Return an empty one."""
    return Ledger()


@pytest.fixture
async def recorder(broker: MemoryBroker, ledger: Ledger) -> AsyncIterator[Recorder]:
    """Return the recorder of an open publisher."""
    publisher = Publisher(broker, source="/tests", hooks=[ledger], buffer=BufferLimits(max_records=3))
    await publisher.open()
    yield Recorder(publisher, ledger)
    await publisher.aclose(0)


def intents(ledger: Ledger) -> list[Intent]:
    """Return its intents."""
    return [entry for entry in ledger.entries if isinstance(entry, Intent)]


def said(ledger: Ledger, voice: Voice = Voice.CALL) -> list[Said]:
    """Return what one voice said."""
    return [entry for entry in ledger.entries if isinstance(entry, Said) and entry.voice is voice]


# --- as lines -------------------------------------------------------------------------


async def test_the_lines_hold_all_that_memory_holds(broker: MemoryBroker) -> None:
    """A ledger read back equals the one that wrote it, whatever happened."""
    file = io.BytesIO()
    ledger = Ledger(file)
    publisher = Publisher(broker, source="/tests", hooks=[ledger])
    await publisher.open()
    recorder = Recorder(publisher, ledger)
    broker.reject_next(87)
    await asyncio.gather(*(recorder.publish(event(name)) for name in "ab"), return_exceptions=True)
    broker.pause()
    doubtful = asyncio.create_task(recorder.publish(Record(TOPIC, b"\x00\xff", b"\xfe")))
    await asyncio.sleep(1)
    recorder.measure()
    await recorder.aclose(0)
    await asyncio.gather(doubtful, return_exceptions=True)
    ledger.healed()
    ledger.left("a task")
    assert Ledger.load(file.getvalue().splitlines()).entries == ledger.entries
    assert {type(entry).__name__ for entry in ledger.entries} == {
        "Intent", "Said", "Closed", "Healed", "Room", "Leftover", "Hearing"
    }  # fmt: skip


def test_a_line_cut_short_is_left_out() -> None:
    """A writer that was killed in the middle of a line loses that one."""
    file = io.BytesIO()
    ledger = Ledger(file, clock=lambda: 0.0)
    ledger.intend(event("a"))
    ledger.intend(event("b"))
    assert len(Ledger.load(file.getvalue()[:-10].splitlines()).entries) == 1


WORKER = """
import asyncio, os, sys
from eventpub import Publisher, Record
from eventpub.testing import Ledger, MemoryBroker, Recorder

async def main():
    broker = MemoryBroker()
    ledger = Ledger(open(1, "wb", buffering=0))
    async with Publisher(broker, source="/worker", hooks=[ledger]) as publisher:
        recorder = Recorder(publisher, ledger)
        for n in range(3):
            await recorder.publish(Record("t", b"%d" % n))
        broker.pause()
        for n in range(3, 6):
            recorder.publish_nowait(Record("t", b"%d" % n))
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def test_the_lines_survive_a_kill() -> None:
    """What was written before SIGKILL is in the pipe; the calls under way are open."""
    killed = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, check=False, cwd=ROOT, timeout=30)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    ledger = Ledger.load(killed.stdout.splitlines())
    assert len(intents(ledger)) == 6
    assert [each.word for each in said(ledger)] == [Word.PERSISTED] * 3
    verdict = check_ledger(ledger, {}, killed=True)
    assert verdict.words == {Word.PERSISTED: 3, None: 3}


# --- what a recorder writes down ----------------------------------------------------------


async def test_intent_before_and_outcome_after_the_call(recorder: Recorder, ledger: Ledger) -> None:
    """The intent is there before the first byte is; the outcome names place and attempts."""
    noted = Noted(key="k")
    publish = asyncio.create_task(recorder.publish(noted))
    await asyncio.sleep(0)
    (intent,) = intents(ledger)
    assert not said(ledger)
    delivery = await publish
    assert (intent.topic, intent.event_id, intent.identity) == (TOPIC, noted.envelope.id, noted.envelope.id)
    assert (intent.key, intent.acks, intent.idempotent) == ("k", "all", True)
    (told,) = said(ledger)
    assert (told.word, told.partition, told.offset, told.attempts) == (Word.PERSISTED, 0, delivery.offset, 1)


async def test_the_values_of_events_and_records_are_those_in_the_log(
    recorder: Recorder, ledger: Ledger, broker: MemoryBroker
) -> None:
    """Binary, structured and raw; options that replace what the event says."""
    await recorder.publish(Noted(key="k", text="x"), headers=iter([("h", b"1")]))
    await recorder.publish(Enclosed(text="x"))
    await recorder.publish(Record(TOPIC, None, b"tombstone"), headers=[("h", None)])
    await recorder.publish_many([Noted(key="m"), Record(TOPIC, b"")], headers=iter([("h", b"2")]))
    await recorder.publish_nowait(Noted(key="n"), key=b"other")
    await asyncio.sleep(0)  # callbacks are called soon
    verdict = check_ledger(ledger, {TOPIC: broker.records(TOPIC)})
    assert verdict.passed, str(verdict)
    assert verdict.records == 6


async def test_the_budget_is_the_smallest_around(recorder: Recorder, ledger: Ledger) -> None:
    """Profile, argument, delivery_budget and cancel scope; publish_nowait looks at no scope."""
    await recorder.publish(Noted(key="k"))
    await recorder.publish(Noted(key="k"), profile=CRITICAL.replace(delivery_timeout=9))
    await recorder.publish(Noted(key="k"), timeout=8)
    with delivery_budget(7):
        await recorder.publish(Noted(key="k"))
        with anyio.fail_after(5):
            await recorder.publish(Noted(key="k"))
            await recorder.publish_nowait(Noted(key="k"))
    budgets = [intent.budget for intent in intents(ledger)]
    assert budgets == pytest.approx([30, 9, 8, 7, 4.9, 7])


async def test_a_cancelled_publish_and_what_hooks_heard_of_it(
    recorder: Recorder, ledger: Ledger, broker: MemoryBroker
) -> None:
    """Cancelled while its request is on the way: the call says cancelled, the hook says persisted."""
    broker.latency(1)
    publish = asyncio.create_task(recorder.publish(event("a")))
    await asyncio.sleep(2.3)  # the producer id and the partition count are asked for first
    publish.cancel()
    await asyncio.gather(publish, return_exceptions=True)
    await recorder.publish(event("b"))
    assert [each.word for each in said(ledger)] == [Word.CANCELLED, Word.PERSISTED]
    assert [each.word for each in said(ledger, Voice.HOOK)] == [Word.PERSISTED, Word.PERSISTED]
    assert check_ledger(ledger, {TOPIC: broker.records(TOPIC)}).passed


async def test_a_withdrawn_publish(recorder: Recorder, ledger: Ledger, broker: MemoryBroker) -> None:
    """Cancelled before anything was sent: no hook hears of it, and it is not in the log."""
    broker.down()
    publish = asyncio.create_task(recorder.publish(event("a")))
    pending = recorder.publish_nowait(event("b"))
    await asyncio.sleep(0.1)
    publish.cancel()
    assert pending.cancel()
    await asyncio.gather(publish, return_exceptions=True)
    broker.up()
    await asyncio.sleep(1)
    assert [each.word for each in said(ledger)] == [Word.CANCELLED, Word.CANCELLED]
    assert not said(ledger, Voice.HOOK)
    assert check_ledger(ledger, {TOPIC: broker.records(TOPIC)}).passed


async def test_late_outcomes_belong_to_their_calls(recorder: Recorder, ledger: Ledger, broker: MemoryBroker) -> None:
    """The budget ends, the answer comes later: the hook's late outcome names the offset."""
    await recorder.publish(event("a"))
    broker.hold_next(late_answer=True)
    with pytest.raises(PossiblyPersistedError):
        await recorder.publish(event("b"), timeout=1, profile=CRITICAL.replace(request_timeout=1))
    broker.release()
    await asyncio.sleep(1)
    (late,) = said(ledger, Voice.LATE)
    assert (late.number, late.word, late.offset) == (1, Word.PERSISTED, 1)
    assert check_ledger(ledger, {TOPIC: broker.records(TOPIC)}).passed


async def test_what_is_refused_before_anything_is_sent(
    recorder: Recorder, ledger: Ledger, broker: MemoryBroker
) -> None:
    """Serialization, configuration, a full buffer, a closed publisher: not persisted, and not in the log."""
    broker.down()
    for bad, options, error in (
        (Noted(key="k", text=float("nan")), {}, SerializationError),
        (Noted(key="k"), {"timeout": -1}, ConfigurationError),
    ):
        with pytest.raises(error):
            await recorder.publish(bad, **options)
    for _ in range(3):
        recorder.publish_nowait(Noted(key="k"))
    with pytest.raises(BufferFullError):
        recorder.publish_nowait(Noted(key="k"))
    await recorder.aclose(0)
    with pytest.raises(Exception, match="closed"):
        await recorder.publish(Noted(key="k"))
    broker.up()
    verdict = check_ledger(ledger, {TOPIC: broker.records(TOPIC)}, logs_at_close={})
    assert verdict.passed, str(verdict)
    assert verdict.words == {Word.NOT_PERSISTED: 7}


async def test_publish_many_cancelled(recorder: Recorder, ledger: Ledger, broker: MemoryBroker) -> None:
    """Each of its events is withdrawn, or its outcome is heard by the hooks."""
    broker.latency(1)
    publish = asyncio.create_task(recorder.publish_many([event(name) for name in "abcdef"]))
    await asyncio.sleep(2.3)
    publish.cancel()
    await asyncio.gather(publish, return_exceptions=True)
    await asyncio.sleep(5)
    assert [each.word for each in said(ledger)] == [Word.CANCELLED] * 6
    assert check_ledger(ledger, {TOPIC: broker.records(TOPIC)}).passed


async def test_publish_many_reports_each(recorder: Recorder, ledger: Ledger, broker: MemoryBroker) -> None:
    """An event that cannot be written is one outcome among the others."""
    events = [Noted(key="k"), Noted(key="k", text=float("inf")), Noted(key="k")]
    await recorder.publish_many(events, timeout=3)
    assert [each.word for each in said(ledger)] == [Word.PERSISTED, Word.NOT_PERSISTED, Word.PERSISTED]
    assert {intent.budget for intent in intents(ledger)} == {3}
    assert check_ledger(ledger, {TOPIC: broker.records(TOPIC)}).passed


async def test_profiles_are_written_down(recorder: Recorder, ledger: Ledger) -> None:
    """acks, idempotence and allowed duplicates decide what the log may hold."""
    again = STANDARD.replace(allow_duplicates=True)
    for profile in (STANDARD, TELEMETRY, again):
        await recorder.publish(event("a"), profile=profile)
    assert [(intent.acks, intent.idempotent, intent.may_repeat) for intent in intents(ledger)] == [
        ("1", False, False),
        ("0", False, False),
        ("1", False, True),
    ]


async def test_the_height_of_the_buffer(recorder: Recorder, ledger: Ledger, broker: MemoryBroker) -> None:
    """Only new heights are written down."""
    broker.down()
    for _ in range(3):
        recorder.publish_nowait(Noted(key="k"))
        recorder.measure()
        recorder.measure()
    heights = [entry.records for entry in ledger.entries if isinstance(entry, Room)]
    assert heights == [1, 2, 3]


async def test_the_report_of_a_close(recorder: Recorder, ledger: Ledger, broker: MemoryBroker) -> None:
    """What it confirmed, what failed, what is unconfirmed, and how long it took."""
    broker.down()
    waiting = asyncio.create_task(recorder.publish(event("a")))
    await asyncio.sleep(0)
    await recorder.aclose(2)
    await asyncio.gather(waiting, return_exceptions=True)
    (closed,) = (entry for entry in ledger.entries if isinstance(entry, Closed))
    assert closed.unconfirmed == (("a", "not persisted"),)
    assert closed.elapsed == pytest.approx(2, abs=0.1)
    assert check_ledger(ledger, {}).passed


def test_hooks_of_one_event_published_twice_are_told_apart() -> None:
    """The first outcome belongs to the first call."""
    ledger = Ledger(clock=lambda: 0.0)
    for _ in range(2):
        ledger.intend(event("a"))
    doubt = PossiblyPersistedError("budget", event_id="a", topic=TOPIC)
    for _ in range(2):
        ledger.on_outcome(OutcomeDetails("a", TOPIC, doubt))
    for _ in range(3):  # one more than there are calls
        ledger.on_late_outcome(OutcomeDetails("a", TOPIC, doubt))
    ledger.on_outcome(OutcomeDetails("stranger", TOPIC, doubt))
    assert [each.number for each in said(ledger, Voice.HOOK)] == [0, 1]
    assert [each.number for each in said(ledger, Voice.LATE)] == [0, 1]


def test_identity() -> None:
    """The CloudEvents id where there is one, else what the value hashes to; a tombstone is not empty."""
    assert identity_of(b"v", (("x", b"1"), ("ce_id", b"7"))) == "7"
    assert identity_of(b"v", ()) != identity_of(b"w", ())
    assert identity_of(None, ()) != identity_of(b"", ())
