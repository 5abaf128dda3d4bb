"""One Apache Kafka node for the whole session, and fresh topics on it."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Protocol

import pytest

from support import kafka_node as nodes
from support import readback

if TYPE_CHECKING:
    from collections.abc import Iterator

# A node has to start within the first test that asks for it, also on a busy machine.
_TIMEOUT = 120


class MakeTopic(Protocol):
    """Creates a topic under a name that no other test has, and returns the name."""

    def __call__(self, partitions: int = 1, /, **config: str) -> str: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for the node, and give it time."""
    for item in items:
        if "kafka_node" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)
        if item.get_closest_marker("kafka") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_TIMEOUT))


@pytest.fixture(scope="session")
def kafka_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.ApacheKafka]:
    """Run one node until the session ends. A test that hurts it needs a node of its own."""
    require_kafka()
    with nodes.ApacheKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


@pytest.fixture
def kafka_topic(kafka_node: nodes.ApacheKafka) -> MakeTopic:
    """Make topics on the session's node: ``kafka_topic(4, max_message_bytes="20000")``."""

    def make(partitions: int = 1, /, **config: str) -> str:
        settings = {name.replace("_", "."): value for name, value in config.items()}
        name = f"t-{uuid.uuid4()}"
        return readback.create_topic(kafka_node.bootstrap_servers, name, partitions, config=settings)

    return make


def require_kafka() -> None:
    """Skip the test where Apache Kafka cannot run; fail it where it has to (``CI`` is set)."""
    reason = nodes.missing()
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (and CI is set, so nothing is skipped)", pytrace=False)
    pytest.skip(f"not run on Apache Kafka: {reason}")
