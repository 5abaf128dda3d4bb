"""I5: the checker on dead letters, in ledgers that lie and by publishers that are broken on purpose."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest

from eventpub import CRITICAL, PersistenceStatus, Publisher, PublishError, delivery_budget
from eventpub.abc import Acked, DeadLetterDetails
from eventpub.deadletter import DeadLetters
from eventpub.letter import DeadLetter, Resolution
from eventpub.receipt import Receipt
from eventpub.testing import Ledger, MemoryBroker, Recorder, Word, check_ledger
from eventpub.testing.ledger import Intent, Kept, Voice
from tests.publisher.sinks import FakeSink
from tests.unit.testing.kit import TOPIC, Peer, Read, event, read
from tests.unit.testing.test_checker import (
    Told,
    cancelled,
    doubt_then_refusal,
    found,
    healthy,
    rejected,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Literal

    from eventpub import Record
    from eventpub.abc import AttemptResult
    from eventpub.letter import Verdict as Resolved
    from eventpub.testing import Verdict

A, B = event("a"), event("b")
PLACE = "shelf"
NOT, POSSIBLY = PersistenceStatus.NOT_PERSISTED, PersistenceStatus.POSSIBLY_PERSISTED


def letter(of: Record, name: str = "1", status: PersistenceStatus = NOT, **more: Any) -> DeadLetter:
    """Return the dead letter *name* of an event."""
    facts: dict[str, Any] = {
        "event_type": None,
        "profile": "critical",
        "stage": "send",
        "reason": "budget",
        "error": "UnavailableError",
        "message": "",
        "kafka_code": None,
        "kafka_error": None,
        "attempts": 1,
        "first_attempt_at": None,
        "last_attempt_at": None,
        "failed_at": 0.0,
        "elapsed": 1.0,
        "budget": 1.0,
        "request_timeout": 1.0,
        "client_id": "tests",
    }
    return DeadLetter(id=name, record=of, event_id=of.event_id, status=status, **(facts | more))


def resolution(of: Record, verdict: Resolved, name: str = "1") -> Resolution:
    """Return what became of the dead letter *name*."""
    return Resolution(id=name, record=of, verdict=verdict, at=0.0)


def written(name: str = "1") -> Receipt:
    """Return the receipt of a letter that a sink has."""
    return Receipt(name, PLACE, "written")


class Keeping(Told):
    """A ledger that hears hooks, of calls whose events are kept when they fail."""

    def __init__(self) -> None:
        super().__init__()
        self.on_state("open")

    def failed(
        self, record: Record, receipt: Receipt | None, word: Word = Word.NOT_PERSISTED, end: Receipt | None = None
    ) -> Intent:
        """Write down a call that failed, its receipt, and what a hook was told in the end."""
        intent = self.intend(record, keeping=5.0)
        for voice in (Voice.HOOK, Voice.CALL):
            self.say(intent, word, voice, receipt=receipt)
        if end := end or receipt:
            self.on_dead_letter(DeadLetterDetails(record.event_id, record.topic, "budget", end))
        return intent


def failing(*receipts: Receipt | None, word: Word = Word.NOT_PERSISTED, end: Receipt | None = None) -> Keeping:
    """Return a ledger in which the event A failed and was kept, as *receipts* say, once for each."""
    ledger = Keeping()
    for receipt in receipts:
        ledger.failed(A, receipt, word, end)
    return ledger


def check(ledger: Ledger, kept: list[DeadLetter | Resolution], *log: Read, **more: Any) -> Verdict:
    """Return the verdict on *ledger*, with *kept* in the sinks and *log* in the topic."""
    return check_ledger(ledger, {TOPIC: log}, dead_letters=kept, **more)


# --- on ledgers -------------------------------------------------------------------------


TRUTHS: dict[str, tuple[Keeping, list[DeadLetter | Resolution], list[Read]]] = {
    "kept": (failing(written()), [letter(A)], []),
    "kept in doubt, and there": (
        failing(written(), word=Word.POSSIBLY_PERSISTED),
        [letter(A, status=POSSIBLY)],
        [read(A, 0)],
    ),
    "kept in doubt, and not there": (
        failing(written(), word=Word.POSSIBLY_PERSISTED),
        [letter(A, status=POSSIBLY)],
        [],
    ),
    "no sink took it": (failing(Receipt("1", None, "failed")), [], []),
    "no sink took it for certain": (failing(Receipt("1", None, "failed")), [letter(A)], []),
    "written after the caller was told": (failing(Receipt("1", None, "pending"), end=written()), [letter(A)], []),
    "in doubt in the first sink": (failing(written()), [letter(A), letter(A, doubtful_in="first")], []),
    "replayed in vain": (failing(written()), [letter(A), letter(A, replays=1)], []),
    "published twice, kept twice": (failing(written("1"), written("2")), [letter(A), letter(A, "2")], []),
    "a resolution without its letter": (
        failing(Receipt("1", None, "failed"), word=Word.POSSIBLY_PERSISTED),
        [resolution(A, "persisted")],
        [read(A, 0)],
    ),
    "replayed and read before, in any order": (
        failing(written(), word=Word.POSSIBLY_PERSISTED),
        [resolution(A, "replayed"), letter(A, status=POSSIBLY), resolution(A, "not persisted")],
        [read(A, 0)],
    ),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_a_true_ledger_passes(name: str) -> None:
    """Where a letter lies as it was said, whatever its state, nothing is flagged."""
    ledger, kept, log = TRUTHS[name]
    verdict = check(ledger, kept, *log)
    assert verdict.passed, str(verdict)
    assert verdict.letters == len({each.id for each in kept if isinstance(each, DeadLetter)})


LIES: dict[str, tuple[Keeping, list[DeadLetter | Resolution], list[Read], str]] = {
    "nowhere": (failing(written()), [], [], "and it is in none"),
    "pending, then nowhere": (failing(Receipt("1", None, "pending"), end=written()), [], [], "and it is in none"),
    "twice under one id": (failing(written()), [letter(A), letter(A)], [], "was written 2 times"),
    "twice under two ids": (failing(written()), [letter(A), letter(A, "2")], [], "2 dead letters"),
    "another value": (failing(written()), [letter(A._replace(value=b"x"))], [], "another value"),
    "another key": (failing(written()), [letter(A._replace(key=None))], [], "another key"),
    "another header": (
        failing(written()),
        [letter(A._replace(headers=(*A.headers, ("x", None))))],
        [],
        "another headers",
    ),
    "another topic": (
        failing(Receipt("1", None, "failed")),
        [letter(A._replace(topic="u"))],
        [],
        "belongs to no call",
    ),
    "nobody's": (failing(written()), [letter(A), letter(B, "2")], [], "belongs to no call"),
    "absent, it says": (
        failing(written(), word=Word.POSSIBLY_PERSISTED),
        [letter(A)],
        [read(A, 0)],
        "says not persisted",
    ),
    "absent, it was resolved": (
        failing(written(), word=Word.POSSIBLY_PERSISTED),
        [letter(A, status=POSSIBLY), resolution(A, "not persisted")],
        [read(A, 0)],
        "says not persisted",
    ),
    "there, it was resolved": (
        failing(written(), word=Word.POSSIBLY_PERSISTED),
        [letter(A, status=POSSIBLY), resolution(A, "persisted")],
        [],
        "is not in the log",
    ),
    "kept nowhere": (failing(None), [], [], "heard of no dead letter"),
    "two ends": (
        failing(written("1"), written("1")),
        [letter(A)],
        [],
        "was told the end of dead letter 1 as: written, written",
    ),
    "another end": (failing(written(), end=Receipt("1", None, "failed")), [letter(A)], [], "and a hook of"),
    "an end that is none": (failing(Receipt("1", None, "pending")), [letter(A)], [], "as: pending"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_letter_that_is_not_as_it_was_said_is_told(name: str) -> None:
    """Each difference between letters, what was said of them and the log is I5, with what shows it."""
    ledger, kept, log, text = LIES[name]
    verdict = check(ledger, kept, *log)
    assert set(found(verdict)) == {"I5"}, str(verdict)
    assert text in str(verdict)


def test_a_letter_whose_end_no_hook_was_told() -> None:
    """*Pending* is a promise, unless an acknowledgement came first, or the process was killed."""
    ledger = Keeping()
    intent = ledger.intend(A, keeping=5.0)
    for voice in (Voice.HOOK, Voice.CALL):
        ledger.say(intent, Word.POSSIBLY_PERSISTED, voice, receipt=Receipt("1", None, "pending"))
    assert found(check(ledger, [], read(A, 0))) == ["I5"]
    assert check(ledger, [], read(A, 0), killed=True).passed
    ledger.say(intent, Word.PERSISTED, Voice.LATE, partition=0, offset=0)
    assert check(ledger, [], read(A, 0)).passed


def test_a_late_acknowledgement_closes_the_letter() -> None:
    """Open, it would be sent again; with the resolution it is not."""
    ledger, doubtful = Keeping(), letter(A, status=POSSIBLY)
    intent = ledger.failed(A, written(), Word.POSSIBLY_PERSISTED)
    assert check(ledger, [doubtful], read(A, 0)).passed
    ledger.say(intent, Word.PERSISTED, Voice.LATE, partition=0, offset=0)
    assert found(check(ledger, [doubtful], read(A, 0))) == ["I5"]
    assert check(ledger, [doubtful, resolution(A, "persisted")], read(A, 0)).passed


def test_what_was_never_taken_in_has_no_letter() -> None:
    """No room, no form, withdrawn, or a profile that keeps nothing: its caller has the event."""
    refused, withdrawn, unasked = Keeping(), Keeping(), Keeping()
    refused.say(refused.intend(A, keeping=5.0), Word.NOT_PERSISTED)
    withdrawn.say(withdrawn.intend(A, keeping=5.0), Word.CANCELLED)
    intent = unasked.intend(A)
    for voice in (Voice.HOOK, Voice.CALL):
        unasked.say(intent, Word.NOT_PERSISTED, voice)
    for ledger, text in ((refused, "never taken in"), (withdrawn, "withdrew"), (unasked, "nobody asked for")):
        assert check(ledger, []).passed
        verdict = check(ledger, [letter(A)])
        assert found(verdict) == ["I5"]
        assert text in str(verdict)


def test_a_receipt_nobody_asked_for() -> None:
    """A profile that keeps nothing has no receipts either."""
    ledger = Keeping()
    intent = ledger.intend(A)
    ledger.say(intent, Word.NOT_PERSISTED, Voice.HOOK, receipt=Receipt("1", None, "failed"))
    ledger.say(intent, Word.NOT_PERSISTED)
    assert found(check(ledger, [])) == ["I5"]


def test_a_receipt_of_another_event_s_letter() -> None:
    """Whoever looks for his event under that id finds somebody else's."""
    ledger = failing(written("1"))
    ledger.failed(B, written("2"))
    assert found(check(ledger, [letter(A, "2"), letter(B, "1")])) == ["I5"] * 4  # caller and hook of both


