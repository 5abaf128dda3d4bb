"""How a cluster of Apache Kafka is laid out; no Java is needed for this."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import kafka_node
from support.kafka_node import ApacheKafka, Layout
from tests.fix_kafka import require_kafka


@pytest.mark.parametrize(
    "layout, nodes, brokers",
    [("one", [1], [1]), ("three", [1, 2, 3], [1, 2, 3]), ("split", [9, 1, 2, 3], [1, 2, 3])],
)
def test_a_layout_says_which_nodes_clients_may_talk_to(layout: Layout, nodes: list[int], brokers: list[int]) -> None:
    """The controller of the split layout is a node, but no broker."""
    kafka = ApacheKafka(Path("unused"), layout)
    assert list(kafka.nodes) == nodes
    assert kafka.brokers == brokers
    assert len(kafka.bootstrap_servers.split(",")) == len(brokers)


def test_ports_are_distinct_and_outside_the_range_of_outgoing_connections() -> None:
    """No node can find its port taken by somebody's outgoing connection."""
    ports = kafka_node.free_ports(40)
    assert len(set(ports)) == 40
    assert max(ports) < 32768


def test_a_machine_without_java_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named, with no stack trace to read."""
    monkeypatch.setenv("PATH", "")
    assert kafka_node.missing() == "Apache Kafka needs Java 17 or later, and there is no java here"


def test_starting_where_something_is_missing_says_what(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A start without Java raises that same line."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(kafka_node.KafkaUnavailableError, match="there is no java here"):
        ApacheKafka(tmp_path).start()


def test_its_tests_are_skipped_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Apache Kafka cannot run, its tests are skipped with the reason."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is no java here"):
        require_kafka()


def test_its_tests_fail_without_java_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CI is set nothing is skipped in silence."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="there is no java here"):
        require_kafka()
