"""The checker, on ledgers that lie and on publishers that are broken on purpose."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from eventpub import CRITICAL, STANDARD, Publisher, PublishError, Record
from eventpub.testing import Invariant, Ledger, MemoryBroker, Recorder, Word, check_ledger
from eventpub.testing.ledger import Closed, Room, Voice
from tests.unit.testing.kit import TOPIC, Clock, Peer, Read, event, read

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventpub.abc import AttemptResult, Stamp
    from eventpub.testing import Verdict

# --- on ledgers: one lie each ---------------------------------------------------------

A, B, C = event("a"), event("b"), event("c")


class Told(Ledger):
    """A ledger of calls that each take 10 ms."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(clock=self.clock)

    def call(
        self, record: Record, *words: Word, offset: int | None = None, budget: float = 1.0, **more: object
    ) -> None:
        """Write down a call and what it was told."""
        intent = self.intend(record, budget=budget, **more)  # type: ignore[arg-type]  # by name
        self.clock.now += 0.01
        for word in words:
            self.say(intent, word, partition=0 if offset is not None else None, offset=offset)


def found(verdict: Verdict) -> list[str]:
    """Return the names of the invariants that were violated."""
    return [violation.invariant.name for violation in verdict.violations]


def persisted(*records: Record) -> Told:
    """Return a ledger in which *records* were acknowledged at offsets from 0."""
    ledger = Told()
    for offset, record in enumerate(records):
        ledger.call(record, Word.PERSISTED, offset=offset)
    return ledger


def test_a_true_ledger_passes() -> None:
    """What was acknowledged is there, what was not is not, what is doubtful may be either."""
    ledger = persisted(A, B)
    ledger.call(C, Word.NOT_PERSISTED)
    ledger.call(event("d"), Word.POSSIBLY_PERSISTED)
    ledger.call(event("e"), Word.POSSIBLY_PERSISTED)
    verdict = check_ledger(ledger, {TOPIC: [read(A, 0), read(B, 1), read(event("e"), 2)]})
    assert verdict.passed, str(verdict)
    assert verdict.words == {Word.PERSISTED: 2, Word.NOT_PERSISTED: 1, Word.POSSIBLY_PERSISTED: 2}
    assert verdict.share == pytest.approx(0.4)


LIES: dict[str, tuple[Callable[[], Told], list[Read], list[str]]] = {
    "acknowledged and lost": (lambda: persisted(A, B), [read(A, 0)], ["I1"]),
    "acknowledged elsewhere": (lambda: persisted(A), [read(A, 7)], ["I1"]),
    "another partition": (lambda: persisted(A), [read(A, 0, partition=3)], ["I1"]),
    "another value": (lambda: persisted(A), [read(event("a", value=b"x"), 0)], ["I1"]),
    "another key": (lambda: persisted(A), [read(event("a", key=b"z"), 0)], ["I1"]),
    "no key instead of an empty one": (
        lambda: persisted(event("a", key=b"")),
        [read(event("a", key=None), 0)],
        ["I1"],
    ),
    "another header": (lambda: persisted(A), [read(A, 0)._replace(headers=(*A.headers, ("x", b"")))], ["I1"]),
    "twice": (lambda: persisted(A), [read(A, 0), read(A, 1)], ["I2"]),
    "a phantom": (lambda: persisted(A), [read(A, 0), read(B, 1)], ["I3"]),
}


@pytest.mark.parametrize("name", LIES)
def test_a_log_that_differs_is_told(name: str) -> None:
    """Each difference between what was acknowledged and what is read has its invariant."""
    ledger, records, expected = LIES[name]
    assert found(check_ledger(ledger(), {TOPIC: records})) == expected


def test_not_persisted_but_there() -> None:
    """Whoever was told that an event is not in the log may have published it again."""
    ledger = Told()
    ledger.call(A, Word.NOT_PERSISTED)
    assert found(check_ledger(ledger, {TOPIC: [read(A, 0)]})) == ["I4"]


def test_an_event_published_again_after_it_was_not_persisted_is_there_once() -> None:
    """One id, two calls: the first failed, the second was acknowledged."""
    ledger = Told()
    ledger.call(A, Word.NOT_PERSISTED)
    ledger.call(A, Word.PERSISTED, offset=0)
    assert check_ledger(ledger, {TOPIC: [read(A, 0)]}).passed
    assert found(check_ledger(ledger, {TOPIC: [read(A, 0), read(A, 1)]})) == ["I4"]


