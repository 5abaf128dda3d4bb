"""Topics whose replicas lie where a fault needs them, by librdkafka's admin client."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka.admin import AdminClient

# confluent_kafka.admin hides these from type checkers.
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

PARTITIONS = 4
_PATIENCE = 60.0


class Layout(enum.Enum):
    """Where the replicas of a topic of four partitions lie; the first of each is the leader."""

    REPLICATED = "every broker leads, all follow"
    TWO_LEADERS = "the last broker only follows"
    ALONE = "one replica, all on the first broker"

    def replicas(self, brokers: list[int]) -> list[list[int]]:
        """Return the replicas of each partition on *brokers*."""
        if self is Layout.ALONE:
            return [brokers[:1]] * PARTITIONS
        leaders = brokers[:-1] if self is Layout.TWO_LEADERS and len(brokers) > 1 else brokers
        chosen = [leaders[partition % len(leaders)] for partition in range(PARTITIONS)]
        return [[leader, *(broker for broker in brokers if broker != leader)] for leader in chosen]


def create(bootstrap_servers: str, name: str, replicas: list[list[int]], config: Mapping[str, str]) -> None:
    """Create a topic, and return when all its replicas are in sync."""
    admin = _admin(bootstrap_servers)
    topic = NewTopic(name, len(replicas), replica_assignment=replicas, config=dict(config))
    admin.create_topics([topic])[name].result(_PATIENCE)
    wait_until_in_sync(bootstrap_servers, name, len(replicas[0]))


def wait_until_in_sync(bootstrap_servers: str, topic: str, count: int | None = None) -> None:
    """Return when every partition has a leader and *count* replicas in sync; default: all of them.

    Raises:
        TimeoutError: they have not within a minute.
    """
    admin = _admin(bootstrap_servers)

    def in_sync() -> bool:
        partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions.values()
        return bool(partitions) and all(
            p.leader >= 0 and len(p.isrs) == (len(p.replicas) if count is None else count) for p in partitions
        )

    _wait_for(in_sync, f"replicas of {topic}")


def demand_in_sync(bootstrap_servers: str, topics: Iterable[str], count: int) -> None:
    """Set ``min.insync.replicas`` of *topics*."""
    entry = ConfigEntry("min.insync.replicas", str(count), incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]) for topic in topics]
    admin = _admin(bootstrap_servers)  # kept until the end: its futures die with it
    for future in admin.incremental_alter_configs(resources).values():
        future.result(_PATIENCE)


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    patience = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > patience:
            raise TimeoutError(f"{what} were not in sync within {_PATIENCE:g} s")
        time.sleep(0.1)


def _admin(bootstrap_servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