def test_a_broker_that_does_not_deduplicate_holds_copies() -> None:
    """`EmbeddedKafka` writes the resend of a dead letter again."""
    ledger = failing(written())
    assert check(ledger, [letter(A), letter(A)], deduplicates=False).passed
    assert "2 dead letters" in str(check(ledger, [letter(A), letter(A, "2")], deduplicates=False))


def test_a_publish_whose_letter_takes_too_long() -> None:
    """The budget, that of the letter, and 250 ms."""
    ledger = Keeping()
    for record, took in ((A, 5.249), (B, 5.26)):
        intent = ledger.intend(record, budget=1.0, keeping=5.0)
        ledger.clock.now += took
        for voice in (Voice.HOOK, Voice.CALL):
            ledger.say(intent, Word.NOT_PERSISTED, voice, receipt=Receipt(str(took), None, "failed"))
        ledger.add(Kept(0.0, record.event_id, Receipt(str(took), None, "failed")))
    assert found(check(ledger, [])) == ["I8"]


def test_a_payload_in_the_message_of_a_letter() -> None:
    """Letters are listed on screens, so their messages hold no payload; nor do receipts."""
    verdict = check(failing(written()), [letter(A, message="cannot write 4111")], secrets=["4111"])
    assert found(verdict) == ["I12"]


