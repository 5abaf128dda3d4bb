"""Topics that are not there, or not for this client."""

from __future__ import annotations

from eventpub.check import access
from eventpub.check.facts import TOPIC_DENIED, UNKNOWN_TOPIC, Absent, Topic
from eventpub.check.finding import Grade
from tests.unit.check.facts import partition, told, topic


def test_what_may_be_written_has_no_finding() -> None:
    """WRITE is enough; it implies DESCRIBE."""
    assert list(access.judge(topic(operations=["WRITE"]), "topic tasks")) == []


def test_a_topic_that_is_not_there() -> None:
    """And that eventpub will not make."""
    (finding,) = access.judge(Absent("tasks", UNKNOWN_TOPIC, "no such topic"), "topic tasks")
    assert (finding.grade, finding.rule) == (Grade.ERROR, "unknown-topic")
    assert "eventpub never does" in finding.fix


def test_a_topic_that_may_only_be_looked_at() -> None:
    """The fix is the grant, ready to be copied."""
    (finding,) = access.judge(topic(operations=["DESCRIBE", "READ"]), "topic tasks")
    assert (finding.grade, finding.rule) == (Grade.ERROR, "write-denied")
    assert finding.fix.endswith("--operation Write --topic tasks")


def test_a_topic_that_may_not_even_be_seen() -> None:
    """The brokers do not say then whether it exists, and neither does the finding."""
    (finding,) = access.judge(Absent("tasks", TOPIC_DENIED, "denied"), "topic tasks")
    assert (finding.grade, finding.rule) == (Grade.ERROR, "write-denied")
    assert "whether it exists" in finding.reason


def test_other_trouble_is_told_in_the_brokers_words() -> None:
    """An invalid name, say."""
    (finding,) = access.judge(Absent("tasks", 17, "Invalid topic"), "topic tasks")
    assert (finding.grade, "Invalid topic" in finding.reason) == (Grade.ERROR, True)


def test_what_cannot_be_seen_is_said_to_be_not_checked() -> None:
    """Rights that old brokers do not tell, settings that this client may not read."""
    hidden = Topic("tasks", (partition(),), None, None)
    assert told(access.judge(hidden, "topic tasks")) == [(Grade.INFO, "not-checked")] * 2
