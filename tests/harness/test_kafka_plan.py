"""How a cluster of Apache Kafka is laid out; no Java is needed for this."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import kafka_node
from support.kafka_node import ApacheKafka, Layout


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


NEEDS_KAFKA = """
def test_on_kafka(kafka_node):
    raise AssertionError("there is no java")

def test_also_on_kafka(kafka_topic):
    raise AssertionError("there is no java")

def test_elsewhere():
    pass
"""


@pytest.mark.parametrize("ci, failed", [("", False), ("true", True)])
def test_without_java_the_others_run_and_one_line_says_why(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *, ci: str, failed: bool
) -> None:
    """Tests on Apache Kafka are skipped with one line for all; where CI is set the run fails."""
    pytester.makeconftest('pytest_plugins = ["tests.fix_kafka"]')
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers =\n    kafka\n")
    pytester.makepyfile(NEEDS_KAFKA)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    result = pytester.runpytest_inprocess("-p", "no:looptime_plugin")
    result.assert_outcomes(passed=1, skipped=2)
    line = "2 tests not run on Apache Kafka: Apache Kafka needs Java 17 or later, and there is no java here"
    assert result.stdout.str().count("there is no java here") == 1
    assert line in result.stdout.str()
    assert (result.ret == pytest.ExitCode.TESTS_FAILED) is failed
