"""A rejected batch is narrowed down to the record that is to blame (rule 6)."""

from __future__ import annotations

import pytest
import tenacity

from eventpub._rules.step import Send
from eventpub.abc import Acked, Rejected, Stamp
from eventpub.exceptions import EventTooLargeError, InvalidRecordError, SerializationError
from eventpub.profile import RetryPolicy
from tests.unit.rules.kit import BROKER, QUICK, Bench, facts, in_doubt, kinds, rejected

BISECTED = [10, 18]
NAMED = [32, 87]


@pytest.mark.parametrize("code", [*BISECTED, *NAMED])
def test_halves_go_in_order_and_the_guilty_one_fails_alone(code: int) -> None:
    """Neighbours on both sides are delivered, in order, without a gap in the sequence."""
    bench = Bench()
    entries = bench.publish("a", "b", "BAD", "d")
    offset = 0
    while (batch := bench.take()) is not None:
        if any(entry.event_id == "BAD" for entry in batch.entries):
            bench.answer(rejected(code))
        else:
            bench.ack(offset)
            offset += len(batch.entries)
    assert bench.values == [["a", "b", "BAD", "d"], ["a", "b"], ["BAD", "d"], ["BAD"], ["d"]]
    bad = entries.pop(2)
    assert bench.offsets(*entries) == [0, 1, 2]
    assert facts(bench.error(bad)) == (type(bench.error(bad)).__name__, None, code, "NNN")
    assert [wire.stamp.sequence for wire in bench.sent] == [0, 0, 2, 2, 2]
    assert bench.partition.sequence.bumps == 0
    assert not bench.desk.room


def test_a_record_too_large_says_so() -> None:
    """Code 10 for a single record is its own fault."""
    bench = Bench()
    (entry,) = bench.publish(1)
    bench.attempt(rejected(10))
    assert isinstance(bench.error(entry), EventTooLargeError)
    assert not bench.partition.busy


@pytest.mark.parametrize("code", NAMED)
def test_records_named_by_the_broker_fail_at_once_and_the_others_go_on_together(code: int) -> None:
    """One more request, not a bisection; each guilty record is told the broker's words about it."""
    bench = Bench()
    a, b, c, d = bench.publish("a", "b", "c", "d")
    bench.attempt(Rejected(BROKER, code, message="summary", record_errors=((1, "too new"), (3, ""))))
    assert "too new" in str(bench.error(b))
    assert "summary" in str(bench.error(d))
    assert isinstance(bench.error(b), InvalidRecordError)
    assert bench.desk.room == {a, c}
    bench.attempt(Acked(BROKER, 6))
    assert bench.values == [["a", "b", "c", "d"], ["a", "c"]]
    assert bench.offsets(a, c) == [6, 7]
    assert [wire.stamp for wire in bench.sent] == [Stamp(7, 0, 0)] * 2
    assert not bench.desk.room


def test_all_records_may_be_guilty() -> None:
    """Nothing is left to send then."""
    bench = Bench()
    entries = bench.publish("a", "b")
    bench.attempt(rejected(87, -1, (0, "no key"), (1, "no key")))
    assert {type(bench.error(entry)) for entry in entries} == {InvalidRecordError}
    assert not bench.partition.busy
    assert not bench.desk.room


@pytest.mark.parametrize("errors", [((7, "?"),), ((-1, "?"),)])
def test_a_broker_that_names_records_which_are_not_there_is_not_believed(errors: tuple[tuple[int, str], ...]) -> None:
    """The batch is bisected, and not sent again unchanged for ever."""
    bench = Bench()
    bench.publish("a", "b")
    bench.attempt(rejected(87, -1, *errors))
    assert bench.send().entries[0].event_id == "a"
    assert bench.values == [["a", "b"], ["a"]]


def test_a_damaged_batch_is_sent_again_once_before_it_is_bisected() -> None:
    """Code 2: the damage may have happened on the way."""
    bench = Bench()
    a, b = bench.publish("a", "b")
    bench.attempt(rejected(2))
    bench.attempt(rejected(2))
    bench.attempt(Acked(BROKER, 0))
    bench.attempt(rejected(2))
    assert bench.values == [["a", "b"], ["a", "b"], ["a"], ["b"]]
    assert bench.offsets(a) == [0]
    assert facts(bench.error(b)) == ("InvalidRecordError", None, 2, "NNN")


def test_damage_on_the_way_harms_nobody() -> None:
    """The second copy arrives whole."""
    bench = Bench()
    entries = bench.publish("a", "b")
    bench.attempt(rejected(2))
    bench.attempt(Acked(BROKER, 0))
    assert bench.offsets(*entries) == [0, 1]


def test_halves_inherit_the_history() -> None:
    """Each record's error tells every attempt that carried it."""
    bench = Bench()
    a, b = bench.publish("a", "b")
    bench.attempt(rejected(19))
    bench.attempt(rejected(10))
    bench.attempt(Acked(BROKER, 0))
    bench.attempt(rejected(29))
    assert bench.outcome(a).attempts == 3
    assert kinds(bench.error(b).history) == "NNN"
    assert [attempt.kafka_code for attempt in bench.error(b).history] == [19, 10, 29]


def test_halves_are_never_refilled() -> None:
    """What came meanwhile goes after all of them."""
    bench = Bench()
    bench.publish("a", "b")
    bench.send()
    bench.publish("c")
    bench.answer(rejected(18))
    for offset in range(3):
        bench.attempt(Acked(BROKER, offset))
    assert bench.values == [["a", "b"], ["a"], ["b"], ["c"]]