def test_an_event_published_twice_may_be_there_twice() -> None:
    """What the caller repeats is no duplicate of the publisher's."""
    ledger = persisted(A, A)
    assert check_ledger(ledger, {TOPIC: [read(A, 0), read(A, 1)]}).passed
    assert found(check_ledger(ledger, {TOPIC: [read(A, 0)]})) == ["I1"]
    assert found(check_ledger(ledger, {TOPIC: [read(A, n) for n in range(3)]})) == ["I2"]


def test_a_profile_that_allows_duplicates_may_have_them() -> None:
    """allow_duplicates=True is the caller's word for it."""
    ledger = Told()
    ledger.call(A, Word.PERSISTED, offset=1, idempotent=False, may_repeat=True)
    assert check_ledger(ledger, {TOPIC: [read(A, 0), read(A, 1)]}).passed


def test_a_broker_that_does_not_deduplicate_holds_a_copy_per_attempt() -> None:
    """EmbeddedKafka writes resends again: that is no violation, but a copy without an attempt is."""
    for attempts, copies, names in ((1, 1, []), (1, 2, ["I2"]), (2, 3, []), (2, 4, ["I2"])):
        ledger = Told()
        ledger.say(ledger.intend(A), Word.PERSISTED, partition=0, offset=0, attempts=attempts)
        logs = {TOPIC: [read(A, offset) for offset in range(copies)]}
        assert found(check_ledger(ledger, logs, deduplicates=False)) == names
        assert check_ledger(ledger, logs).passed is (copies == 1)
    ledger = Told()
    ledger.call(A, Word.PERSISTED, offset=0, idempotent=False)
    assert found(check_ledger(ledger, {TOPIC: [read(A, 0), read(A, 1)]}, deduplicates=False)) == ["I2"]


def test_a_record_without_an_id_is_recognised_by_its_value() -> None:
    """Raw records need no header; a tombstone differs from an empty value."""
    ledger = Told()
    ledger.call(Record(TOPIC, b"raw"), Word.PERSISTED, offset=0)
    ledger.call(Record(TOPIC, None, b"k"), Word.PERSISTED, offset=1)
    assert check_ledger(ledger, {TOPIC: [Read(0, 0, None, b"raw"), Read(0, 1, b"k", None)]}).passed
    assert found(check_ledger(ledger, {TOPIC: [Read(0, 0, None, b"raw"), Read(0, 1, b"k", b"")]})) == ["I1", "I3"]


def test_an_outcome_that_is_missing() -> None:
    """A call without an outcome is a violation, unless its process was killed."""
    ledger = Told()
    ledger.call(A)
    assert found(check_ledger(ledger, {TOPIC: []})) == ["I6"]
    assert check_ledger(ledger, {TOPIC: []}, killed=True).passed
    assert check_ledger(ledger, {TOPIC: [read(A, 0)]}, killed=True).passed


def test_two_outcomes_of_one_call() -> None:
    """Whoever was told "not persisted" and later "persisted" has published it again meanwhile."""
    ledger = Told()
    ledger.call(A, Word.PERSISTED, Word.PERSISTED, offset=0)
    assert found(check_ledger(ledger, {TOPIC: [read(A, 0)]})) == ["I6"]


def test_a_hook_that_is_told_something_else() -> None:
    """The caller and the hooks hear the same word."""
    ledger = Told()
    ledger.on_state("open")
    intent = ledger.intend(A)
    ledger.say(intent, Word.POSSIBLY_PERSISTED)
    ledger.say(intent, Word.NOT_PERSISTED, Voice.HOOK)
    assert "I6" in found(check_ledger(ledger, {}))


def test_a_hook_that_is_told_nothing() -> None:
    """An acknowledged event that no hook heard of."""
    ledger = Told()
    ledger.on_state("open")
    ledger.call(A, Word.PERSISTED, offset=0)
    assert found(check_ledger(ledger, {TOPIC: [read(A, 0)]})) == ["I6"]


