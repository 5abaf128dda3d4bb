"""A queue whose entries may end while they wait."""

from __future__ import annotations

from eventpub._rules.entry import Entry
from eventpub._rules.queue import EntryQueue
from tests.unit.rules.kit import entry


def filled(count: int) -> tuple[EntryQueue, list[Entry]]:
    """Return a queue and what is in it."""
    queue, entries = EntryQueue(), [entry(i) for i in range(count)]
    for each in entries:
        queue.append(each)
    return queue, entries


def end(queue: EntryQueue, *entries: Entry) -> None:
    """End *entries*, as the engine does."""
    for each in entries:
        each.ended = True
        queue.note_ended()


def test_first_come_first_taken() -> None:
    """Looking does not take."""
    queue, (a, b) = filled(2)
    assert queue.first() is a
    assert queue.first() is a
    assert queue.popleft() is a
    assert queue.first() is b
    assert a.queue is queue


def test_an_empty_queue_has_no_first() -> None:
    """And is false."""
    queue = EntryQueue()
    assert queue.first() is None
    assert not queue
    assert list(queue.drain()) == []


def test_what_ended_is_neither_counted_nor_taken() -> None:
    """Wherever it stands."""
    queue, (a, b, c, d) = filled(4)
    end(queue, a, c)
    assert len(queue) == 2
    assert list(queue) == [b, d]
    assert queue.first() is b
    assert len(queue) == 2
    assert list(queue.drain()) == [b, d]
    assert len(queue) == 0


def test_a_queue_of_ended_entries_is_empty() -> None:
    """Nobody waits in it."""
    queue, entries = filled(3)
    end(queue, *entries)
    assert not queue
    assert queue.first() is None
    assert len(queue) == 0


def test_ended_entries_do_not_pile_up_behind_a_slow_head() -> None:
    """Half of them may be dead, and no more; order and count stay."""
    queue, (head,) = filled(1)
    for _ in range(100):
        more = [entry(i) for i in range(10)]
        for each in more:
            queue.append(each)
        end(queue, *more)
        assert len(queue.entries) < 150
        assert len(queue) == 1
    assert queue.first() is head


def test_few_dead_ones_among_many_are_left_where_they_are() -> None:
    """Making the queue anew for each would cost a square of its length."""
    queue, entries = filled(1000)
    end(queue, *entries[500:900])
    assert len(queue.entries) == 1000
    assert len(queue) == 600
    end(queue, *entries[900:])
    end(queue, entries[1])
    assert len(queue.entries) == 499
    assert list(queue) == [entries[0], *entries[2:500]]


def test_draining_takes_what_is_appended_meanwhile() -> None:
    """Whoever drains puts waiters into the same queue."""
    queue, (a, b) = filled(2)
    late = entry("late")
    taken = []
    for each in queue.drain():
        taken.append(each)
        if each is a:
            queue.append(late)
    assert taken == [a, b, late]
