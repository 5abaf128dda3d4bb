"""Topics, leaders and replicas of a cluster that a test hurts, as librdkafka sees them."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from support.readback import create_topic, leader

if TYPE_CHECKING:
    from support.kafka_node import ApacheKafka

PARTITIONS = 6


def new_topic(kafka: ApacheKafka, partitions: int = PARTITIONS) -> str:
    """Create a topic with three replicas of each partition, all of them in sync."""
    while True:
        try:
            topic = create_topic(kafka.bootstrap_servers, f"t-{uuid.uuid4()}", partitions)
        except KafkaException as error:
            # librdkafka gives a request up when it replaces the connection to a bootstrap server by
            # that to the broker behind it.
            if error.args[0].code() != KafkaError._DESTROY_BROKER:
                raise
        else:
            wait_in_sync(kafka, topic, 3)
            return topic


def wait_in_sync(kafka: ApacheKafka, topic: str, count: int, timeout: float = 30) -> None:
    """Return once every partition of *topic* has exactly *count* replicas in sync."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    patience = time.monotonic() + timeout
    while True:
        partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions.values()
        if partitions and {len(partition.isrs) for partition in partitions} == {count}:
            return
        assert time.monotonic() < patience, f"{topic} has not {count} replicas in sync"
        time.sleep(0.05)


async def leader_of(kafka: ApacheKafka, topic: str, partition: int = 0) -> int:
    """Return the id of the broker that leads a partition."""
    return await asyncio.to_thread(leader, kafka.bootstrap_servers, topic, partition)
