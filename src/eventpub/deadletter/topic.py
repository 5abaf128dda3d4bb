"""A Kafka topic as a place for dead letters, written by a publisher of its own."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from eventpub.config import KafkaConfig
from eventpub.deadletter import headers
from eventpub.delivery import Delivery, PersistenceStatus
from eventpub.exceptions import ConfigurationError, DeadLetterError, EventPubError, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventpub.letter import DeadLetter, Resolution
    from eventpub.record import Record
    from eventpub.state import Health

_CLOSING_TAKES = 0.2  # seconds
_MARGIN = 0.1  # seconds: a publish may be late by some of its own


class Publishing(Protocol):
    """What a topic sink needs of a `Publisher`."""

    async def open(self) -> None:
        """Begin."""

    async def publish_many(
        self,
        events: Iterable[Record],
        *,
        timeout: float,
    ) -> Sequence[Delivery | EventPubError]:
        """Publish *events*, one outcome for each."""

    def health(self) -> Health:
        """Say whether it could deliver now."""

    async def aclose(self, timeout: float) -> object:
        """End."""


class TopicSink:
    """Keeps dead letters in a topic: ``TopicSink("{topic}.dlq")``.

    Records keep key, value and headers; what is known of the failure is in further headers,
    ``__eventpub.errors.*`` (docs/reference/dead-letter-headers.md). The topic must exist, should not be
    compacted, and should take larger records than its source, because of the headers. A letter that
    is too large for it goes to the next sink.

    Args:
        topic: the dead-letter topic; ``{topic}`` in it is the topic the event was meant for.
        config: another cluster than the publisher's. A sink on the same cluster is away when that is.

    Raises:
        ConfigurationError: a name that holds another field than ``{topic}``.
    """

    def __init__(self, topic: str = "{topic}.dlq", config: KafkaConfig | None = None) -> None:
        findings = [*_template_faults(topic)]
        if config is not None and not isinstance(config, KafkaConfig):
            findings.append(
                Finding("TopicSink.config", f"got {type(config).__name__}", "give a KafkaConfig, or nothing")
            )
        if findings:
            raise ConfigurationError(findings)
        self.topic = topic
        self.config = config
        self.name = f"topic {topic}"
        self._publisher: Publishing | None = None

    def attach(self, publisher: Publishing) -> None:
        """Write by *publisher*, which is this sink's own from now on.

        Raises:
            ConfigurationError: it has one: a sink belongs to one publisher.
        """
        if self._publisher is not None:
            raise ConfigurationError.of(
                "dead_letters", f"{self.name} belongs to another publisher", "make another sink"
            )
        self._publisher = publisher

    async def open(self) -> None:
        """Begin to look for brokers."""
        await self._attached.open()

    def trouble(self) -> str | None:
        """Why a write would fail now; nothing while it only has not been tried."""
        reasons = [reason for reason in self._attached.health().reasons if "no broker has answered yet" not in reason]
        return "; ".join(reasons) or None

    async def write(self, letters: Sequence[DeadLetter], deadline: float, /) -> Sequence[DeadLetterError | None]:
        """Publish *letters* by *deadline*; one result for each."""
        records = [self._record(letter) for letter in letters]
        good = [record for record in records if not isinstance(record, DeadLetterError)]
        reports = iter(await self._publish(good, deadline))
        return [record if isinstance(record, DeadLetterError) else _failure(next(reports)) for record in records]

    async def resolve(self, resolutions: Sequence[Resolution], deadline: float, /) -> None:
        """Publish *resolutions* behind their letters.

        Raises:
            DeadLetterError: one of them was not acknowledged.
        """
        records = [headers.encode_resolution(each, self._topic_of(each.record)) for each in resolutions]
        for report in await self._publish(records, deadline):
            if (failure := _failure(report)) is not None:
                raise failure

    async def aclose(self, deadline: float, /) -> None:
        """End the publisher by *deadline*."""
        left = deadline - asyncio.get_running_loop().time()
        await self._attached.aclose(max(left, _CLOSING_TAKES))

    def _record(self, letter: DeadLetter) -> Record | DeadLetterError:
        try:
            return headers.encode(letter, self._topic_of(letter.record))
        except EventPubError as error:
            return DeadLetterError(str(error))

    def _topic_of(self, original: Record) -> str:
        return self.topic.format(topic=original.topic)

    async def _publish(self, records: list[Record], deadline: float) -> Sequence[Delivery | EventPubError]:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return [DeadLetterError("no time was left")] * len(records)
        return await self._attached.publish_many(records, timeout=max(left - _MARGIN, left / 2))

    @property
    def _attached(self) -> Publishing:
        if self._publisher is None:
            raise ConfigurationError.of("dead_letters", f"{self.name} has no publisher", "give it to a Publisher")
        return self._publisher

    def __repr__(self) -> str:
        return f"<TopicSink {self.topic}>"


def _template_faults(topic: object) -> Iterable[Finding]:
    fix = 'give a topic name such as "{topic}.dlq" or "dead-letters"'
    if not isinstance(topic, str) or not topic:
        yield Finding("TopicSink.topic", f"got {type(topic).__name__}", fix)
        return
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(topic) if field is not None}
    except ValueError as error:
        yield Finding("TopicSink.topic", f"{topic!r} is no template ({error})", fix)
        return
    if fields - {"topic"}:
        yield Finding("TopicSink.topic", f"{topic!r} holds another field than {{topic}}", fix)
    elif topic == "{topic}":
        yield Finding("TopicSink.topic", "would write dead letters to the topic that they failed for", fix)


def _failure(report: Delivery | EventPubError) -> DeadLetterError | None:
    if isinstance(report, Delivery):
        return None
    in_doubt = getattr(report, "status", None) is PersistenceStatus.POSSIBLY_PERSISTED
    failure = DeadLetterError(str(report), in_doubt=in_doubt)
    failure.__cause__ = report
    return failure