def test_a_late_outcome_settles_what_was_doubtful() -> None:
    """A late acknowledgement has to be true, and so has a late rejection."""
    for word, records in ((Word.PERSISTED, [read(A, 0)]), (Word.NOT_PERSISTED, [])):
        ledger = Told()
        intent = ledger.intend(A)
        ledger.say(intent, Word.POSSIBLY_PERSISTED)
        ledger.say(intent, word, Voice.LATE, partition=0, offset=0 if records else None)
        assert check_ledger(ledger, {TOPIC: records}).passed
        assert not check_ledger(ledger, {TOPIC: [] if records else [read(A, 0)]}).passed


def test_a_late_outcome_where_nothing_was_open() -> None:
    """A late acknowledgement after "not persisted" comes too late."""
    ledger = Told()
    intent = ledger.intend(A)
    ledger.say(intent, Word.NOT_PERSISTED)
    ledger.say(intent, Word.PERSISTED, Voice.LATE, partition=0, offset=0)
    assert set(found(check_ledger(ledger, {TOPIC: [read(A, 0)]}))) == {"I4", "I6"}


def test_a_cancelled_call_that_no_hook_told_of_was_withdrawn() -> None:
    """Where hooks are heard, silence means that nothing landed; where they are not, either may be."""
    ledger = Told()
    ledger.call(A, Word.CANCELLED)
    assert check_ledger(ledger, {TOPIC: [read(A, 0)]}).passed
    ledger.on_state("open")
    assert check_ledger(ledger, {TOPIC: []}).passed
    assert found(check_ledger(ledger, {TOPIC: [read(A, 0)]})) == ["I4"]


def test_wrong_order() -> None:
    """Idempotent events lie in the order of the calls, doubtful ones too; partitions are apart."""
    ledger = Told()
    for record in (A, B):
        ledger.call(record, Word.POSSIBLY_PERSISTED)
    assert found(check_ledger(ledger, {TOPIC: [read(B, 0), read(A, 1)]})) == ["I7"]
    assert check_ledger(ledger, {TOPIC: [read(B, 0, 1), read(A, 1, 0)]}).passed


def test_order_of_acknowledgements_across_profiles() -> None:
    """One batch in flight per partition: acknowledged offsets rise, whatever the profile."""
    for first, second in ((False, False), (False, True), (True, False)):
        ledger = Told()
        ledger.call(A, Word.PERSISTED, offset=1, idempotent=first)
        ledger.call(B, Word.PERSISTED, offset=0, idempotent=second)
        assert found(check_ledger(ledger, {TOPIC: [read(B, 0), read(A, 1)]})) == ["I7"]


def test_a_publish_beyond_its_budget() -> None:
    """250 ms are granted, no more."""
    ledger = Told()
    intent = ledger.intend(A, budget=1.0)
    ledger.clock.now += 1.249
    ledger.say(intent, Word.NOT_PERSISTED)
    intent = ledger.intend(B, budget=1.0)
    ledger.clock.now += 1.26
    ledger.say(intent, Word.NOT_PERSISTED)
    assert found(check_ledger(ledger, {})) == ["I8"]


def test_a_close_beyond_its_timeout() -> None:
    """One second is granted."""
    ledger = persisted(A)
    ledger.add(Closed(9.0, timeout=2.0, elapsed=3.1))
    assert found(check_ledger(ledger, {TOPIC: [read(A, 0)]})) == ["I8"]


def test_a_buffer_beyond_its_limits() -> None:
    """One record that is larger than the whole buffer may be in it, alone."""
    ledger = persisted(A)
    ledger.add(Room(0.0, records=1, bytes=900, max_records=5, max_bytes=100))
    assert check_ledger(ledger, {TOPIC: [read(A, 0)]}).passed
    ledger.add(Room(0.0, records=6, bytes=60, max_records=5, max_bytes=100))
    ledger.add(Room(0.0, records=2, bytes=160, max_records=5, max_bytes=100))
    ledger.add(Closed(1.0, timeout=1.0, elapsed=0.1, held=1))
    assert found(check_ledger(ledger, {TOPIC: [read(A, 0)]})) == ["I9"] * 3


def test_something_that_outlives_the_close() -> None:
    """A task, a socket, an exception that nobody retrieved."""
    ledger = persisted(A)
    ledger.left("task 'sender'")
    verdict = check_ledger(ledger, {TOPIC: [read(A, 0)]})
    assert found(verdict) == ["I10"]
    assert "task 'sender'" in str(verdict)


