"""What an application intends: which events go where, how they are delivered, what is kept of failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from eventpub.check.finding import Finding
from eventpub.config import KafkaConfig
from eventpub.profile import CRITICAL, DeliveryProfile


@dataclass(frozen=True, slots=True)
class Route:
    """Events of one kind on their way to one topic.

    Attributes:
        topic: where they go.
        profile: how they are delivered.
        event: their type; ``None`` where nobody told.
        keyed: whether they have a key; ``None`` likewise.
    """

    topic: str
    profile: DeliveryProfile = CRITICAL
    event: str | None = None
    keyed: bool | None = None


@dataclass(frozen=True, slots=True)
class TopicPlace:
    """Dead letters go to a topic.

    Attributes:
        template: its name, ``{topic}`` standing for the event's own.
        config: the cluster; ``None`` is the publisher's own.
    """

    template: str
    config: KafkaConfig | None = None

    def topic_for(self, topic: str) -> str:
        """Return where the dead letters of *topic* go."""
        return self.template.format(topic=topic)


@dataclass(frozen=True, slots=True)
class SpoolPlace:
    """Dead letters go to a file at *path*."""

    path: str


@dataclass(frozen=True, slots=True)
class OtherPlace:
    """Dead letters go to a sink of the application's own."""

    name: str


Place = TopicPlace | SpoolPlace | OtherPlace


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the preflight knows of the application.

    Attributes:
        config: the cluster, and as whom.
        routes: what is published; empty: look at every topic that this client may write to.
        places: where dead letters go, in order; empty: nowhere; ``None``: nobody told.
        default: the profile of topics that nobody named a route for.
        client_id: what brokers call the application.
        faults: what is wrong with its event classes; routes lead from the others.
    """

    config: KafkaConfig
    routes: tuple[Route, ...] = ()
    places: tuple[Place, ...] | None = None
    default: DeliveryProfile = CRITICAL
    client_id: str = "eventpub"
    faults: tuple[Finding, ...] = ()

    def narrowed(self, topics: tuple[str, ...]) -> Plan:
        """Return the plan for *topics* alone; those that no route leads to get the default profile."""
        kept = tuple(route for route in self.routes if route.topic in topics)
        led_to = {route.topic for route in kept}
        added = tuple(Route(topic, self.default) for topic in topics if topic not in led_to)
        return replace(self, routes=kept + added, faults=())

    def letters(self) -> Iterator[tuple[Route, TopicPlace]]:
        """Yield each route whose failures are kept in a topic, with the place; once for each place."""
        for place in self.places or ():
            if isinstance(place, TopicPlace):
                yield from ((route, place) for route in self.routes if route.profile.dead_lettered)