def test_a_half_in_doubt_is_resolved_before_the_other_goes() -> None:
    """One stamped batch at a time, in order."""
    bench = Bench()
    entries = bench.publish("a", "b")
    bench.attempt(rejected(10))
    bench.attempt(in_doubt())
    bench.attempt(in_doubt())
    bench.attempt(Acked(BROKER, 0))
    bench.attempt(Acked(BROKER, 1))
    assert bench.values == [["a", "b"], ["a"], ["a"], ["a"], ["b"]]
    assert bench.offsets(*entries) == [0, 1]
    assert [wire.stamp.sequence for wire in bench.sent] == [0, 0, 0, 0, 1]


def test_doubt_of_one_half_leaves_the_other_clean() -> None:
    """It was never sent with it; its epoch is the next one."""
    bench = Bench()
    a, b = bench.publish("a", "b")
    a.deadline = 1.0
    bench.attempt(rejected(10))
    bench.attempt(in_doubt())
    bench.expire(a)
    assert bench.send().stamp == Stamp(7, 1, 0)
    bench.answer(rejected(29))
    assert facts(bench.error(a))[0::3] == ("PossiblyPersistedError", "NU")
    assert facts(bench.error(b))[0::3] == ("TopicAuthorizationError", "NN")


def test_narrowing_waits_for_nothing() -> None:
    """There is no back-off between two halves."""
    bench = Bench()
    profile = QUICK.replace(retry=RetryPolicy(wait=tenacity.wait_fixed(5)))
    bench.publish("a", "b", profile=profile)
    bench.attempt(rejected(10))
    assert bench.next() == Send(profile)


@pytest.mark.parametrize("code", [2, 10, 18, 32, 87])
def test_narrowing_uses_up_no_attempt(code: int) -> None:
    """A policy of two attempts still gives the last half both of its own."""
    bench = Bench()
    policy = RetryPolicy(wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(2))
    entries = bench.publish(1, 2, 3, 4, profile=QUICK.replace(retry=policy))
    while bench.partition.batch is None and len(bench.send().entries) > 1:
        bench.answer(rejected(code))
    bench.answer(rejected(19))
    assert not bench.desk.told
    bench.attempt(rejected(19))
    assert facts(bench.error(entries[0]))[:3] == ("UnavailableError", "attempts", 19)


def test_a_named_record_uses_up_no_attempt_of_its_neighbours() -> None:
    """The same, where the broker named it."""
    bench = Bench()
    policy = RetryPolicy(wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(2))
    a, b = bench.publish("a", "b", profile=QUICK.replace(retry=policy))
    bench.attempt(rejected(87, -1, (0, "bad")))
    bench.attempt(rejected(19))
    bench.attempt(Acked(BROKER, 0))
    assert a in bench.desk.told
    assert bench.offsets(b) == [0]


def test_retries_before_a_narrowing_still_count() -> None:
    """Only the attempts that searched for the guilty record are free."""
    bench = Bench()
    policy = RetryPolicy(wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(2))
    a, b = bench.publish("a", "b", profile=QUICK.replace(retry=policy))
    bench.attempt(rejected(19))
    bench.attempt(rejected(10))
    bench.attempt(rejected(19))
    assert bench.error(a).reason == "attempts"
    assert b not in bench.desk.told


def test_a_record_that_has_no_form_on_the_wire_fails_alone() -> None:
    """The encoder names nobody: halves again, and no attempt was made."""
    bench = Bench()
    entries = bench.publish("a", "b", "c")
    error = TypeError("secret payload")
    offset = 0
    while (step := bench.next()) is not None:
        assert isinstance(step, Send)
        batch = bench.partition.take(step.profile, bench.now)
        assert batch is not None
        if entries[1] in batch.entries:
            bench.partition.unencodable(batch, error, bench.now)
        else:
            bench.ack(offset)
            offset += len(batch.entries)
    a, b, c = entries
    assert bench.offsets(a, c) == [0, 1]
    failure = bench.error(b)
    assert isinstance(failure, SerializationError)
    assert failure.__cause__ is error
    assert "secret" not in str(failure)
    assert failure.attempts == 0
    assert not bench.desk.room


def test_a_record_that_expired_in_flight_leaves_a_batch_that_is_cut_anew() -> None:
    """Its caller was told "possibly persisted"; that it was not is news, and its room is free."""
    bench = Bench()
    (short,) = bench.publish("short", budget=1)
    (long,) = bench.publish("long")
    bench.send()
    bench.expire(short)
    assert facts(bench.error(short)) == ("PossiblyPersistedError", "budget", None, "U")
    bench.answer(rejected(19))
    bench.attempt(Acked(BROKER, 0))
    assert bench.values == [["short", "long"], ["long"]]
    assert bench.offsets(long) == [0]
    ((late, news),) = bench.desk.late
    assert late is short
    assert facts(news) == ("UnavailableError", "budget", 19, "N")  # type: ignore[arg-type]  # an error
    assert not bench.desk.room


@pytest.mark.parametrize("code", [10, 87])
def test_a_record_that_expired_in_flight_is_no_longer_narrowed_down(code: int) -> None:
    """Nobody waits for it: the halves go without it, and its room is given back once."""
    bench = Bench()
    (short,) = bench.publish("short", budget=1)
    a, b = bench.publish("a", "b")
    bench.send()
    bench.expire(short)
    bench.answer(rejected(code, -1, *([(2, "bad")] if code == 87 else [])))
    while bench.take() is not None:
        bench.ack()
    assert [entry for entry, _ in bench.desk.late] == [short]
    assert bench.offsets(a) == [0]
    assert b in bench.desk.told
    assert not bench.desk.room
