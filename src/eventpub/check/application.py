"""Reads a plan off an application's publisher: the only module that knows a publisher from inside.

It decides nothing, and opens nothing: a publisher that was never opened says it all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from eventpub.check.finding import Finding, Grade
from eventpub.check.plan import OtherPlace, Place, Plan, Route, SpoolPlace, TopicPlace
from eventpub.config import KafkaConfig
from eventpub.declaration import declared
from eventpub.exceptions import ConfigurationError, UsageError
from eventpub.publisher import Publisher
from eventpub.registry import default_registry


def plan_of(publisher: Publisher, registry: Mapping[str, type[Any]] = default_registry) -> Plan:
    """Return what *publisher* does with the events of *registry*: all classes that the application imports.

    Raises:
        UsageError: it does not publish to Kafka.
    """
    transport, profiles = _inside(publisher, "transport"), _inside(publisher, "profiles")
    config = _inside(transport, "config")
    if not isinstance(config, KafkaConfig):
        raise UsageError(f"this publisher's target is no Kafka cluster but {transport!r}: there is nothing to check")
    client_id = str(_inside(transport, "client_id"))
    plan = Plan(config, (), tuple(_places(publisher)), profiles.default, client_id)
    for event_type, event_class in registry.items():
        try:
            plan = replace(plan, routes=(*plan.routes, _route(publisher, event_type, event_class)))
        except ConfigurationError as error:
            plan = replace(plan, faults=(*plan.faults, *_faults(event_type, error)))
    return plan


def _route(publisher: Publisher, event_type: str, event_class: type[Any]) -> Route:
    topic = _inside(_inside(publisher, "encoder"), "topic_of")(event_class)
    profile = _inside(publisher, "profiles").of(event_class)
    return Route(topic, profile, event_type, keyed=declared(event_class).key is not None)


def _faults(event_type: str, error: ConfigurationError) -> Iterator[Finding]:
    for fault in error.findings:
        reason = f"cannot be published as it stands: {fault.setting}: {fault.reason}"
        yield Finding(Grade.WARNING, "event-class", f"event {event_type}", reason, fault.fix)


def _places(publisher: Publisher) -> Iterator[Place]:
    """Yield where dead letters go."""
    dead_letters = _inside(publisher, "dead_letters")
    for sink in getattr(dead_letters, "sinks", ()):
        if (template := getattr(sink, "topic", None)) is not None:
            yield TopicPlace(str(template), getattr(sink, "config", None))
        elif (path := getattr(sink, "path", None)) is not None:
            yield SpoolPlace(str(path))
        else:
            yield OtherPlace(str(getattr(sink, "name", type(sink).__name__)))


def _inside(whole: object, part: str) -> Any:
    """Return what *whole* was made with; nothing of it is public, because nobody else needs it."""
    return getattr(whole, f"_{part}", None)
