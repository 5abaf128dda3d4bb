"""One node of Apache Kafka for as long as a section measures; it is gone afterwards, with its data."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.kafka_node import ApacheKafka
from support.readback import create_topic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PARTITIONS = 4
# What was written long ago is deleted while the section runs: a soak of 10 million events would fill a disk.
_SHORT_LOGS = {
    "log.segment.bytes": str(64 << 20),
    "log.retention.bytes": str(128 << 20),
    "log.retention.check.interval.ms": "5000",
    "log.segment.delete.delay.ms": "1000",
    "log.initial.task.delay.ms": "5000",
}


@contextmanager
def one_node(topics: Mapping[str, int], properties: Mapping[str, str] | None = None) -> Iterator[ApacheKafka]:
    """Yield a node that has *topics*, by their names and numbers of partitions."""
    settings = _SHORT_LOGS | dict(properties or {})
    with tempfile.TemporaryDirectory() as directory, ApacheKafka(Path(directory), properties=settings) as node:
        for name, partitions in topics.items():
            create_topic(node.bootstrap_servers, name, partitions)
        yield node
