"""A run of records that is sent, judged and ended together."""

from __future__ import annotations

from eventpub._rules.batch import BATCH_OVERHEAD, Batch
from eventpub.abc import UNSTAMPED
from eventpub.delivery import Attempt, AttemptOutcome
from tests.unit.rules.kit import BROKER, QUICK, entry, kinds

REFUSED = Attempt(0.0, 0.1, BROKER, AttemptOutcome.NOT_APPENDED, 19)
DOUBTED = Attempt(0.2, 0.1, BROKER, AttemptOutcome.IN_DOUBT)


def test_a_batch_takes_its_records_over() -> None:
    """Each of them knows the batch that holds its room."""
    entries = [entry(1), entry(2)]
    batch = Batch(entries, QUICK)
    assert all(each.batch is batch for each in entries)
    assert batch.stamp == UNSTAMPED
    assert not batch.in_flight
    assert batch.size == BATCH_OVERHEAD + sum(each.size for each in entries)


def test_its_history_alone_freezes_it() -> None:
    """One attempt in doubt, wherever it stands."""
    batch = Batch([entry()], QUICK, (REFUSED, REFUSED))
    assert not batch.frozen
    batch.history = (REFUSED, DOUBTED, REFUSED)
    assert batch.frozen


def test_an_unanswered_attempt_counts_as_in_doubt() -> None:
    """Since when, and for how long, is told too; the history itself stays as it is."""
    batch = Batch([entry()], QUICK, (REFUSED,))
    assert batch.history_at(9.0) == (REFUSED,)
    batch.in_flight, batch.sent_at = True, 7.0
    history = batch.history_at(9.0)
    assert kinds(history) == "NU"
    assert (history[-1].started, history[-1].duration, history[-1].detail) == (7.0, 2.0, "unanswered")
    assert batch.history == (REFUSED,)


def test_it_lives_as_long_as_the_longest_budget_in_it() -> None:
    """Also when that one's caller has gone."""
    short, long = entry(budget=1), entry(budget=5)
    batch = Batch([long, short], QUICK)
    assert batch.life == 5.0
    long.ended = True
    assert batch.life == 5.0
    assert batch.live() == [short]


def test_what_is_cut_anew_inherits_everything_but_the_bytes_and_the_back_off() -> None:
    """History, time waited, attempts that do not count: the batch goes on, smaller."""
    entries = [entry(i) for i in range(5)]
    batch = Batch(entries, QUICK, (REFUSED,), waited=3.0)
    batch.narrowings, batch.resume_at = 2, 99.0
    first, second = batch.halves()
    assert first.entries + second.entries == entries
    assert [len(first.entries), len(second.entries)] == [2, 3]
    for half in (first, second):
        assert (half.history, half.waited, half.narrowings, half.profile) == ((REFUSED,), 3.0, 2, QUICK)
        assert (half.wire, half.stamp, half.resume_at) == (None, UNSTAMPED, 0.0)
        assert all(each.batch is half for each in half.entries)
