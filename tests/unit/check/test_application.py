"""What a publisher that was never opened tells of its plan."""

from __future__ import annotations

import pytest

from eventpub import CRITICAL, STANDARD, Event, EventRegistry, KafkaConfig, Publisher, UsageError
from eventpub.check.application import plan_of
from eventpub.check.plan import OtherPlace, Route, SpoolPlace, TopicPlace
from eventpub.deadletter import DeadLetters, TopicSink

REGISTRY = EventRegistry()
CONFIG = KafkaConfig("h1:9092")
CAREFUL = CRITICAL.replace(batch_size=10_000)


class Created(Event, type="created", topic="tasks", key="id", registry=REGISTRY):
    id: str


class Seen(Event, type="seen", profile="standard", registry=REGISTRY):
    page: str


class Spool:
    """As much of a spool as the plan reads."""

    path = "/var/lib/spool.db"


class Bucket:
    """A sink of an application's own."""

    name = "bucket"


def test_routes_come_from_the_event_classes() -> None:
    """Topic, profile and key of each, as a publish would have them."""
    publisher = Publisher(CONFIG, profile=CAREFUL, client_id="task-api")
    plan = plan_of(publisher, REGISTRY)
    assert plan.routes == (
        Route("tasks", CAREFUL, "created", keyed=True),
        Route("seen", STANDARD, "seen", keyed=False),
    )
    assert (plan.config, plan.default, plan.client_id, plan.places) == (CONFIG, CAREFUL, "task-api", ())


def test_topic_for_is_asked_where_a_class_names_none() -> None:
    """As the encoder does."""
    plan = plan_of(Publisher(CONFIG, topic_for=lambda kind: f"by-{kind.__name__.lower()}"), REGISTRY)
    assert [route.topic for route in plan.routes] == ["tasks", "by-seen"]


def test_a_class_that_cannot_be_published_is_a_finding_and_no_route() -> None:
    """Its topic or its profile is known to nobody; others are looked at all the same."""
    registry = EventRegistry()

    class Odd(Event, type="odd/type", registry=registry):
        value: int

    class Urgent(Event, type="urgent", profile="nobody-gave-it", registry=registry):
        value: int

    class Usual(Event, type="usual", registry=registry):
        value: int

    plan = plan_of(Publisher(CONFIG), registry)
    assert [route.event for route in plan.routes] == ["usual"]
    assert [(fault.rule, fault.subject) for fault in plan.faults] == [
        ("event-class", "event odd/type"),
        ("event-class", "event urgent"),
    ]
    assert plan.narrowed(("usual",)).faults == ()


def test_a_topic_as_a_place_for_dead_letters() -> None:
    """With its cluster, if it is another."""
    elsewhere = KafkaConfig("h2:9092")
    sinks = DeadLetters(TopicSink("{topic}.dlq"), TopicSink("all", config=elsewhere))
    plan = plan_of(Publisher(CONFIG, dead_letters=sinks), REGISTRY)
    assert plan.places == (TopicPlace("{topic}.dlq"), TopicPlace("all", elsewhere))


def test_other_sinks_are_places_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool by its path, anything else by its name."""
    publisher = Publisher(CONFIG)
    kept = type("Kept", (), {"sinks": (Spool(), Bucket())})()
    monkeypatch.setattr(publisher, "_dead_letters", kept)
    assert plan_of(publisher, REGISTRY).places == (SpoolPlace("/var/lib/spool.db"), OtherPlace("bucket"))


def test_a_publisher_without_kafka_has_nothing_to_check() -> None:
    """Said by naming what it has instead."""
    with pytest.raises(UsageError, match="no Kafka cluster"):
        plan_of(Publisher("memory://"), REGISTRY)