def test_without_letters_nothing_is_said_of_them() -> None:
    """Whoever cannot read the sinks still has the other invariants."""
    assert check_ledger(failing(written()), {TOPIC: []}).passed


# --- what the recorder writes down --------------------------------------------------------


async def test_the_ledger_hears_of_letters_and_keeps_that_on_file() -> None:
    """The receipt by the exception and by the hook, in memory and as JSON lines."""
    file, broker, sink = io.BytesIO(), MemoryBroker(), FakeSink()
    broker.down()
    ledger = Ledger(file)
    async with Publisher(broker, hooks=[ledger], dead_letters=DeadLetters(sink)) as publisher:
        with pytest.raises(PublishError) as raised:
            await Recorder(publisher, ledger).publish(A, timeout=1)
    receipt = raised.value.dead_letter
    assert receipt is not None
    assert [entry.receipt for entry in ledger.entries if isinstance(entry, Kept)] == [receipt]
    assert Ledger.load(file.getvalue().splitlines()).entries == ledger.entries
    assert check_ledger(ledger, {TOPIC: []}, dead_letters=sink.letters).passed


async def test_the_time_a_call_may_take_with_its_letter() -> None:
    """Budget and dead-letter timeout, but not beyond an enclosing budget or scope; none where nothing is kept."""
    ledger = Ledger()
    keeps = CRITICAL.replace(delivery_timeout=8, dead_letter_timeout=3)
    async with Publisher(MemoryBroker(), profile=keeps, hooks=[ledger], dead_letters=DeadLetters(FakeSink())) as made:
        recorder = Recorder(made, ledger)
        await recorder.publish(A)
        await recorder.publish(A, timeout=2)
        with delivery_budget(9):
            await recorder.publish(A)
        with anyio.move_on_after(4):
            await recorder.publish(A, timeout=2)
        await recorder.publish(A, profile=CRITICAL.replace(dead_letter=False))
    intents = [entry for entry in ledger.entries if isinstance(entry, Intent)]
    assert [intent.keeping and round(intent.keeping, 1) for intent in intents] == [11.0, 5.0, 9.0, 3.9, None]


