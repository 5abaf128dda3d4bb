"""Records that expire, are withdrawn or closed, and answers that come late, in every state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tenacity

from eventpub.abc import Acked, Stamp
from eventpub.delivery import PersistenceStatus
from eventpub.exceptions import UnavailableError
from eventpub.profile import RetryPolicy
from tests.unit.rules.kit import BROKER, QUICK, Bench, entry, facts, in_doubt, kinds, rejected

SLOW = QUICK.replace(retry=RetryPolicy(wait=tenacity.wait_fixed(20)))


def queued(bench: Bench) -> None:
    """Before any cut."""


def cleanly_back(bench: Bench) -> None:
    """Refused, to be cut anew, backing off."""
    bench.attempt(rejected(19))


def halved(bench: Bench) -> None:
    """In a half that was not sent yet."""
    bench.attempt(rejected(10))


def in_flight(bench: Bench) -> None:
    """For the first time."""
    bench.send()


def frozen(bench: Bench) -> None:
    """In doubt, backing off."""
    bench.attempt(in_doubt())


def in_flight_again(bench: Bench) -> None:
    """A frozen resend."""
    bench.attempt(in_doubt())
    bench.send()


def retried(bench: Bench) -> None:
    """In flight after a clean refusal."""
    bench.attempt(rejected(19))
    bench.send()


State = Callable[[Bench], None]
CLEAN = [(queued, ""), (cleanly_back, "N"), (halved, "N")]
STAMPED = [(in_flight, "U"), (frozen, "U"), (in_flight_again, "UU"), (retried, "NU")]


def name(value: object) -> str | None:
    """Return a state's name for the test's id."""
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("state, history", CLEAN, ids=name)
def test_a_budget_that_ends_before_the_stamp_is_not_persisted(state: State, history: str) -> None:
    """Every attempt so far was refused: nothing is in the log, and its room is free at once."""
    bench = Bench()
    first, second = bench.publish(1, 2, profile=SLOW, budget=5)
    state(bench)
    bench.expire(second)
    assert facts(bench.error(second))[0:2] == ("UnavailableError", "budget")
    assert kinds(bench.error(second).history) == history
    assert bench.desk.room == {first}
    bench.expire(first)
    assert bench.next() is None
    assert not bench.partition.busy
    assert not bench.desk.room
    assert not bench.desk.late


@pytest.mark.parametrize("state, history", STAMPED, ids=name)
def test_a_budget_that_ends_after_the_stamp_is_possibly_persisted(state: State, history: str) -> None:
    """An unanswered attempt counts as in doubt now; the batch holds the room until it ends."""
    bench = Bench()
    first, second = bench.publish(1, 2, profile=SLOW, budget=25)
    state(bench)
    bench.expire(second)
    assert facts(bench.error(second))[0:2] == ("PossiblyPersistedError", "budget")
    assert kinds(bench.error(second).history) == history
    assert bench.desk.room == {first, second}
    assert bench.partition.busy


@pytest.mark.parametrize("state, history", CLEAN, ids=name)
def test_before_the_stamp_a_record_can_be_withdrawn(state: State, history: str) -> None:
    """It leaves no outcome, no room and no trace in what is sent next."""
    bench = Bench()
    first, second = bench.publish(1, 2, profile=SLOW)
    state(bench)
    assert bench.withdraw(second)
    assert bench.desk.room == {first}
    bench.attempt(Acked(BROKER, 0))
    assert bench.take() is None
    assert bench.values[-1] == ["1"]
    assert bench.offsets(first) == [0]
    assert second not in bench.desk.told
    assert not bench.desk.late
    assert not bench.desk.room


@pytest.mark.parametrize("state, history", STAMPED, ids=name)
def test_after_the_stamp_a_record_cannot_be_withdrawn(state: State, history: str) -> None:
    """Its delivery goes on, and it is told what came of it."""
    bench = Bench()
    entries = bench.publish(1, 2, profile=SLOW)
    state(bench)
    assert not bench.withdraw(entries[1])
    if not bench.partition.batch or not bench.partition.batch.in_flight:
        bench.send()
    bench.ack()
    assert bench.offsets(*entries) == [0, 1]


@pytest.mark.parametrize("state, history", CLEAN, ids=name)
def test_a_withdrawn_batch_is_forgotten(state: State, history: str) -> None:
    """When all of its records are withdrawn nothing is left to do."""
    bench = Bench()
    entries = bench.publish(1, 2, profile=SLOW)
    state(bench)
    assert all(map(bench.withdraw, entries))
    assert bench.next() is None
    assert not bench.partition.busy
    assert not bench.desk.room


@pytest.mark.parametrize("state, history", [*CLEAN, *STAMPED], ids=name)
def test_close_ends_everything_as_its_history_says(state: State, history: str) -> None:
    """Possibly persisted is exactly what a broker may have got; all room is given back."""
    bench = Bench()
    entries = bench.publish(1, 2, profile=SLOW)
    state(bench)
    entries += bench.publish(3, profile=SLOW)
    bench.close()
    doubtful = "U" in history
    *batch, last = map(bench.error, entries)
    assert {facts(error)[:2] for error in batch} == {
        ("PossiblyPersistedError" if doubtful else "UnavailableError", "drain")
    }
    assert {kinds(error.history) for error in batch} == {history}
    assert facts(last) == ("UnavailableError", "drain", None, "")
    assert not bench.desk.room
    assert not bench.desk.late
    assert not bench.partition.busy
    assert bench.next() is None


def test_close_tells_in_the_order_of_the_queue() -> None:
    """The stamped batch, then halves, then what was queued."""
    bench = Bench()
    entries = bench.publish(1, 2)
    bench.attempt(rejected(10))
    bench.send()
    entries += bench.publish(3)
    bench.close()
    assert bench.desk.order == entries
    assert [bench.outcome(each).status for each in entries] == [
        PersistenceStatus.POSSIBLY_PERSISTED,
        PersistenceStatus.NOT_PERSISTED,
        PersistenceStatus.NOT_PERSISTED,
    ]


def test_close_of_an_idle_partition_says_nothing() -> None:
    """There is nothing to end."""
    bench = Bench()
    bench.close()
    assert not bench.desk.told


def test_close_tells_who_expired_in_flight_nothing_new() -> None:
    """He was told "possibly persisted" already; his room is given back."""
    bench = Bench()
    (short,) = bench.publish(1, budget=1)
    bench.publish(2)
    bench.send()
    bench.expire(short)
    bench.close()
    assert not bench.desk.late
    assert not bench.desk.room


def test_close_tells_who_expired_in_flight_that_it_was_not() -> None:
    """The attempt was refused meanwhile: that is news."""
    bench = Bench()
    (short,) = bench.publish(1, profile=SLOW, budget=1)
    bench.publish(2, profile=SLOW)
    bench.send()
    bench.expire(short)
    bench.answer(rejected(19))
    bench.close()
    assert [facts(news)[0::3] for _, news in bench.desk.late] == [("UnavailableError", "N")]  # type: ignore[arg-type]  # an error
    assert not bench.desk.room


def test_a_permanent_rejection_is_news_for_who_expired_in_flight() -> None:
    """The late outcome is the rejection itself."""
    bench = Bench()
    (short,) = bench.publish(1, budget=1)
    (long,) = bench.publish(2)
    bench.send()
    bench.expire(short)
    bench.answer(rejected(29))
    assert [(each, facts(news)) for each, news in bench.desk.late] == [  # type: ignore[arg-type]  # an error
        (short, ("TopicAuthorizationError", None, 29, "N"))
    ]
    assert long in bench.desk.told
    assert not bench.desk.room


def test_giving_up_in_doubt_is_no_news_for_who_expired_before() -> None:
    """Possibly persisted he was told, and possibly persisted it stays."""
    bench = Bench()
    (short,) = bench.publish(1, budget=1)
    (long,) = bench.publish(2, budget=2)
    bench.attempt(in_doubt())
    bench.expire(short)
    bench.expire(long)
    assert bench.next() is None
    assert not bench.desk.late
    assert not bench.desk.room


# --- late answers -----------------------------------------------------------------------


def test_a_late_ack_settles_a_batch_that_backs_off() -> None:
    """Nothing is sent again, and the sequence moves on."""
    bench = Bench()
    entries = bench.publish(1, 2, profile=SLOW)
    batch = bench.attempt(in_doubt())
    assert bench.late(batch, Acked(BROKER, 30))
    assert bench.offsets(*entries) == [30, 31]
    assert bench.outcome(entries[0]).attempts == 1
    assert not bench.desk.room
    assert not bench.partition.busy
    bench.publish(3)
    assert bench.send().stamp == Stamp(7, 0, 2)


def test_a_late_ack_during_a_resend_tells_the_callers_and_waits_for_its_answer() -> None:
    """The next batch may not go while the resend is unanswered; its room is held until then."""
    bench = Bench()
    entries = bench.publish(1, 2)
    batch = bench.attempt(in_doubt())
    bench.send()
    assert bench.late(batch, Acked(BROKER, 30))
    assert bench.offsets(*entries) == [30, 31]
    assert bench.desk.room == set(entries)
    assert bench.partition.busy
    bench.ack(offset=30)
    assert not bench.desk.room
    assert not bench.desk.late
    bench.publish(3)
    assert bench.send().stamp == Stamp(7, 0, 2)


@pytest.mark.parametrize("answer", [in_doubt(), rejected(19), rejected(45), rejected(29), rejected(10)])
def test_after_a_late_ack_no_answer_to_the_resend_changes_anything(answer: object) -> None:
    """The batch is in the log: it ends, without an epoch and without news."""
    bench = Bench()
    entries = bench.publish(1, 2)
    batch = bench.attempt(in_doubt())
    bench.send()
    bench.late(batch, Acked(BROKER, 30))
    bench.answer(answer)  # type: ignore[arg-type]  # one of the results
    assert bench.offsets(*entries) == [30, 31]
    assert not bench.desk.late
    assert not bench.desk.room
    assert bench.partition.sequence.bumps == 0
    bench.publish(3)
    assert bench.send().stamp == Stamp(7, 0, 2)


def test_close_after_a_late_ack_during_a_resend_gives_the_room_back() -> None:
    """All callers know; only the room was still held."""
    bench = Bench()
    entries = bench.publish(1, 2)
    batch = bench.attempt(in_doubt())
    bench.send()
    bench.late(batch, Acked(BROKER, 30))
    bench.close()
    assert bench.offsets(*entries) == [30, 31]
    assert not bench.desk.late
    assert not bench.desk.room


def test_a_second_late_ack_is_not_needed() -> None:
    """The batch is settled already."""
    bench = Bench()
    bench.publish(1)
    batch = bench.attempt(in_doubt())
    bench.attempt(in_doubt())
    bench.send()
    assert bench.late(batch, Acked(BROKER, 30))
    assert not bench.late(batch, Acked(BROKER, 30))


def test_a_late_rejection_thaws_a_batch() -> None:
    """Its only attempt in doubt was not appended: it may be cut anew, under the same stamp."""
    bench = Bench()
    (short,) = bench.publish(1, budget=1)
    (long,) = bench.publish(2)
    batch = bench.attempt(in_doubt())
    bench.expire(short)
    assert bench.late(batch, rejected(19))
    assert bench.send().stamp == Stamp(7, 0, 0)
    assert bench.values[-1] == ["2"]
    bench.ack()
    assert bench.offsets(long) == [0]
    assert [facts(news)[0::3] for _, news in bench.desk.late] == [("UnavailableError", "N")]  # type: ignore[arg-type]  # an error
    assert not bench.desk.room
    assert bench.partition.sequence.bumps == 0


def test_a_late_rejection_answers_for_one_attempt_only() -> None:
    """Two attempts were in doubt: the batch stays frozen until both are known."""
    bench = Bench()
    (entry,) = bench.publish(1, budget=5)
    batch = bench.attempt(in_doubt())
    bench.attempt(in_doubt())
    assert bench.late(batch, rejected(19))
    assert batch.frozen
    assert bench.partition.batch is batch
    assert bench.late(batch, rejected(19))
    assert not batch.frozen
    bench.expire(entry)
    assert facts(bench.error(entry)) == ("UnavailableError", "budget", 19, "NN")


def test_a_late_rejection_during_a_resend_thaws_it_for_later() -> None:
    """The resend is unanswered: nothing is cut, but its refusal then finds a clean history."""
    bench = Bench()
    entries = bench.publish(1, 2)
    batch = bench.attempt(in_doubt())
    bench.send()
    assert bench.late(batch, rejected(19))
    assert bench.partition.batch is batch
    bench.answer(rejected(10))
    assert len(bench.send().entries) == 1
    bench.ack(0)
    bench.attempt(Acked(BROKER, 1))
    assert bench.offsets(*entries) == [0, 1]


def test_a_late_answer_that_is_in_doubt_itself_thaws_nothing() -> None:
    """Code 7 after all: appended, replication unconfirmed."""
    bench = Bench()
    bench.publish(1)
    batch = bench.attempt(in_doubt())
    assert bench.late(batch, rejected(7, 4))
    assert batch.frozen
    assert bench.send() is batch


def test_a_late_answer_to_a_batch_given_up_is_not_this_partition_s_business() -> None:
    """The engine remembers those."""
    bench = Bench()
    (gone,) = bench.publish(1, budget=1)
    batch = bench.attempt(in_doubt())
    bench.expire(gone)
    bench.next()
    assert not bench.late(batch, Acked(BROKER, 0))
    bench.publish(2)
    other = bench.send()
    assert not bench.late(batch, Acked(BROKER, 0))
    assert bench.partition.batch is other
    assert bench.desk.abandoned == [batch]


def test_a_late_ack_is_no_measure_of_the_round_trip() -> None:
    """It says how long the answer was lost, not how far the broker is: the next record gets its attempt."""
    bench = Bench()
    bench.publish(1, profile=SLOW)
    batch = bench.attempt(in_doubt())
    bench.now = 12.0
    bench.late(batch, Acked(BROKER, 0))
    bench.publish(2, budget=30)
    bench.now += 20
    assert bench.take() is not None


def test_what_a_caller_is_told_now_leaves_the_batch_alone() -> None:
    """A flush asks for the status of what is pending, and changes nothing."""
    bench = Bench()
    (sent,) = bench.publish(1)
    bench.send()
    (waiting,) = bench.publish(2)
    assert facts(bench.partition.interrupted(sent, "drain", 1.0))[::3] == ("PossiblyPersistedError", "U")
    assert isinstance(bench.partition.interrupted(waiting, "drain", 1.0), UnavailableError)
    bench.ack()
    assert bench.offsets(sent) == [0]
    assert bench.outcome(sent).attempts == 1


def test_a_record_in_no_batch_is_held_by_nobody() -> None:
    """Only the stamped batch cannot let go."""
    bench = Bench()
    assert not bench.partition.holds(entry(1))
    (first,) = bench.publish(1)
    assert not bench.partition.holds(first)
    bench.send()
    assert bench.partition.holds(first)
    bench.ack()
    assert not bench.partition.holds(first)


def test_short_budgets_do_not_pile_up_behind_a_long_one() -> None:
    """With the broker away for long, what expired in the queue is let go."""
    bench = Bench()
    bench.publish("long", budget=1000)
    for _ in range(50):
        bench.expire(*bench.publish(*range(20), budget=1))
    assert len(bench.partition.queue.entries) < 200
    assert bench.partition.queued_bytes == next(iter(bench.desk.room)).size
