"""The order of things, with fakes for whoever waits; on Apache Kafka it runs for real."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from eventpub import KafkaConfig
from eventpub.check import clock, connecting, preflight
from eventpub.check.asking import AskingError
from eventpub.check.connecting import Contacts
from eventpub.check.facts import UNKNOWN_TOPIC, Absent, Topics
from eventpub.check.finding import Finding, Grade
from eventpub.check.plan import Plan, Route, TopicPlace
from eventpub.config import Address
from eventpub.transports.kafka.errors import UnreachableError
from tests.unit.check.facts import told, topic

HERE = Address("h1", 9092)
CONFIG = KafkaConfig("h1")


class Cluster:
    """Answers as a cluster with sound topics of these names would; ``closed`` counts who left."""

    def __init__(self, *names: str, denied: Iterable[str] = ()) -> None:
        self.facts = {name: topic(name, operations=["DESCRIBE"] if name in denied else ["WRITE"]) for name in names}
        self.contacts = Contacts({1: HERE}, {}, {})
        self.trouble: AskingError | None = None
        self.closed = 0
        self.late = 0

    def __call__(self, *_: object) -> Cluster:
        """Stand for the class, too."""
        if self.trouble is not None:
            raise self.trouble
        return self

    def names(self) -> list[str]:
        """Return all topics."""
        return list(self.facts)

    def topics(self, names: Iterable[str]) -> Topics:
        """Return these topics; ``late`` times none is known yet."""
        if self.late > 0:
            self.late -= 1
            return {name: Absent(name, UNKNOWN_TOPIC, "unknown") for name in names}
        return {name: self.facts.get(name, Absent(name, UNKNOWN_TOPIC, "unknown")) for name in names}

    def close(self) -> None:
        """Count."""
        self.closed += 1


def play(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    """Put *cluster* where Kafka would be; it tells no time."""

    async def connect(*_: Any) -> Contacts:
        return cluster.contacts

    async def ask_controller(*_: Any) -> None:
        return None

    monkeypatch.setattr(connecting, "connect", connect)
    monkeypatch.setattr(clock, "ask_controller", ask_controller)
    monkeypatch.setattr(preflight, "Inquiry", cluster)


async def test_topics_and_their_dead_letters_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the plan, by their names; then the client is closed."""
    play(monkeypatch, cluster := Cluster("tasks", "tasks.dlq", "unrelated"))
    report = await preflight.check(Plan(CONFIG, (Route("tasks"),), (TopicPlace("{topic}.dlq"),)))
    assert report.topics == ("tasks", "tasks.dlq")
    assert [finding.subject for finding in report.findings] == ["clock"]
    assert cluster.closed == 1


async def test_without_routes_what_may_be_written_to_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what may not; and a topic for dead letters as one, not as a source that lacks its own."""
    play(monkeypatch, Cluster("tasks", "tasks.dlq", "orders", "secret", denied=["secret"]))
    report = await preflight.check(Plan(CONFIG, (), (TopicPlace("{topic}.dlq"),)))
    assert sorted(report.topics) == ["orders", "tasks", "tasks.dlq"]
    assert report.exit_status(strict=True) == 0


async def test_dead_letters_elsewhere_are_measured_by_their_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they go, letters are to last as long as the events that they belong among."""
    play(monkeypatch, cluster := Cluster("tasks"))
    cluster.facts["letters"] = topic("letters", retention_ms="1000")
    elsewhere = TopicPlace("letters", KafkaConfig("h2"))
    report = await preflight.check(Plan(CONFIG, (Route("tasks"),), (elsewhere,)))
    assert told(report.findings)[0] == (Grade.WARNING, "dead-letter-retention")
    assert (report.topics, cluster.closed) == (("tasks",), 2)


async def test_topics_that_nobody_named_need_no_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here or elsewhere; those of a named one are missed."""
    play(monkeypatch, Cluster("tasks"))
    places = (TopicPlace("{topic}.dlq"), TopicPlace("{topic}.dead", KafkaConfig("h2")))
    assert (await preflight.check(Plan(CONFIG, (), places))).exit_status(strict=True) == 0
    named = await preflight.check(Plan(CONFIG, (Route("tasks"),), places))
    assert told(named.findings)[:2] == [(Grade.ERROR, "unknown-topic")] * 2


@pytest.mark.parametrize("late, status", [(3, 0), (4, 1)])
async def test_a_new_topic_is_given_time(monkeypatch: pytest.MonkeyPatch, late: int, status: int) -> None:
    """Not every broker knows it at once; as for a publish, the fourth answer counts."""
    monkeypatch.setattr(preflight, "_BETWEEN", 0)
    play(monkeypatch, cluster := Cluster("tasks"))
    cluster.late = late
    assert (await preflight.check(Plan(CONFIG, (Route("tasks"),)))).exit_status() == status


async def test_faults_of_event_classes_are_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan has them already."""
    play(monkeypatch, Cluster("tasks"))
    fault = Finding(Grade.WARNING, "event-class", "event odd/type", "why", "fix")
    report = await preflight.check(Plan(CONFIG, (Route("tasks"),), faults=(fault,)))
    assert report.findings[0] == fault


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not looked at is said, and nobody is asked."""
    play(monkeypatch, cluster := Cluster())
    cluster.contacts = Contacts({}, {HERE: UnreachableError("h1:9092 cannot be reached")}, {})
    report = await preflight.check(Plan(CONFIG, (Route("tasks"),), places=()))
    assert told(report.findings) == [
        (Grade.ERROR, "bootstrap-server"),
        (Grade.WARNING, "no-dead-letters"),
        (Grade.INFO, "not-checked"),
    ]
    assert (report.brokers, cluster.closed) == (0, 0)


async def test_brokers_that_cannot_be_reached_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would only take long to hear the same again."""
    play(monkeypatch, cluster := Cluster("tasks"))
    cluster.contacts = Contacts({1: HERE}, {}, {HERE: UnreachableError("h1:9092 cannot be reached")})
    report = await preflight.check(Plan(CONFIG, (Route("tasks"),)))
    assert told(report.findings)[0] == (Grade.ERROR, "broker")
    assert cluster.closed == 0


async def test_trouble_with_asking_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that looked at nothing must not pass for a good answer; the rest of it goes on."""
    play(monkeypatch, cluster := Cluster("tasks"))
    cluster.trouble = AskingError("timed out")
    report = await preflight.check(Plan(CONFIG, (Route("tasks"),), places=()))
    assert told(report.findings) == [(Grade.WARNING, "not-asked"), (Grade.WARNING, "no-dead-letters")]


async def test_a_token_provider_that_raises_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by the kind of its error alone, which may hold the token."""

    async def provide() -> str:
        raise ValueError("token-canary")

    play(monkeypatch, Cluster("tasks"))
    config = KafkaConfig("h1", sasl_mechanism="OAUTHBEARER", sasl_token_provider=provide)
    (finding, *_) = (await preflight.check(Plan(config, (Route("tasks"),)))).findings
    assert (finding.rule, finding.reason) == ("not-asked", "not looked at: sasl_token_provider raised ValueError")
