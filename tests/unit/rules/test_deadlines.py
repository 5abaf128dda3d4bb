"""Budgets in buckets: everybody is due in time, and at most 50 ms late (rule 4)."""

from __future__ import annotations

import random

import pytest

from eventpub._rules.deadlines import BUCKET, Deadlines
from eventpub._rules.entry import Entry
from tests.unit.rules.kit import entry


def due_at(deadline: float) -> Entry:
    """Return an entry whose budget ends at *deadline*."""
    made = entry()
    made.deadline = deadline
    return made


def test_nothing_watched_is_never_due() -> None:
    """There is no timer to set."""
    deadlines = Deadlines()
    assert deadlines.next_due() is None
    assert deadlines.due(1e9, 10) == []
    assert len(deadlines) == 0


@pytest.mark.parametrize("deadline", [0.0, 0.01, 0.05, 0.0499999, 1.0, 1.05, 29.95, 30.0, 12345.678])
def test_an_entry_is_due_after_its_budget_and_at_most_a_bucket_late(deadline: float) -> None:
    """Never before it: a budget is a promise."""
    deadlines = Deadlines()
    each = due_at(deadline)
    deadlines.add(each)
    when = deadlines.next_due()
    assert when is not None
    assert deadline <= when <= deadline + BUCKET + 1e-9
    assert deadlines.due(when - 1e-6, 10) == []
    assert deadlines.due(when, 10) == [each]


def test_only_a_new_bucket_asks_for_another_timer() -> None:
    """Those after the first in it cost no timer."""
    deadlines = Deadlines()
    assert deadlines.add(due_at(1.01))
    assert not deadlines.add(due_at(1.02))
    assert deadlines.add(due_at(1.06))


def test_the_earliest_bucket_comes_first_whatever_the_order_of_adding() -> None:
    """A short budget after a long one included."""
    deadlines = Deadlines()
    deadlines.add(due_at(30.0))
    short = due_at(1.0)
    assert deadlines.add(short)
    assert deadlines.due(2.0, 10) == [short]


def test_what_ended_is_not_due() -> None:
    """An empty bucket is forgotten."""
    deadlines = Deadlines()
    first, second = due_at(1.0), due_at(2.0)
    deadlines.add(first)
    deadlines.add(second)
    deadlines.discard(first)
    assert deadlines.next_due() == pytest.approx(2.05)
    assert deadlines.due(10.0, 10) == [second]
    deadlines.discard(second)
    assert deadlines.next_due() is None
    deadlines.discard(second)


def test_a_bucket_is_opened_again_after_it_was_forgotten() -> None:
    """And asks for its timer again."""
    deadlines = Deadlines()
    first, second = due_at(1.0), due_at(1.01)
    deadlines.add(first)
    deadlines.discard(first)
    assert deadlines.next_due() is None
    assert deadlines.add(second)
    assert deadlines.due(1.05, 10) == [second]


def test_many_are_ended_in_portions() -> None:
    """The event loop gets its turn between them; nobody is lost."""
    deadlines = Deadlines()
    entries = {due_at(1.0) for _ in range(25)}
    for each in entries:
        deadlines.add(each)
    seen: set[Entry] = set()
    while portion := deadlines.due(2.0, 10):
        assert len(portion) <= 10
        for each in portion:
            deadlines.discard(each)
        seen.update(portion)
    assert seen == entries


def test_all_that_are_open_can_be_counted_and_seen() -> None:
    """A drain starts from them."""
    deadlines = Deadlines()
    entries = {due_at(number * 0.03) for number in range(10)}
    for each in entries:
        deadlines.add(each)
    assert set(deadlines) == entries
    assert len(deadlines) == 10


def test_those_due_together_end_in_the_order_of_their_publishes() -> None:
    """Which also makes a schedule of faults repeat: a set would go by memory addresses."""
    deadlines, entries = Deadlines(), [due_at(1.0) for _ in range(50)]
    for each in entries:
        deadlines.add(each)
    deadlines.discard(entries.pop(20))
    assert deadlines.due(2.0, 100) == entries
    assert list(deadlines) == entries


def test_everybody_is_due_once_in_the_order_of_the_buckets() -> None:
    """Against a plain sort, with entries that end early."""
    chance = random.Random(7)
    deadlines, entries = Deadlines(), [due_at(chance.uniform(0, 20)) for _ in range(500)]
    for each in entries:
        deadlines.add(each)
    gone = set(chance.sample(entries, 100))
    for each in gone:
        deadlines.discard(each)
    seen: list[Entry] = []
    while (when := deadlines.next_due()) is not None:
        for each in deadlines.due(when, 1000):
            assert each.deadline <= when <= each.deadline + BUCKET + 1e-9
            deadlines.discard(each)
            seen.append(each)
    assert set(seen) == set(entries) - gone
    assert len(seen) == 400
