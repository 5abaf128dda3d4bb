"""Where a publisher keeps what it could not deliver: its sinks, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub.abc import DeadLetterSink, Recorder
from eventpub.buffer import BufferLimits
from eventpub.deadletter.topic import TopicSink
from eventpub.deadletter.writer import Writer
from eventpub.envelope import of_kind
from eventpub.exceptions import ConfigurationError, Finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventpub._target import Target
    from eventpub.deadletter.topic import Publishing

_NEEDED = ("open", "trouble", "write", "resolve", "aclose")


class DeadLetters:
    """``Publisher(..., dead_letters=DeadLetters(TopicSink("{topic}.dlq"), SpoolSink("spool.db")))``.

    Sinks are tried in order; nothing is written where nobody said. Belongs to one publisher.

    Args:
        *sinks: `TopicSink`, `SpoolSink`, or anything that has the methods of `eventpub.abc.DeadLetterSink`.
        buffer: how many letters, and bytes of them, may be in memory on their way to a sink.

    Raises:
        ConfigurationError: no sink, the same one twice, or something that is none.
    """

    def __init__(self, *sinks: DeadLetterSink, buffer: BufferLimits | None = None) -> None:
        findings = [*_faults(sinks)]
        if findings:
            raise ConfigurationError(findings)
        self.sinks = sinks
        self.buffer = BufferLimits() if buffer is None else of_kind("buffer", buffer, BufferLimits)

    def attach(self, target: Target, publisher_for: Callable[[Target], Publishing]) -> None:
        """Give each `TopicSink` a publisher of its own: to *target*, or to the cluster that the sink names.

        Raises:
            ConfigurationError: a sink belongs to another publisher, or *target* can serve only one.
        """
        for sink in self.sinks:
            if isinstance(sink, TopicSink):
                sink.attach(publisher_for(_cluster_of(sink, target)))

    def writer(self, recorder: Recorder | None = None) -> Writer:
        """Return a new writer to these sinks, which *recorder* is told of."""
        return Writer(self.sinks, self.buffer, recorder)

    def __repr__(self) -> str:
        return f"<DeadLetters {', '.join(sink.name for sink in self.sinks)}>"


def _cluster_of(sink: TopicSink, target: Target) -> Target:
    if sink.config is not None:
        return sink.config
    if callable(getattr(target, "produce", None)):
        reason = f"{sink.name} has no config, and this publisher's transport can serve only one"
        raise ConfigurationError.of("dead_letters", reason, "give TopicSink(topic, config=KafkaConfig(...))")
    return target


def _faults(sinks: tuple[object, ...]) -> list[Finding]:
    fix = 'give TopicSink("{topic}.dlq"), SpoolSink("spool.db"), or both in the order to try them'
    if not sinks:
        return [Finding("dead_letters", "no sink is named, and nothing is written where nobody said", fix)]
    findings = [
        Finding("dead_letters", f"{type(sink).__name__} is no sink: it has no {missing}", fix)
        for sink in sinks
        if (missing := next((name for name in _NEEDED if not callable(getattr(sink, name, None))), None))
    ]
    names = [getattr(sink, "name", repr(sink)) for sink in sinks]
    twice = {name for name in names if names.count(name) > 1}
    return findings + [Finding("dead_letters", f"{name} is there twice", "leave one out") for name in sorted(twice)]
