"""The preflight on Apache Kafka: each planted fault is found, and nothing on a sound cluster."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation

from eventpub import CRITICAL, STANDARD, Event, EventRegistry, KafkaConfig, Publisher
from eventpub.check import clock
from eventpub.check.application import plan_of
from eventpub.check.finding import Finding, Grade
from eventpub.check.plan import Plan, Route, TopicPlace
from eventpub.check.preflight import check
from eventpub.deadletter import DeadLetters, TopicSink
from eventpub.envelope import wall_clock
from support import secure_node
from support.kafka_node import ApacheKafka, free_ports
from support.readback import create_topic, read_topic
from support.secure_node import OPEN_TOPICS, STRANGER, STRANGER_PASSWORD, SecureKafka
from tests.fix_kafka import NOT_RUN, MakeTopic, require_kafka
from tests.kafka.cluster import wait_in_sync
from tests.kafka.test_security import Refused, refusals

pytestmark = pytest.mark.kafka

DLQ = (TopicPlace("{topic}.dlq"),)
HOUR = 3600 * 10**9


def new_topic(
    kafka: ApacheKafka, name: str | None = None, partitions: int = 1, replicas: int = -1, **config: str
) -> str:
    """Make a topic with *config*, ``_`` for the dots."""
    settings = {setting.replace("_", "."): value for setting, value in config.items()}
    name = name or f"t-{uuid.uuid4()}"
    return create_topic(kafka.bootstrap_servers, name, partitions, replication_factor=replicas, config=settings)


def plan(kafka: ApacheKafka, *topics: str, **changes: Any) -> Plan:
    """Return the plan of an application that publishes critical events to *topics* and keeps dead letters."""
    usual: dict[str, Any] = {"routes": tuple(map(Route, topics)), "places": DLQ}
    return Plan(KafkaConfig(kafka.bootstrap_servers), **(usual | changes))


async def found(plan: Plan, **options: Any) -> list[Finding]:
    """Return what the preflight finds, without what it did not look at."""
    report = await check(plan, **options)
    return [finding for finding in report.findings if finding.grade is not Grade.INFO]


def rules(findings: list[Finding]) -> list[tuple[Grade, str]]:
    """Return grades and rules."""
    return [(finding.grade, finding.rule) for finding in findings]


# --- a sound cluster, and topics that are not --------------------------------------------


async def test_nothing_is_found_on_a_sound_cluster(three_nodes: ApacheKafka) -> None:
    """Not even something that was not looked at; and nothing was written or made."""
    topic = new_topic(three_nodes, partitions=6)
    new_topic(three_nodes, f"{topic}.dlq", retention_ms="-1")
    before = topics_of(three_nodes)
    report = await check(plan(three_nodes, topic))
    assert report.findings == ()
    assert (report.brokers, report.topics, report.exit_status(strict=True)) == (3, (topic, f"{topic}.dlq"), 0)
    assert topics_of(three_nodes) <= before | {topic, f"{topic}.dlq"}
    assert read_topic(three_nodes.bootstrap_servers, topic) == []


async def test_faults_of_topics(three_nodes: ApacheKafka) -> None:
    """Each topic has one, and each is found."""
    planted: dict[str, tuple[Grade, str]] = {
        new_topic(three_nodes, replicas=1, min_insync_replicas="1"): (Grade.WARNING, "replication-factor"),
        new_topic(three_nodes, min_insync_replicas="1"): (Grade.WARNING, "min-insync-replicas"),
        new_topic(three_nodes, min_insync_replicas="3"): (Grade.WARNING, "min-insync-replicas"),
        new_topic(three_nodes, replicas=2, min_insync_replicas="3"): (Grade.WARNING, "min-insync-replicas"),
        new_topic(three_nodes, unclean_leader_election_enable="true"): (Grade.WARNING, "unclean-leader-election"),
        new_topic(three_nodes, max_message_bytes="20000"): (Grade.WARNING, "max-message-bytes"),
        f"missing-{uuid.uuid4()}": (Grade.ERROR, "unknown-topic"),
    }
    findings = await found(plan(three_nodes, *planted, places=None))
    assert {finding.subject.removeprefix("topic "): (finding.grade, finding.rule) for finding in findings} == planted
    assert len(findings) == len(planted)


async def test_faults_of_dead_letter_topics(three_nodes: ApacheKafka) -> None:
    """Missing, compacted, too small, too short: of sources that are sound."""
    wrong: dict[str, tuple[dict[str, Any] | None, tuple[Grade, str]]] = {
        "missing": (None, (Grade.ERROR, "unknown-topic")),
        "compacted": ({"cleanup_policy": "compact"}, (Grade.ERROR, "dead-letter-compacted")),
        "small": ({"max_message_bytes": "900000"}, (Grade.WARNING, "dead-letter-room")),
        "short": ({"retention_ms": "3600000"}, (Grade.WARNING, "dead-letter-retention")),
        "bounded": ({"retention_bytes": "1000000"}, (Grade.WARNING, "dead-letter-retention")),
    }
    planted = {}
    for config, expected in wrong.values():
        topic = new_topic(three_nodes)
        planted[f"dead-letter topic {topic}.dlq"] = expected
        if config is not None:
            new_topic(three_nodes, f"{topic}.dlq", **config)
    sources = [subject.removeprefix("dead-letter topic ").removesuffix(".dlq") for subject in planted]
    findings = await found(plan(three_nodes, *sources))
    assert {finding.subject: (finding.grade, finding.rule) for finding in findings} == planted


async def test_brokers_that_stop(split_nodes: ApacheKafka) -> None:
    """One less is a warning, one more an error; bootstrap servers that are away are warnings."""
    topic = new_topic(split_nodes)
    await asyncio.to_thread(split_nodes.kill, 3)
    await asyncio.to_thread(wait_in_sync, split_nodes, topic, 2)
    one_away = [finding for finding in await found(plan(split_nodes, topic, places=None)) if "topic" in finding.subject]
    assert rules(one_away) == [(Grade.WARNING, "in-sync")]
    assert "bring back broker 3" in one_away[0].fix
    await asyncio.to_thread(split_nodes.kill, 2)
    await asyncio.to_thread(wait_in_sync, split_nodes, topic, 1)
    findings = await found(plan(split_nodes, topic, places=None))
    assert rules(findings) == [(Grade.ERROR, "in-sync")] + [(Grade.WARNING, "bootstrap-server")] * 2


async def test_a_partition_without_a_leader(split_nodes: ApacheKafka) -> None:
    """An error for any acks, which names the broker to bring back."""
    topic = new_topic(split_nodes, partitions=3, replicas=1)
    await asyncio.to_thread(split_nodes.kill, 2)
    await asyncio.to_thread(until_leaderless, split_nodes, topic)
    findings = await found(plan(split_nodes, routes=(Route(topic, STANDARD),), places=None))
    (leaderless,) = [finding for finding in findings if finding.rule == "no-leader"]
    assert (leaderless.grade, leaderless.fix) == (Grade.ERROR, "bring back broker 2, where the replicas are")


def is_leaderless(kafka: ApacheKafka, topic: str) -> bool:
    """Ask librdkafka whether a partition has no leader."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    return any(p.leader < 0 for p in admin.list_topics(topic, timeout=10).topics[topic].partitions.values())