async def test_an_acknowledgement_while_the_letter_is_written_is_late_for_its_call() -> None:
    """The hook of late outcomes comes before that of the outcome, and both belong to the call."""
    broker, sink, ledger = MemoryBroker(), FakeSink(takes=2), Ledger()
    patient = CRITICAL.replace(request_timeout=10)
    async with Publisher(broker, profile=patient, hooks=[ledger], dead_letters=DeadLetters(sink)) as publisher:
        recorder = Recorder(publisher, ledger)
        await recorder.publish(event("first"))
        broker.latency(2)
        hasty = asyncio.create_task(recorder.publish(A, timeout=1))
        await recorder.publish(B, timeout=10)
        await asyncio.wait([hasty])
        assert hasty.exception() is not None
    assert check_ledger(ledger, {TOPIC: broker.records(TOPIC)}, dead_letters=[*sink.letters, *sink.resolutions]).passed
    verdict = check_ledger(ledger, {TOPIC: broker.records(TOPIC)}, dead_letters=sink.letters)
    assert found(verdict) == ["I5"]
    assert "acknowledged late" in str(verdict)


# --- on publishers that are broken on purpose -----------------------------------------------


class Keeper(Peer):
    """Keeps what it could not deliver, in a list, and says so truly. Each subclass breaks one thing."""

    hears: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kept: list[DeadLetter] = []

    async def publish(self, record: Record, timeout: float = 5.0) -> Word:
        """Publish *record*, and write down what became of it."""
        intent = self.ledger.intend(record, budget=timeout, keeping=timeout)
        publishing = asyncio.ensure_future(self.delivered(record, asyncio.get_running_loop().time() + timeout))
        try:
            result, word = await publishing
        except asyncio.CancelledError:
            self.ledger.say(intent, Word.CANCELLED)
            self.withdrawn(record)
            raise
        self.end(intent, record, word, result)
        return word

    def end(self, intent: Intent, record: Record, word: Word, result: AttemptResult | None) -> None:
        """Keep *record* if it failed, and tell everybody."""
        name = f"letter of {record.event_id}"
        receipt = None
        if word is not Word.PERSISTED:
            receipt = Receipt(name, PLACE, self.keep(letter(record, name, PersistenceStatus(word.value))))
        offset = result.offset if isinstance(result, Acked) else None
        for voice in (Voice.HOOK, Voice.CALL):
            self.ledger.say(intent, word, voice, partition=0, offset=offset, receipt=receipt)
        if receipt is not None:
            self.ledger.on_dead_letter(DeadLetterDetails(record.event_id, TOPIC, "budget", receipt))

    def keep(self, kept: DeadLetter) -> Literal["written"]:
        """Write a letter."""
        self.kept.append(kept)
        return "written"

    def withdrawn(self, record: Record) -> None:
        """Forget *record*."""


class DropsLetters(Keeper):
    """Says that it is written, and writes nothing."""

    def keep(self, kept: DeadLetter) -> Literal["written"]:
        """Say so."""
        return "written"