def test_no_recovery_after_the_faults() -> None:
    """What is published after the healing has to be acknowledged soon; before a close there may be no time."""
    ledger = Told()
    ledger.call(A, Word.NOT_PERSISTED)
    ledger.healed(limit=0.5)
    ledger.call(B, Word.NOT_PERSISTED)
    ledger.call(C, Word.POSSIBLY_PERSISTED, acks=0)
    assert found(check_ledger(ledger, {})) == ["I11"]
    ledger.add(Closed(0.1, timeout=1.0, elapsed=0.0))
    assert check_ledger(ledger, {}).passed


def test_what_was_published_in_the_moment_before_the_healing_may_fail() -> None:
    """In virtual time both have one time; what comes first in the ledger came first."""
    ledger = Told()
    early = ledger.intend(A)
    ledger.healed(limit=0.5)
    late = ledger.intend(B)
    ledger.say(early, Word.NOT_PERSISTED)
    assert found(check_ledger(ledger, {}, killed=True)) == ["I11"]
    ledger.say(late, Word.PERSISTED, partition=0, offset=0)
    assert check_ledger(ledger, {TOPIC: [read(B, 0)]}).passed


def test_a_payload_in_a_message() -> None:
    """Error messages are logged, so they hold no payload."""
    ledger = Told()
    intent = ledger.intend(A)
    ledger.say(intent, Word.NOT_PERSISTED, error="RejectedError", text="cannot write {'card': '4111'}")
    assert found(check_ledger(ledger, {}, secrets=["4111"])) == ["I12"]


def test_what_lands_after_a_close() -> None:
    """Only what was reported possibly persisted may land later."""
    ledger = Told()
    ledger.call(A, Word.POSSIBLY_PERSISTED)
    ledger.call(B, Word.NOT_PERSISTED)
    early: dict[str, list[Read]] = {TOPIC: []}
    assert check_ledger(ledger, {TOPIC: [read(A, 0)]}, logs_at_close=early).passed
    late = check_ledger(ledger, {TOPIC: [read(A, 0), read(B, 1)]}, logs_at_close=early)
    assert found(late) == ["I4", "I13"]


def test_an_acknowledged_event_that_was_not_there_at_the_close() -> None:
    """Acknowledged by all replicas means that consumers can read it by then."""
    ledger = persisted(A)
    verdict = check_ledger(ledger, {TOPIC: [read(A, 0)]}, logs_at_close={TOPIC: []})
    assert found(verdict) == ["I13"]


def test_a_close_that_reports_something_else() -> None:
    """The report says of each event what its caller was told, and leaves nothing out that it ended."""
    ledger = Told()
    intent = ledger.intend(A)
    ledger.say(intent, Word.POSSIBLY_PERSISTED, reason="drain")
    ledger.add(Closed(1.0, 1.0, 0.1, unconfirmed=(("a", "possibly persisted"),)))
    assert check_ledger(ledger, {}).passed
    ledger.add(Closed(1.0, 1.0, 0.1, unconfirmed=(("a", "not persisted"),)))
    assert found(check_ledger(ledger, {})) == ["I13"]
    ledger.say(ledger.intend(B), Word.NOT_PERSISTED, reason="closing")
    assert found(check_ledger(ledger, {})) == ["I13", "I13"]


def test_more_doubt_than_the_fault_explains() -> None:
    """The word "possibly" must not become the answer to everything."""
    ledger = persisted(A)
    ledger.call(B, Word.POSSIBLY_PERSISTED)
    logs = {TOPIC: [read(A, 0)]}
    assert check_ledger(ledger, logs, ceiling=0.5).passed
    assert found(check_ledger(ledger, logs, ceiling=0.4)) == ["I15"]


def test_a_fault_without_effect_makes_the_run_invalid() -> None:
    """It violates nothing and proves nothing, so it has not passed."""
    verdict = check_ledger(persisted(A), {TOPIC: [read(A, 0)]}, effects={"down": 3, "pause": 0})
    assert not verdict.violations
    assert not verdict.passed
    assert verdict.invalid == ("pause had no effect",)
    with pytest.raises(AssertionError, match="pause had no effect"):
        verdict.raise_for_violations()


def test_a_run_without_events_is_invalid() -> None:
    """Nothing published, nothing shown."""
    assert not check_ledger(Told(), {}).passed


