"""Room for unconfirmed events: how much, and who gets it (rule 9)."""

from __future__ import annotations

from eventpub._rules.admission import Admission
from eventpub._rules.entry import Entry
from eventpub.buffer import BufferLimits
from tests.unit.rules.kit import entry


def waiting(admission: Admission, *sizes: int) -> list[Entry]:
    """Let entries of *sizes* wait for room."""
    entries = []
    for size in sizes:
        each = entry()
        each.size = size
        admission.waiters.append(each)
        entries.append(each)
    return entries


def admitted(admission: Admission) -> list[Entry]:
    """Return who gets room now."""
    return list(iter(admission.next_waiter, None))


def test_records_are_limited() -> None:
    """As many as the limit, and not one more."""
    admission = Admission(BufferLimits(max_records=2, max_bytes=1000))
    assert [admission.try_acquire(1) for _ in range(3)] == [True, True, False]
    assert (admission.records, admission.bytes) == (2, 2)


def test_bytes_are_limited() -> None:
    """To the last one."""
    admission = Admission(BufferLimits(max_records=9, max_bytes=100))
    assert [admission.try_acquire(size) for size in (60, 41, 40, 1)] == [True, False, True, False]
    assert (admission.records, admission.bytes) == (2, 100)


def test_one_record_larger_than_the_buffer_goes_alone() -> None:
    """It would wait for ever; nobody joins it."""
    admission = Admission(BufferLimits(max_records=9, max_bytes=100))
    assert admission.try_acquire(5000)
    assert not admission.try_acquire(1)
    admission.give_back(1, 5000)
    assert (admission.records, admission.bytes) == (0, 0)
    assert admission.try_acquire(1)
    assert not admission.try_acquire(5000)


def test_room_goes_to_the_waiters_in_the_order_they_came() -> None:
    """Each gets it once, and is out of the queue then."""
    admission = Admission(BufferLimits(max_records=2, max_bytes=1000))
    assert admission.try_acquire(1)
    assert admission.try_acquire(1)
    first, second, third = waiting(admission, 1, 1, 1)
    assert admitted(admission) == []
    admission.give_back(2, 2)
    assert admitted(admission) == [first, second]
    assert first.has_room
    assert not third.has_room
    assert admission.records == 2
    assert admission.bytes == 2


def test_a_newcomer_never_overtakes_a_waiter() -> None:
    """Not even when it would fit and the waiter does not."""
    admission = Admission(BufferLimits(max_records=9, max_bytes=100))
    assert admission.try_acquire(50)
    waiting(admission, 60)
    assert not admission.try_acquire(10)


def test_a_waiter_that_does_not_fit_holds_up_those_behind_it() -> None:
    """Else a large record would wait for ever among small ones."""
    admission = Admission(BufferLimits(max_records=9, max_bytes=100))
    assert admission.try_acquire(50)
    waiting(admission, 60, 10)
    assert admitted(admission) == []


def test_a_waiter_that_ended_is_passed_over() -> None:
    """It takes no room, and those behind it get theirs."""
    admission = Admission(BufferLimits(max_records=9, max_bytes=100))
    assert admission.try_acquire(50)
    big, small = waiting(admission, 60, 10)
    big.ended = True
    admission.waiters.note_ended()
    assert admitted(admission) == [small]
    assert admission.bytes == 60
    assert admission.try_acquire(40)


def test_an_oversized_waiter_goes_when_the_buffer_is_empty() -> None:
    """And alone."""
    admission = Admission(BufferLimits(max_records=9, max_bytes=100))
    assert admission.try_acquire(1)
    big, small = waiting(admission, 500, 1)
    assert admitted(admission) == []
    admission.give_back(1, 1)
    assert admitted(admission) == [big]
    admission.give_back(1, 500)
    assert admitted(admission) == [small]
