"""The Apache Kafka nodes that the tests stand on, and the independent reader."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from support import readback
from support.kafka_node import ROOT, ApacheKafka
from tests.fix_kafka import MakeTopic, require_kafka

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kafka

ORPHAN = """
import pathlib, sys, time
from support.kafka_node import ApacheKafka

kafka = ApacheKafka(pathlib.Path(sys.argv[1]))
kafka.start()
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[ApacheKafka]:
    """Start a node that a test may hurt."""
    require_kafka()
    with ApacheKafka(tmp_path / "kafka") as kafka:
        yield kafka


def write(bootstrap_servers: str, topic: str, *values: bytes) -> list[str]:
    """Write records to partition 0 by librdkafka, wait for the answers, return the refusals."""
    refusals: list[str] = []

    def note(error: KafkaError | None, _: object) -> None:
        if error is not None:
            refusals.append(error.name())

    producer = Producer({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    headers: list[tuple[str, str | bytes | None]] = [("twice", b"1"), ("twice", None)]
    for value in values:
        producer.produce(topic, value, b"k", 0, note, timestamp=1234, headers=headers)
    assert producer.flush(10) == 0
    return refusals


def test_readback_shows_every_field_of_a_record(kafka_node: ApacheKafka, kafka_topic: MakeTopic) -> None:
    """Key, value, duplicate headers, timestamp, partition and offset come back as written."""
    topic = kafka_topic(2)
    write(kafka_node.bootstrap_servers, topic, b"a", b"b")
    headers = (("twice", b"1"), ("twice", None))
    assert readback.read_topic(kafka_node.bootstrap_servers, topic) == [
        readback.ReadRecord(0, 0, b"k", b"a", headers, 1234),
        readback.ReadRecord(0, 1, b"k", b"b", headers, 1234),
    ]


def test_topic_settings_reach_the_broker(kafka_node: ApacheKafka, kafka_topic: MakeTopic) -> None:
    """A topic made with a setting behaves by it, and has the partitions asked for."""
    topic = kafka_topic(3, max_message_bytes="1000")
    assert readback.partition_count(kafka_node.bootstrap_servers, topic) == 3
    assert write(kafka_node.bootstrap_servers, topic, b"x" * 2000) == ["MSG_SIZE_TOO_LARGE"]


def test_no_topic_comes_into_being_by_itself(kafka_node: ApacheKafka) -> None:
    """Reading a topic that nobody created is an error, and does not create it."""
    for _ in range(2):
        with pytest.raises(KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
            readback.read_topic(kafka_node.bootstrap_servers, "never-created")


def test_a_killed_node_starts_again_with_its_records(own_node: ApacheKafka) -> None:
    """A crash of the process loses nothing that was acknowledged, and ports stay the same."""
    topic = readback.create_topic(own_node.bootstrap_servers, "kept")
    write(own_node.bootstrap_servers, topic, b"a")
    own_node.kill(1)
    assert readback.brokers_in_metadata(own_node.bootstrap_servers) == set()
    own_node.start_node(1)
    assert [r.value for r in readback.read_topic(own_node.bootstrap_servers, topic)] == [b"a"]


def test_a_paused_node_answers_after_it_is_resumed(own_node: ApacheKafka) -> None:
    """While paused nobody answers; the same process goes on when resumed."""
    own_node.pause(1)
    assert readback.brokers_in_metadata(own_node.bootstrap_servers) == set()
    own_node.resume(1)
    own_node.wait_for_brokers()


def test_nodes_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """Killing the process that runs a cluster, with no chance to clean up, ends its nodes."""
    require_kafka()
    directory = tmp_path / "kafka"
    with subprocess.Popen([sys.executable, "-c", ORPHAN, str(directory)], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        node = psutil.Process(int((directory / "1.pid").read_text()))
        parent.send_signal(signal.SIGKILL)
    patience = time.monotonic() + 10
    while node.is_running() and node.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < patience, "the node outlived its parent"
        time.sleep(0.05)