def test_the_report_for_people_and_the_one_for_machines() -> None:
    """Each finding names its invariant, its event and what shows it."""
    verdict = check_ledger(persisted(A, B), {TOPIC: [read(A, 0)]})
    line = "I1 b: call 1 (persisted) was acknowledged at t[0]@1, and is not there"
    assert line in str(verdict)
    assert str(verdict).startswith("1 violations: 2 events, 1 records read; 2 persisted")
    machine = json.loads(json.dumps(verdict.as_dict()))
    assert machine["passed"] is False
    assert machine["violations"][0]["invariant"] == "I1"
    assert machine["violations"][0]["event_id"] == "b"


def test_a_long_report_is_cut() -> None:
    """Whoever lost thousands need not read thousands of lines."""
    ledger = persisted(*(event(f"e{n}") for n in range(50)))
    assert "and 30 of I1" in str(check_ledger(ledger, {}))


def test_rich_shows_brackets_as_they_are() -> None:
    """Places look like t[0]@1, which rich would take for a style."""
    rich_console = pytest.importorskip("rich.console")
    console = rich_console.Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(check_ledger(persisted(A), {}))
    assert "t[0]@0" in captured.get()


# --- on publishers that are broken on purpose -------------------------------------------


async def ack_lost(peer: Peer) -> None:
    """Two events; the answer to the first is lost after it was written."""
    peer.broker.lose_next_ack()
    for record in (A, B):
        await peer.publish(record)


async def leader_killed(peer: Peer) -> None:
    """The leader dies before its followers have what it acknowledged, if it acknowledged that."""
    await peer.publish(A)
    peer.broker.stall_replication(TOPIC, 0)
    publish = asyncio.create_task(peer.publish(B, timeout=1.0))
    await asyncio.sleep(0.2)
    peer.broker.down()
    peer.broker.truncate(TOPIC, 0, 1)
    peer.broker.resume_replication(TOPIC, 0)
    await publish
    peer.broker.up()


async def rejected(peer: Peer) -> None:
    """The topic refuses everything for as long as anybody tries."""
    peer.broker.deny(TOPIC)
    await peer.publish(A, timeout=1.0)
    await asyncio.sleep(1)
    peer.broker.allow(TOPIC)


async def cancelled(peer: Peer) -> None:
    """The caller gives up while the request is on its way."""
    peer.broker.latency(0.2)
    publish = asyncio.create_task(peer.publish(A))
    await asyncio.sleep(0.05)
    publish.cancel()
    await asyncio.gather(publish, return_exceptions=True)
    await asyncio.sleep(1)


async def brokers_away(peer: Peer) -> None:
    """Nobody answers for longer than the budget lasts."""
    peer.broker.down()
    await peer.publish(A, timeout=1.0)
    peer.broker.up()
    await asyncio.sleep(2)


async def first_try_fails(peer: Peer) -> None:
    """Two concurrent publishes; the first one cannot be written at once."""
    peer.broker.not_sent_next()
    await asyncio.gather(peer.publish(A), peer.publish(B))


async def doubt_then_refusal(peer: Peer) -> None:
    """Written, the answer lost, and every resend refused for want of replicas."""
    peer.broker.lose_next_ack()
    publish = asyncio.create_task(peer.publish(A, timeout=1.0))
    await asyncio.sleep(0.05)
    peer.broker.not_enough_replicas(TOPIC, 0)
    await publish
    peer.broker.enough_replicas(TOPIC, 0)


async def healthy(peer: Peer) -> None:
    """Nothing goes wrong."""
    for record in (A, B, C):
        await peer.publish(record)


async def slow_answers(peer: Peer) -> None:
    """The broker takes longer than the budget."""
    peer.broker.latency(3.0)
    await peer.publish(A, timeout=1.0)


class LeaderOnly(Peer):
    """acks=1, told as if it were certain."""

    acks = 1
    idempotent = False


class ResendsWithoutIdempotence(Peer):
    """Tries again after a doubt, and the broker cannot know that it is the same."""

    idempotent = False


class StampsAnew(Peer):
    """A resend takes a new sequence, as a second send() does."""

    def stamp_again(self, stamp: Stamp) -> Stamp:
        """Take the next one."""
        self.sequence += 1
        return stamp._replace(sequence=self.sequence)


class SwallowsErrors(Peer):
    """Whatever happened, it says that all is well."""

    def word(self, history: list[AttemptResult]) -> Word:
        """Say so."""
        return Word.PERSISTED


class LastErrorDecides(Peer):
    """Looks at the last answer only."""

    def word(self, history: list[AttemptResult]) -> Word:
        """Forget what came before."""
        return super().word(history[-1:])


