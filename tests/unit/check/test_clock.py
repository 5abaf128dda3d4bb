"""What a difference of clocks comes to, and which topics can tell one."""

from __future__ import annotations

import pytest

from eventpub.check import clock
from eventpub.check.clock import Skew
from eventpub.check.facts import UNKNOWN_TOPIC, Absent
from eventpub.check.finding import Grade
from tests.unit.check.facts import told, topic

HOURS = 3600.0
OTHER = "the active controller's"


def test_the_other_clock_was_read_somewhere_between() -> None:
    """In the middle is the best guess, and half the way is what it may be off."""
    skew = Skew.between(100_000_000_000, 102_000_000_000, 91.0, OTHER)
    assert (skew.ahead, skew.margin) == (10.0, 1.001)


@pytest.mark.parametrize("skew", [Skew(0.01, 0.001, OTHER), Skew(-4.9, 0.001, OTHER), Skew(20.0, 15.0, OTHER)])
def test_small_differences_are_none(skew: Skew) -> None:
    """Nor is what may be the network's doing."""
    assert list(clock.judge(skew, [topic()])) == []


@pytest.mark.parametrize("ahead, word", [(60.0, "ahead of"), (-60.0, "behind"), (-2 * HOURS, "behind")])
def test_a_difference_that_refuses_nothing_is_a_warning(ahead: float, word: str) -> None:
    """Behind, however far: brokers take timestamps from the past."""
    (finding,) = clock.judge(Skew(ahead, 0.01, OTHER), [topic()])
    assert (finding.grade, finding.rule) == (Grade.WARNING, "clock-skew")
    assert f"60.0 s {word} {OTHER}" in finding.reason or word in finding.reason


def test_a_difference_beyond_the_limit_of_a_topic_is_an_error() -> None:
    """Which names the topics."""
    topics = [topic("a"), topic("b", message_timestamp_after_max_ms="86400000")]
    (finding,) = clock.judge(Skew(2 * HOURS, 0.01, OTHER), topics)
    assert finding.grade is Grade.ERROR
    assert "refused by a (INVALID_TIMESTAMP)" in finding.reason


def test_a_topic_that_stamps_by_itself_refuses_none() -> None:
    """LogAppendTime replaces what the record said."""
    found = clock.judge(Skew(2 * HOURS, 0.01, OTHER), [topic(message_timestamp_type="LogAppendTime")])
    assert told(found) == [(Grade.WARNING, "clock-skew")]


def test_only_a_topic_that_stamps_by_itself_is_written_to() -> None:
    """Of another, and of none at all, it is said that nothing was measured."""
    assert clock.unfit(topic(message_timestamp_type="LogAppendTime")) is None
    for other in (topic(), Absent("tasks", UNKNOWN_TOPIC, "unknown")):
        finding = clock.unfit(other)
        assert finding is not None
        assert (finding.grade, finding.rule) == (Grade.INFO, "not-checked")