def until_leaderless(kafka: ApacheKafka, topic: str) -> None:
    """Return once the cluster has noticed; the test's own timeout ends it."""
    while not is_leaderless(kafka, topic):
        pass


def topics_of(kafka: ApacheKafka) -> set[str]:
    """Return every topic there is."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    return set(admin.list_topics(timeout=10).topics)


# --- applications ------------------------------------------------------------------------


async def test_an_application_tells_of_profiles_keys_and_dead_letters(three_nodes: ApacheKafka) -> None:
    """What its event classes and its publisher say, and what that comes to on this cluster."""
    compacted, small = (
        new_topic(three_nodes, cleanup_policy="compact"),
        new_topic(three_nodes, max_message_bytes="50000"),
    )
    registry = EventRegistry()

    class Unkeyed(Event, type="unkeyed", topic=compacted, registry=registry):
        value: int

    class Modest(Event, type="modest", topic=small, profile=CRITICAL.replace(batch_size=50_000), registry=registry):
        value: int

    nowhere = plan_of(Publisher(three_nodes.url), registry)
    findings = await found(nowhere)
    assert rules(findings) == [(Grade.ERROR, "compacted"), (Grade.WARNING, "no-dead-letters")]
    assert "unkeyed has no key" in findings[0].reason
    letters = new_topic(three_nodes)
    somewhere = plan_of(Publisher(three_nodes.url, dead_letters=DeadLetters(TopicSink(letters))), registry)
    assert rules(await found(somewhere)) == [(Grade.ERROR, "compacted")]
    assert await found(somewhere.narrowed((small,))) == []


async def test_dead_letters_in_another_cluster(three_nodes: ApacheKafka, kafka_node: ApacheKafka) -> None:
    """Are looked for there: it is connected to as the sink would, and its topics judged by themselves."""
    topic = new_topic(three_nodes)
    there, nowhere = KafkaConfig(kafka_node.bootstrap_servers), KafkaConfig(f"127.0.0.1:{free_ports(1)[0]}")
    new_topic(kafka_node, f"{topic}.dlq")
    findings = await found(plan(three_nodes, topic, places=(TopicPlace("{topic}.dlq", there),)))
    assert {finding.rule for finding in findings} == {"replication-factor"}
    assert {finding.subject for finding in findings} == {f"dead-letter topic {topic}.dlq"}
    findings = await found(plan(three_nodes, topic, places=(TopicPlace("{topic}.dlq", nowhere),)))
    assert rules(findings) == [(Grade.ERROR, "bootstrap-server")]


async def test_without_names_every_topic_is_looked_at(tmp_path: Path) -> None:
    """All that this client may write to, and none of Kafka's own; nothing comes into being by looking."""
    require_kafka()
    with ApacheKafka(tmp_path / "alone", properties={"auto.create.topics.enable": "true"}) as kafka:
        nothing = await check(plan(kafka))
        assert [finding.subject for finding in nothing.findings if finding.rule == "not-checked"] == ["topics"]
        names = sorted(new_topic(kafka) for _ in range(3))
        report = await check(plan(kafka, f"missing-{uuid.uuid4()}", places=None))
        assert rules([f for f in report.findings if f.grade is Grade.ERROR]) == [(Grade.ERROR, "unknown-topic")]
        report = await check(plan(kafka, places=None))
        assert sorted(report.topics) == names
        assert {name for name in topics_of(kafka) if not name.startswith("__")} == set(names)


