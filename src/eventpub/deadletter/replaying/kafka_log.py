"""Reads the log of a Kafka cluster by librdkafka.

Decides how records are got, and when to give up; the only module of the package that knows
confluent-kafka, an optional dependency.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from eventpub import librdkafka
from eventpub.deadletter.replaying.log_reader import LogReadError, Span
from eventpub.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import confluent_kafka

    from eventpub.abc import TopicPartition
    from eventpub.config import KafkaConfig
    from eventpub.deadletter.logged import Logged
    from eventpub.record import Headers

_ANSWER = 10.0  # seconds for one question
_POLL = 0.5
_PATIENCE = 30  # polls without a record, before the end was reached
_AT_ONCE = 500
_READING = {
    "group.id": "eventpub-reader",  # demanded, never joined: partitions are assigned by hand
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_uncommitted",
    "enable.partition.eof": True,
    "check.crcs": True,
}


class ReadRecord(NamedTuple):
    """One record as `KafkaLogReader` found it; no timestamp where the topic sets its own."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int | None


class KafkaLogReader:
    """Reads by a consumer of librdkafka that joins no group and commits nothing.

    Args:
        config: where the log is. An OAUTHBEARER token is asked for once, on an event loop of its own.

    Raises:
        ConfigurationError: confluent-kafka is not installed, or refuses the settings.
    """

    def __init__(self, config: KafkaConfig) -> None:
        kafka = _confluent_kafka()
        settings = librdkafka.settings(config, "eventpub-reader", _token(config)) | _READING
        try:
            self._consumer = kafka.Consumer(settings)
        except kafka.KafkaException as error:
            raise ConfigurationError.of("config", f"librdkafka refuses it ({error.args[0].str()})", "see it") from error
        self._kafka = kafka
        self._closed = False

    def partitions(self, topic: str) -> int:
        """Return how many partitions *topic* has."""
        return len(self._describe(topic))

    def span(self, partition: TopicPartition, since: int | None = None) -> Span:
        """Return what of *partition* may hold records with timestamps from *since* on."""
        described = self._describe(partition.topic).get(partition.partition)
        if described is None:
            raise LogReadError(f"{partition} does not exist")
        first, end = self._ask(self._consumer.get_watermark_offsets, self._at(partition, 0), timeout=_ANSWER)
        start = first if since is None else self._first_since(partition, since, end)
        return Span(first, max(start, first), end, len(described.isrs) >= len(described.replicas))

    def read(self, partition: TopicPartition, start: int, end: int) -> Iterator[Logged]:
        """Yield what lies from *start* to before *end*."""
        if start >= end:
            return
        self._ask(self._consumer.assign, [self._at(partition, start)])
        patience = _PATIENCE
        while patience:
            # No more than there can be: librdkafka waits for as many as were asked for.
            messages = self._ask(self._consumer.consume, min(_AT_ONCE, end - start), timeout=_POLL)
            patience = _PATIENCE if messages else patience - 1
            for message in messages:
                if (error := message.error()) is not None:
                    # The end, where the last offsets belong to no record (a transaction's marks).
                    if error.code() == self._kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                        return
                    raise LogReadError(f"{partition} could not be read: {error.str()}")
                record = _read_record(message, self._kafka.TIMESTAMP_CREATE_TIME)
                start = record.offset + 1
                if record.offset < end:
                    yield record
                if start >= end:
                    return
        raise LogReadError(f"{partition}: no broker gave what lies before offset {end}")

    def close(self) -> None:
        """Leave the cluster."""
        if not self._closed:
            self._closed = True
            self._consumer.close()

    def _describe(self, topic: str) -> dict[int, Any]:
        found = self._ask(self._consumer.list_topics, topic, timeout=_ANSWER).topics[topic]
        if found.error is not None:
            raise LogReadError(f"topic {topic} could not be read: {found.error.str()}")
        return cast("dict[int, Any]", found.partitions)

    def _first_since(self, partition: TopicPartition, since: int, end: int) -> int:
        asked = [self._at(partition, max(since, 0))]
        found = self._ask(self._consumer.offsets_for_times, asked, timeout=_ANSWER)[0]
        if found.error is not None:
            raise LogReadError(f"{partition} could not be read: {found.error.str()}")
        return end if found.offset < 0 else cast("int", found.offset)

    def _at(self, partition: TopicPartition, offset: int) -> confluent_kafka.TopicPartition:
        return cast("confluent_kafka.TopicPartition", self._kafka.TopicPartition(*partition, offset))

    def _ask(self, call: Any, *args: Any, **more: Any) -> Any:
        try:
            return call(*args, **more)
        except self._kafka.KafkaException as error:
            raise LogReadError(f"the log could not be read: {error.args[0].str()}") from error


def _confluent_kafka() -> Any:
    try:
        import confluent_kafka
    except ImportError as error:
        reason, fix = "topics are read by confluent-kafka, which is not installed", 'pip install "eventpub[cli]"'
        raise ConfigurationError.of("log reader", reason, fix) from error
    return confluent_kafka


def _token(config: KafkaConfig) -> str | None:
    provider = config.sasl_token_provider
    if provider is None:
        return None

    async def ask() -> str:
        return await provider()

    return asyncio.run(ask())


def _read_record(message: Any, create_time: int) -> ReadRecord:
    kind, timestamp = message.timestamp()
    return ReadRecord(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
        timestamp if kind == create_time else None,
    )
