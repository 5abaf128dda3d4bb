"""What is kept of failures: named at all, and in topics that hold what their sources hold."""

from __future__ import annotations

import pytest

from eventpub import CRITICAL, STANDARD, KafkaConfig
from eventpub.check import dead_letters
from eventpub.check.facts import TOPIC_DENIED, UNKNOWN_TOPIC, Absent, Topic
from eventpub.check.finding import Grade
from eventpub.check.plan import OtherPlace, Place, Plan, Route, SpoolPlace, TopicPlace
from tests.unit.check.facts import partition, told, topic

SOURCE = topic("tasks")
CONFIG = KafkaConfig("h1")


def letters(**settings: str) -> Topic:
    """Return a dead-letter topic for `SOURCE`."""
    return topic("tasks.dlq", **settings)


def test_a_topic_like_its_source_is_sound() -> None:
    """As large, as lasting, as safe."""
    assert list(dead_letters.judge(letters(), SOURCE)) == []
    assert list(dead_letters.judge(letters(retention_ms="-1", max_message_bytes="2000000"), SOURCE)) == []


@pytest.mark.parametrize(
    "wrong, expected",
    [
        (Absent("tasks.dlq", UNKNOWN_TOPIC, "unknown"), (Grade.ERROR, "unknown-topic")),
        (Absent("tasks.dlq", TOPIC_DENIED, "denied"), (Grade.ERROR, "write-denied")),
        (topic("tasks.dlq", operations=["DESCRIBE"]), (Grade.ERROR, "write-denied")),
        (letters(cleanup_policy="compact"), (Grade.ERROR, "dead-letter-compacted")),
        (letters(max_message_bytes="1000000"), (Grade.WARNING, "dead-letter-room")),
        (letters(retention_ms="86400000"), (Grade.WARNING, "dead-letter-retention")),
        (letters(retention_bytes="1000000"), (Grade.WARNING, "dead-letter-retention")),
        (letters(min_insync_replicas="1"), (Grade.WARNING, "min-insync-replicas")),
        (topic("tasks.dlq", partition(leader=None)), (Grade.ERROR, "no-leader")),
    ],
)
def test_each_fault_is_one_finding(wrong: Topic | Absent, expected: tuple[Grade, str]) -> None:
    """About the dead-letter topic, by its name."""
    found = list(dead_letters.judge(wrong, SOURCE))
    assert told(found) == [expected]
    assert found[0].subject == "dead-letter topic tasks.dlq"


def test_a_source_that_cannot_be_seen_is_no_measure() -> None:
    """It has a finding of its own."""
    unknown = Absent("tasks", UNKNOWN_TOPIC, "unknown")
    assert list(dead_letters.judge(letters(retention_ms="1"), unknown)) == []


def test_a_source_that_only_compacts_is_no_measure_of_retention() -> None:
    """It keeps the last record of each key for ever, which no dead-letter topic is asked for."""
    assert list(dead_letters.judge(letters(), topic("tasks", cleanup_policy="compact", retention_ms="-1"))) == []


def test_retention_without_limit_is_asked_for_as_kafka_writes_it() -> None:
    """-1, and not the number it is compared as."""
    (finding,) = dead_letters.judge(letters(), topic("tasks", retention_ms="-1"))
    assert finding.fix == "set retention.ms=-1, or longer"


def test_critical_events_that_nobody_keeps_are_a_warning() -> None:
    """Once for each profile that must not lose anything."""
    plan = Plan(CONFIG, (Route("a"), Route("b"), Route("c", STANDARD)), places=())
    (finding,) = dead_letters.missing(plan)
    assert (finding.grade, finding.rule, finding.subject) == (Grade.WARNING, "no-dead-letters", "profile critical")


@pytest.mark.parametrize("places", [(TopicPlace("{topic}.dlq"),), (SpoolPlace("/var/spool"),)])
def test_any_place_will_do(places: tuple[Place, ...]) -> None:
    """Whether it is sound is another question."""
    assert list(dead_letters.missing(Plan(CONFIG, (Route("a"),), places))) == []


def test_who_does_not_want_them_is_not_told() -> None:
    """``dead_letter=False`` is an answer."""
    plan = Plan(CONFIG, (Route("a", CRITICAL.replace(dead_letter=False)),), places=())
    assert list(dead_letters.missing(plan)) == []


def test_what_is_not_known_is_said_to_be_not_checked() -> None:
    """Without the application; and of a sink of its own."""
    assert told(dead_letters.missing(Plan(CONFIG, (Route("a"),)))) == [(Grade.INFO, "not-checked")]
    own = Plan(CONFIG, (Route("a"),), places=(OtherPlace("bucket"),))
    assert told(dead_letters.missing(own)) == [(Grade.INFO, "not-checked")]


def test_letters_follow_the_template_and_the_profiles() -> None:
    """acks=0 has none: nobody says what failed."""
    routes = (Route("a"), Route("b", STANDARD.replace(dead_letter=False)))
    plan = Plan(CONFIG, routes, places=(TopicPlace("dlq.{topic}"), TopicPlace("all")))
    assert [place.topic_for(route.topic) for route, place in plan.letters()] == ["dlq.a", "all"]


def test_a_plan_can_be_narrowed_to_topics() -> None:
    """Routes that lead there stay; a topic that nobody named gets the default profile."""
    plan = Plan(CONFIG, (Route("a", STANDARD), Route("b")), default=STANDARD)
    assert plan.narrowed(("a", "c")).routes == (Route("a", STANDARD), Route("c", STANDARD))