# --- the clock ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shift, grade, words",
    [
        (2 * HOUR, Grade.ERROR, "7200.0 s ahead of the active controller's"),
        (HOUR // 2, Grade.WARNING, "1800.0 s ahead of the active controller's"),
        (-2 * HOUR, Grade.WARNING, "7200.0 s behind the active controller's"),
    ],
)
async def test_a_clock_that_is_off(
    kafka_node: ApacheKafka,
    kafka_topic: MakeTopic,
    monkeypatch: pytest.MonkeyPatch,
    shift: int,
    grade: Grade,
    words: str,
) -> None:
    """Measured by reading alone, from what the active controller says of itself."""
    monkeypatch.setattr(clock, "wall_clock", lambda: wall_clock() + shift)
    findings = await found(plan(kafka_node, kafka_topic(), places=None))
    (skew,) = [finding for finding in findings if finding.rule == "clock-skew"]
    assert (skew.grade, words in rounded(skew.reason)) == (grade, True), skew.reason


def rounded(reason: str) -> str:
    """Return *reason* with what a busy machine adds or takes (up to 0.9 s) taken off."""
    for figure in ("7200", "1800"):
        for tenth in range(10):
            reason = reason.replace(f"{figure}.{tenth} s", f"{figure}.0 s")
            reason = reason.replace(f"{int(figure) - 1}.{tenth} s", f"{figure}.0 s")
    return reason