class ClaimsBeforeItSends(Peer):
    """Acknowledges what it has only queued."""

    async def delivered(self, record: Record, deadline: float) -> tuple[AttemptResult | None, Word]:
        """Let it be sent later, if at all."""
        self.task = asyncio.create_task(super().delivered(record, deadline))
        return None, Word.PERSISTED


class DropsOnCancel(Peer):
    """What a cancelled call had under way lands, and no hook is ever told."""

    hears = True


class RetryOvertakes(Peer):
    """Nobody waits for his turn, so a retry comes in behind its successors."""

    idempotent = False

    async def delivered(self, record: Record, deadline: float) -> tuple[AttemptResult | None, Word]:
        """Go ahead at once."""
        stamp = self.next_stamp()
        if record is B:
            await asyncio.sleep(0.01)
        return await self.tried(record, stamp, deadline)


class WritesPhantoms(Peer):
    """Sends something that nobody asked it to send."""

    async def delivered(self, record: Record, deadline: float) -> tuple[AttemptResult | None, Word]:
        """Send a heartbeat too."""
        result = await super().delivered(record, deadline)
        await super().delivered(event("heartbeat of " + (record.event_id or "")), deadline)
        return result


class AltersBytes(Peer):
    """Believes that trailing spaces do not matter."""

    def written(self, record: Record) -> Record:
        """Add one."""
        return super().written(record)._replace(value=(record.value or b"") + b" ")


class LosesHeaders(Peer):
    """Believes that an empty key is no key."""

    def written(self, record: Record) -> Record:
        """Drop it."""
        return super().written(record)._replace(key=None)


class ForgetsOutcomes(Peer):
    """Some callers wait for ever."""

    def say(self, intent: object, word: Word, offset: int | None = None) -> None:
        """Say nothing."""


class SpeaksTwice(Peer):
    """First the timeout, then the answer."""

    def say(self, intent: object, word: Word, offset: int | None = None) -> None:
        """Say both."""
        self.ledger.say(intent, Word.NOT_PERSISTED)  # type: ignore[arg-type]  # an Intent
        super().say(intent, word, offset)  # type: ignore[arg-type]  # an Intent


class IgnoresBudgets(Peer):
    """Waits for the answer, however long it takes."""

    async def attempt(self, record: Record, stamp: Stamp, deadline: float, history: list[AttemptResult]) -> None:
        """Wait."""
        await super().attempt(record, stamp, deadline + 60, history)


class SendsAfterClose(Peer):
    """A sender that nobody stopped (a zombie): told not persisted, written after the close."""

    async def delivered(self, record: Record, deadline: float) -> tuple[AttemptResult | None, Word]:
        """Go on in the background when the budget is over."""
        result, word = await super().delivered(record, deadline)
        self.task = asyncio.create_task(super().delivered(record, deadline + 60))
        return result, word


class ReusesFrozenSequences(Peer):
    """Gives up in doubt and stamps the next event alike: the broker answers success for bytes it never saw."""

    request_timeout = 5.0

    async def delivered(self, record: Record, deadline: float) -> tuple[AttemptResult | None, Word]:
        """Give up at the first doubt."""
        return await super().delivered(record, deadline if record is B else deadline - 4.85)


BROKEN: list[tuple[type[Peer], Callable[[Peer], Awaitable[None]], set[str]]] = [
    (LeaderOnly, leader_killed, {"I1"}),
    (ResendsWithoutIdempotence, ack_lost, {"I2"}),
    (StampsAnew, ack_lost, {"I2"}),
    (SwallowsErrors, rejected, {"I1"}),
    (SwallowsErrors, brokers_away, {"I1"}),
    (LastErrorDecides, doubt_then_refusal, {"I4"}),
    (ClaimsBeforeItSends, rejected, {"I1"}),
    (DropsOnCancel, cancelled, {"I4"}),
    (RetryOvertakes, first_try_fails, {"I7"}),
    (WritesPhantoms, healthy, {"I3"}),
    (AltersBytes, healthy, {"I1"}),
    (LosesHeaders, healthy, {"I1"}),
    (ForgetsOutcomes, healthy, {"I6"}),
    (SpeaksTwice, healthy, {"I4", "I6"}),
    (IgnoresBudgets, slow_answers, {"I8"}),
    (SendsAfterClose, brokers_away, {"I4"}),
    (ReusesFrozenSequences, ack_lost, {"I1"}),
]
SCENARIOS = {scenario.__name__: scenario for _, scenario, _ in BROKEN}


