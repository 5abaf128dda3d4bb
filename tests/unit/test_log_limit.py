"""Which lines are due."""

from __future__ import annotations

from eventpub._log_limit import KINDS, PAUSE, LogLimiter, and_more


def test_the_first_of_a_kind_is_due_at_once_and_then_one_a_minute() -> None:
    """What was kept back in between is counted with the next line, and counted once."""
    repeats = LogLimiter()
    assert [repeats.due("a", now) for now in (0.0, 1.0, 59.9)] == [0, None, None]
    assert repeats.due("a", PAUSE) == 2
    assert repeats.due("a", 2 * PAUSE) == 0


def test_kinds_are_told_apart() -> None:
    """A line of one kind keeps none of another back."""
    repeats = LogLimiter()
    assert [repeats.due(kind, 0.0) for kind in ("a", "b", ("a", "b"))] == [0, 0, 0]


def test_a_thousand_kinds_in_a_minute_share_a_line() -> None:
    """Neither memory nor lines grow with what others make up; a minute later there is room again."""
    repeats = LogLimiter()
    told = [kind for kind in range(1_000) if repeats.due(kind, 0.0) is not None]
    assert len(told) == KINDS + 1
    assert len(repeats._kinds) == KINDS + 1
    assert repeats.due("new", PAUSE) == 0
    assert len(repeats._kinds) == 1


def test_words() -> None:
    """Nothing is said of nothing."""
    assert and_more(0) == ""
    assert and_more(3) == " (and 3 more since the last such line)"