async def test_a_write_probe_writes_one_record_where_it_was_told_to(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the broker's time of it is the measure; a topic that cannot tell one is left alone."""
    stamping, other = kafka_topic(message_timestamp_type="LogAppendTime"), kafka_topic()
    report = await check(plan(kafka_node, other, places=None), write_probe=stamping)
    assert [finding.rule for finding in report.findings if finding.rule == "clock-skew"] == []
    assert [record.key for record in read_topic(kafka_node.bootstrap_servers, stamping)] == [b"eventpub-check"]
    monkeypatch.setattr(clock, "wall_clock", lambda: wall_clock() + 2 * HOUR)
    findings = await found(plan(kafka_node, other, places=None), write_probe=stamping)
    assert len([finding for finding in findings if finding.rule == "clock-skew"]) == 2
    report = await check(plan(kafka_node, other, places=None), write_probe=other)
    assert any("nothing was written" in finding.reason for finding in report.findings)
    assert read_topic(kafka_node.bootstrap_servers, other) == []


# --- who is let in, and what he may do -----------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """Run one node that lets nobody in without proof."""
    require_kafka()
    if reason := secure_node.missing():
        pytest.skip(NOT_RUN + reason)
    with SecureKafka(tmp_path_factory.mktemp("secure")) as node:
        yield node


@pytest.mark.parametrize(
    "listener, mechanism",
    [("SASL", "PLAIN"), ("SASL", "SCRAM-SHA-512"), ("SASL", "OAUTHBEARER"), ("CLEAR", "SCRAM-SHA-256")],
)
async def test_every_way_in_is_taken(secure: SecureKafka, listener: str, mechanism: str) -> None:
    """By eventpub's own connections, and by librdkafka's: the topic's one replica is all there is to say."""
    topic = new_topic(secure, f"{OPEN_TOPICS}{uuid.uuid4()}")
    report = await check(Plan(secure.config(listener, mechanism), (Route(topic),)))
    assert rules([f for f in report.findings if f.grade is not Grade.INFO]) == [(Grade.WARNING, "replication-factor")]
    # Who may write, and no more, is told what could not be looked at.
    assert sorted(finding.subject for finding in report.findings if finding.grade is Grade.INFO) == [
        "clock",
        "dead letters",
        f"topic {topic}",
    ]


async def test_a_client_certificate_lets_in_but_cannot_ask(secure: SecureKafka) -> None:
    """Nobody gets a key out of Python's context for librdkafka: what was not looked at is a warning with the reason."""
    config = dataclasses.replace(secure.config("TLS", None), connect_timeout=1, metadata_timeout=1)
    findings = await found(Plan(config, (Route("t"),)))
    assert rules(findings) == [(Grade.WARNING, "not-asked")]
    assert "client certificate" in findings[0].fix


async def test_rights_are_asked_for_and_not_guessed(secure: SecureKafka) -> None:
    """No right at all, a right to look, the right to write; and DESCRIBE_CONFIGS shows the settings."""
    closed, seen, writable = (new_topic(secure, f"{kind}-{uuid.uuid4()}") for kind in ("closed", "seen", "writable"))
    secure.grant(STRANGER, seen, AclOperation.DESCRIBE)
    for operation in (AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS):
        secure.grant(STRANGER, writable, operation)
    config = secure.config(sasl_username=STRANGER, sasl_password=STRANGER_PASSWORD)
    findings = await found(Plan(config, (Route(closed), Route(seen), Route(writable, STANDARD))))
    denied = {finding.subject: finding.reason for finding in findings if finding.rule == "write-denied"}
    assert list(denied) == [f"topic {closed}", f"topic {seen}"]
    assert "whether it exists" in denied[f"topic {closed}"]
    report = await check(Plan(config, (Route(writable, STANDARD),)))
    assert f"topic {writable}" not in {finding.subject for finding in report.findings}
    every = await check(Plan(config))
    assert every.topics == (writable,)


async def test_why_nobody_is_let_in(secure: SecureKafka) -> None:
    """Each of the refusals that a publisher tells, in the same words, as an error with a fix."""

    async def one(name: str, refused: Refused) -> None:
        config, _, words = refused
        report = await check(Plan(config, (Route("t"),)))
        errors = [finding for finding in report.findings if finding.grade is Grade.ERROR]
        assert rules(errors) == [(Grade.ERROR, "bootstrap-server")], name
        assert words in f"{errors[0].subject} {errors[0].reason}", name
        assert errors[0].fix, name
        assert (report.brokers, report.exit_status()) == (0, 1), name

    await asyncio.gather(*(one(*item) for item in refusals(secure).items()))


FIXES = {
    "expired certificate": "renew the broker's certificate",
    "wrong host": "subjectAltName",
    "unknown CA": "ssl_cafile",
    "no client certificate": "ssl_context",
    "wrong password (SCRAM)": "credentials",
    "mechanism not offered": "sasl_mechanism",
    "plaintext at a TLS port": "port and security_protocol",
    "TLS at a plaintext port": "port and security_protocol",
}


async def test_what_to_do_about_it(secure: SecureKafka) -> None:
    """The fix names the setting that is wrong."""
    for name, words in FIXES.items():
        config, _, _ = refusals(secure)[name]
        (error,) = [f for f in (await check(Plan(config, (Route("t"),)))).findings if f.grade is Grade.ERROR]
        assert words in error.fix, name
        assert "refused the authentication" not in error.reason or "password" in name


async def test_an_authority_that_cannot_be_read(secure: SecureKafka, tmp_path: Path) -> None:
    """Nothing is connected to; the setting is named."""
    findings = await found(Plan(secure.config(ssl_cafile=tmp_path / "nothing.pem"), (Route("t"),)))
    assert [(finding.rule, finding.subject) for finding in findings] == [("configuration", "ssl_cafile")]


async def test_no_secret_is_told(secure: SecureKafka) -> None:
    """Neither by the findings nor by their JSON."""
    config = secure.config(sasl_password="wrong-canary")
    report = await check(Plan(config, (Route("t"),)))
    assert "canary" not in json.dumps(report.as_json()) + repr(report)


async def test_an_address_that_only_the_cluster_knows(kafka_node: ApacheKafka, kafka_topic: MakeTopic) -> None:
    """A broker that advertises what cannot be reached is the fault that bootstrap servers hide."""
    (node,) = kafka_node.nodes.values()
    config = KafkaConfig(f"127.0.0.1:{node.proxied}")  # leads its clients to a proxy, and none is there
    findings = await found(Plan(config, (Route(kafka_topic()),)))
    (broker,) = [finding for finding in findings if finding.rule == "broker"]
    assert (broker.grade, broker.subject) == (Grade.ERROR, f"broker 1 (127.0.0.1:{node.proxy})")
    assert "advertised.listeners" in broker.fix


# --- the command -------------------------------------------------------------------------


def run_command(kafka: ApacheKafka, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``eventpub check`` as a shell would."""
    command = [sys.executable, "-m", "eventpub", "check", *arguments]
    environment = os.environ | {"EVENTPUB_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_in_a_pipe(three_nodes: ApacheKafka) -> None:
    """A sound topic ends with 0, whatever `--strict` says; a missing one with 1, and its line says why."""
    topic, missing = new_topic(three_nodes), f"missing-{uuid.uuid4()}"
    sound = run_command(three_nodes, "--topic", topic, "--strict", "--json")
    assert sound.returncode == 0, sound
    assert [finding["grade"] for finding in json.loads(sound.stdout)["findings"]] == ["info"]
    faulty = run_command(three_nodes, "--topic", topic, "--topic", missing)
    assert faulty.returncode == 1, faulty
    assert faulty.stdout.startswith(f"error: topic {missing}: there is no such topic; create it")
    assert faulty.stderr.startswith("1 error, 0 warnings: 3 brokers, 2 topics looked at")