class KeepsTwice(Keeper):
    """Writes it again, under another id, because it did not see that it was there."""

    def keep(self, kept: DeadLetter) -> Literal["written"]:
        """Write it twice."""
        super().keep(replace(kept, id=f"second {kept.id}"))
        return super().keep(kept)


class AltersLetters(Keeper):
    """Believes that values are text."""

    def keep(self, kept: DeadLetter) -> Literal["written"]:
        """Add a line end."""
        return super().keep(replace(kept, record=kept.record._replace(value=(kept.record.value or b"") + b"\n")))


class KeepsWhatWasDelivered(Keeper):
    """Writes the letter before it knows, and never takes it back."""

    async def delivered(self, record: Record, deadline: float) -> tuple[AttemptResult | None, Word]:
        """Keep first."""
        self.keep(letter(record, f"letter of {record.event_id}", POSSIBLY))
        return await super().delivered(record, deadline)


class SaysNotPersisted(Keeper):
    """Believes that what was not acknowledged is not there."""

    def keep(self, kept: DeadLetter) -> Literal["written"]:
        """Say that it may be sent again."""
        return super().keep(replace(kept, status=NOT))


class KeepsWhatWasWithdrawn(Keeper):
    """Its caller has cancelled it, and would be surprised to see it sent one day."""

    def withdrawn(self, record: Record) -> None:
        """Keep it all the same."""
        self.keep(letter(record))


async def withdrawn(peer: Peer) -> None:
    """The caller gives up before anything was sent."""
    await peer.turn.acquire()
    publish = asyncio.create_task(peer.publish(A))
    await asyncio.sleep(0.05)
    publish.cancel()
    await asyncio.gather(publish, return_exceptions=True)
    peer.turn.release()


BROKEN: list[tuple[type[Keeper], Callable[[Peer], Awaitable[None]]]] = [
    (DropsLetters, rejected),
    (KeepsTwice, rejected),
    (AltersLetters, rejected),
    (KeepsWhatWasDelivered, healthy),
    (SaysNotPersisted, doubt_then_refusal),
    (KeepsWhatWasWithdrawn, withdrawn),
]


async def run(kind: type[Keeper], scenario: Callable[[Peer], Awaitable[None]]) -> Verdict:
    """Let a publisher of *kind* go through *scenario*, and check what it said and kept."""
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    peer = kind(broker, Ledger())
    await peer.open()
    await scenario(peer)
    await asyncio.sleep(5)
    await peer.aclose()
    return check_ledger(peer.ledger, {TOPIC: broker.records(TOPIC)}, dead_letters=peer.kept)


@pytest.mark.parametrize("kind, scenario", BROKEN, ids=lambda part: part.__name__)
async def test_a_broken_keeper_is_caught(kind: type[Keeper], scenario: Callable[[Peer], Awaitable[None]]) -> None:
    """Each way of keeping letters wrongly is flagged as I5, and as nothing else."""
    verdict = await run(kind, scenario)
    assert set(found(verdict)) == {"I5"}, str(verdict)


@pytest.mark.parametrize("scenario", [rejected, healthy, doubt_then_refusal, withdrawn], ids=lambda part: part.__name__)
async def test_the_same_keeper_unbroken_passes(scenario: Callable[[Peer], Awaitable[None]]) -> None:
    """What is flagged is the breakage and not the fault."""
    verdict = await run(Keeper, scenario)
    assert verdict.passed, str(verdict)


@pytest.mark.parametrize("scenario", [rejected, healthy, doubt_then_refusal, cancelled], ids=lambda part: part.__name__)
async def test_eventpub_passes_where_they_fail(scenario: Callable[[Peer], Awaitable[None]]) -> None:
    """The same scenarios on the real thing."""
    broker, sink, ledger = MemoryBroker(), FakeSink(), Ledger()
    broker.create_topic(TOPIC, 1)
    async with Publisher(broker, hooks=[ledger], dead_letters=DeadLetters(sink)) as publisher:
        recorder = Recorder(publisher, ledger)

        class Real(Peer):
            async def publish(self, record: Record, timeout: float = 5.0) -> Word:
                try:
                    await recorder.publish(record, timeout=timeout)
                except PublishError as error:
                    return Word(error.status.value)
                return Word.PERSISTED

        await scenario(Real(broker, ledger))
    kept: list[DeadLetter | Resolution] = [*sink.letters, *sink.resolutions]
    verdict = check_ledger(ledger, {TOPIC: broker.records(TOPIC)}, dead_letters=kept)
    assert verdict.passed, str(verdict)