async def run(kind: type[Peer], scenario: Callable[[Peer], Awaitable[None]]) -> Verdict:
    """Let a publisher of *kind* go through *scenario*, and check what it said."""
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    peer = kind(broker, Ledger())
    await peer.open()
    await scenario(peer)
    await asyncio.sleep(5)
    await peer.aclose()
    leftover = getattr(peer, "task", None)
    if leftover is not None:
        await asyncio.gather(leftover, return_exceptions=True)
    broker.heal()
    await asyncio.sleep(5)
    return check_ledger(peer.ledger, {TOPIC: broker.records(TOPIC)})


@pytest.mark.parametrize("kind, scenario, expected", BROKEN, ids=lambda part: getattr(part, "__name__", ""))
async def test_a_broken_publisher_is_caught(
    kind: type[Peer], scenario: Callable[[Peer], Awaitable[None]], expected: set[str]
) -> None:
    """Each way of being wrong is flagged by what it breaks, and by nothing else."""
    verdict = await run(kind, scenario)
    assert set(found(verdict)) == expected, str(verdict)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_same_publisher_unbroken_passes(name: str) -> None:
    """What is flagged is the breakage and not the fault."""
    verdict = await run(Peer, SCENARIOS[name])
    assert verdict.passed, str(verdict)


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - {"leader_killed"}))
async def test_eventpub_passes_where_they_fail(name: str) -> None:
    """The same scenarios on the real thing."""
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    ledger = Ledger()
    publisher = Publisher(broker, source="/tests", hooks=[ledger])
    await publisher.open()
    recorder = Recorder(publisher, ledger)

    class Real(Peer):
        async def publish(self, record: Record, timeout: float = 5.0) -> Word:
            try:
                await recorder.publish(record, timeout=timeout)
            except PublishError as error:
                return Word(error.status.value)
            return Word.PERSISTED

    await SCENARIOS[name](Real(broker, ledger))
    at_close = await closed(recorder, broker)
    verdict = check_ledger(ledger, {TOPIC: broker.records(TOPIC)}, logs_at_close=at_close)
    assert verdict.passed, str(verdict)


async def test_acks_1_and_a_killed_leader_are_flagged_for_eventpub_too() -> None:
    """STANDARD says that it may be lost when a leader dies; the checker does not look away."""
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    ledger = Ledger()
    publisher = Publisher(broker, source="/tests", profile=STANDARD, hooks=[ledger])
    await publisher.open()
    broker.stall_replication(TOPIC, 0)
    await Recorder(publisher, ledger).publish(A)
    broker.down()
    broker.truncate(TOPIC, 0, 0)
    broker.up()
    await publisher.aclose(1)
    assert found(check_ledger(ledger, {TOPIC: broker.records(TOPIC)})) == ["I1"]


async def test_a_lost_ack_with_duplicates_allowed_is_a_duplicate_by_permission() -> None:
    """The ledger knows the profile: what is allowed there is no violation."""
    broker = MemoryBroker()
    ledger = Ledger()
    again = CRITICAL.replace(idempotence=False, allow_duplicates=True)
    async with Publisher(broker, source="/tests", profile=again, hooks=[ledger]) as publisher:
        broker.lose_next_ack()
        await Recorder(publisher, ledger).publish(A)
    assert len(broker.records(TOPIC)) == 2
    assert check_ledger(ledger, {TOPIC: broker.records(TOPIC)}).passed


async def closed(recorder: Recorder, broker: MemoryBroker) -> dict[str, tuple[Read, ...]]:
    """Close, keep what is readable then, and let everything land that still can."""
    await recorder.aclose(1)
    logs = {TOPIC: tuple(read_back(broker))}
    broker.heal()
    await asyncio.sleep(5)
    return logs


def read_back(broker: MemoryBroker) -> list[Read]:
    """Return the log as a reader's records."""
    return [Read(r.partition, r.offset, r.key, r.value, r.headers) for r in broker.records(TOPIC)]


def test_every_invariant_has_its_sentence() -> None:
    """A report explains itself."""
    assert {invariant.name for invariant in Invariant} >= {f"I{n}" for n in (*range(1, 14), 15)}
