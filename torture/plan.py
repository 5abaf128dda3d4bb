"""What one episode does, drawn from its seed: the same seed and arena, the same plan."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from tenacity import stop_after_attempt, wait_fixed, wait_none

from eventpub import CRITICAL, STANDARD, TELEMETRY, BufferLimits, DeliveryProfile, RetryPolicy
from torture.fault import Aim, Fault
from torture.shelf import TEMPERS

Ending: TypeAlias = Literal["healed", "broken"]

TIRELESS = (RetryPolicy(), RetryPolicy(), RetryPolicy(wait=wait_fixed(0.05)))
TIRING = (
    RetryPolicy(stop=stop_after_attempt(3)),
    RetryPolicy(wait=wait_none(), stop=stop_after_attempt(20)),  # in virtual time one without a stop spins for ever
)

HEALTHY = "healthy"
MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an arena's episodes are. Seconds, all of it.

    Attributes:
        span: over which an episode publishes.
        windows: how long a fault lasts.
        delivery: delivery timeouts of profiles.
        request: request timeouts of profiles, none longer than the shortest delivery timeout.
        budgets: ``timeout=`` of single calls; ``None`` leaves it to the profile.
        drains: timeouts of closes.
        latencies: round trips.
        largest: how many steps an episode has at most.
        recovery: within which a publish must arrive once all faults are gone, and the last attempt
            that they struck has ended.
        settling: after a close, until all has landed that still can.
        patience: with a fault that had no effect yet.
        keeping: dead-letter timeouts of profiles.
        sinks: the chains of places for dead letters that there are.
    """

    span: float
    windows: tuple[float, ...]
    delivery: tuple[float, ...]
    request: tuple[float, ...]
    budgets: tuple[float | None, ...]
    drains: tuple[float, ...]
    latencies: tuple[float, ...]
    largest: int
    recovery: float
    settling: float
    patience: float
    keeping: tuple[float, ...]
    sinks: tuple[tuple[str, ...], ...]

    def ample(self) -> Pace:
        """Return it with the longest budgets, and faults that are over long before they end."""
        longest = max(self.delivery)
        short = tuple(window for window in self.windows if window < longest / 4)
        return replace(self, delivery=(longest,), budgets=(None,), drains=(max(self.drains),), windows=short)


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic and its settings."""

    name: str
    partitions: int
    max_message_bytes: int = 1_048_588
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class SinkPlan:
    """A place for dead letters: a topic, a spool, or a shelf of some temper with dice of its own."""

    kind: str
    temper: str
    dice: int


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault of an episode: when, where, for how long."""

    fault: str
    at: float
    window: float
    topic: str
    partition: int
    broker: int | None
    dice: int

    @property
    def aim(self) -> Aim:
        """Return where it strikes."""
        return Aim(self.topic, self.partition, self.broker, random.Random(self.dice))


@dataclass(frozen=True, slots=True)
class Step:
    """One call of an application.

    Attributes:
        at: when.
        way: by which method, with how many events.
        profile: its name.
        budget: ``timeout=``.
        around: a ``delivery_budget``, a cancel scope, or nothing around the call, and its seconds.
        cancelled_after: seconds after which the caller gives up.
        events: what is published; see `torture.load.make`.
    """

    at: float
    way: Literal["publish", "nowait", "many"]
    profile: str
    budget: float | None
    around: tuple[str, float] | None
    cancelled_after: float | None
    events: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One episode.

    With ``ample`` budgets, idempotent profiles and nobody who gives up, nothing but a fault explains
    a doubt; and a publisher may well sit out most faults. Without ``callbacks`` the transport has only
    what every transport has to have, where an arena can choose.
    """

    seed: int
    brokers: int
    latency: float
    topics: tuple[TopicPlan, ...]
    buffer: BufferLimits
    profiles: tuple[DeliveryProfile, ...]
    steps: tuple[Step, ...]
    blows: tuple[Blow, ...]
    ending: Ending
    drain: float
    ample: bool
    sinks: tuple[SinkPlan, ...]
    letter_topics: tuple[TopicPlan, ...]
    letters_buffer: BufferLimits | None
    callbacks: bool
    pace: Pace = field(repr=False)

    @property
    def recovery(self) -> float:
        """Return the seconds within which a publish must arrive once all faults are gone."""
        # An attempt whose answer was lost before may go on for its request timeout.
        return self.pace.recovery + max(profile.request_timeout for profile in self.profiles)

    @property
    def row(self) -> str:
        """Return where the episode counts in the table."""
        names = {blow.fault for blow in self.blows}
        return MIXED if len(names) > 1 else next(iter(names), HEALTHY)

    def __str__(self) -> str:
        blows = ", ".join(
            f"{b.fault} at {b.at:.2f} s for {b.window:g} s on {b.topic}[{b.partition}]" for b in self.blows
        )
        profiles = ", ".join(f"{p.name} {p.delivery_timeout:g} s" for p in self.profiles)
        ample = "with ample budgets " if self.ample else ""
        sinks = ", ".join(f"{sink.temper} {sink.kind}".strip() for sink in self.sinks)
        kept = f"; dead letters to {sinks}" if sinks else ""
        way = "" if self.callbacks else "; without callbacks"
        return f"{len(self.steps)} steps {ample}by {profiles}{way}{kept}; {blows or 'nothing breaks'}; closed {self.ending}"


def draw(seed: int, faults: Mapping[str, Fault[Any]], pace: Pace, only: str | None = None) -> Plan:
    """Return the plan of *seed*; *only* names the fault to have, in place of a random choice."""
    chance = random.Random(seed)
    names = _faults(chance, seed, faults, only)
    chosen = [faults[name] for name in names]
    brokers = max([chance.choice([1, 2, 3]), *(fault.brokers for fault in chosen)])
    topics = _topics(chance)
    # Of two faults one may put in doubt what the other one then refuses for good.
    ample = chance.random() < 0.25 and len(chosen) <= 1 and all(fault.ceiling is not None for fault in chosen)
    if ample:
        pace, topics = pace.ample(), tuple(TopicPlan(topic.name, topic.partitions) for topic in topics)
    quiet = any(fault.alone for fault in chosen)
    profiles = _profiles(chance, pace, idempotent=ample, replicated=any(fault.replicated for fault in chosen))
    steps = tuple(_step(chance, topics, profiles, pace) for _ in range(chance.randrange(4, pace.largest)))
    others = random.Random(f"dead letters {seed}")  # dice of their own, because old seeds keep their plans
    sinks = _sinks(others, pace)
    return Plan(
        seed=seed,
        brokers=brokers,
        latency=0.0 if quiet else chance.choice(pace.latencies),
        topics=topics,
        buffer=_buffer(chance),
        profiles=tuple(_keeping(others, profile, pace) for profile in profiles) if sinks else profiles,
        steps=tuple(map(_patient, steps)) if ample else steps,
        blows=_blows(chance, {name: faults[name] for name in names}, topics, brokers, pace),
        ending="healed" if quiet or ample else chance.choice(["healed", "healed", "broken"]),
        drain=chance.choice(pace.drains),
        ample=ample,
        sinks=sinks,
        letter_topics=_letter_topics(others, topics) if any(sink.kind == "topic" for sink in sinks) else (),
        letters_buffer=others.choice([None, None, None, BufferLimits(max_records=2)]),
        # A topic for letters needs a broker that can be shared.
        callbacks=any(sink.kind == "topic" for sink in sinks) or others.random() < 0.75,
        pace=pace,
    )


def _sinks(chance: random.Random, pace: Pace) -> tuple[SinkPlan, ...]:
    if chance.random() >= 1 / 3:
        return ()
    return tuple(
        SinkPlan(kind, chance.choice(list(TEMPERS)) if kind == "shelf" else "", chance.randrange(2**32))
        for kind in chance.choice(pace.sinks)
    )


def _keeping(chance: random.Random, profile: DeliveryProfile, pace: Pace) -> DeliveryProfile:
    kept, timeout = chance.choice([None, None, True, False]), chance.choice(pace.keeping)
    if profile.acks == 0 or kept is False:
        return profile.replace(dead_letter=False)
    return profile.replace(dead_letter=kept, dead_letter_timeout=timeout)


def _letter_topics(chance: random.Random, topics: tuple[TopicPlan, ...]) -> tuple[TopicPlan, ...]:
    """Return where letters of *topics* go, which sometimes take no large ones."""
    sizes = [1_200, 1_048_588, 1_048_588]
    return tuple(TopicPlan(f"{topic.name}.dlq", chance.choice([1, 2]), chance.choice(sizes)) for topic in topics)


def _patient(step: Step) -> Step:
    events = tuple({name: value for name, value in event.items() if name != "flaw"} for event in step.events)
    return replace(step, around=None, cancelled_after=None, events=events)


def _faults(chance: random.Random, seed: int, faults: Mapping[str, Fault[Any]], only: str | None) -> list[str]:
    if only is not None:
        return [] if only == HEALTHY else [only]
    kind = chance.random()
    if kind < 0.05:
        return []
    name = list(faults)[seed % len(faults)]  # in turn, so that few episodes see all of them
    if kind < 0.65 or faults[name].alone:
        return [name]
    names = [name]
    for other in chance.sample(list(faults), 4)[: chance.choice([1, 2, 3])]:
        # Two that count alike could not be told apart: one of them might have had no effect.
        if not faults[other].alone and faults[other].counter not in {faults[each].counter for each in names}:
            names.append(other)
    return names


def _topics(chance: random.Random) -> tuple[TopicPlan, ...]:
    return (
        TopicPlan("alpha", chance.choice([1, 1, 2, 4])),
        TopicPlan("beta", chance.choice([1, 3]), max_message_bytes=chance.choice([700, 1_048_588])),
        TopicPlan("gamma", chance.choice([1, 2]), compacted=chance.random() < 0.5),
    )


def _profiles(chance: random.Random, pace: Pace, *, idempotent: bool, replicated: bool) -> tuple[DeliveryProfile, ...]:
    def limits() -> dict[str, Any]:
        delivery = chance.choice(pace.delivery)
        policies = TIRELESS if idempotent else TIRELESS + TIRING
        return {
            "delivery_timeout": delivery,
            "request_timeout": min(delivery, chance.choice(pace.request)),
            "linger": chance.choice([0, 0, 0.05]),
            "batch_size": chance.choice([300, 1_200, 1_048_576, 1_048_576]),
            "retry": chance.choice(policies),
            "compression": chance.choice(["none", "none", "none", "gzip"]),
        }

    critical = CRITICAL.replace(**limits())
    if idempotent:
        return critical, CRITICAL.replace(name="hasty", **limits())
    others = [
        CRITICAL.replace(name="hasty", **limits()),
        CRITICAL.replace(name="plain", idempotence=False, **limits()),
        CRITICAL.replace(name="again", idempotence=False, allow_duplicates=True, **limits()),
        TELEMETRY.replace(name="silent", **limits()),
    ]
    if not replicated:
        others.append(STANDARD.replace(name="leader", **limits()))
    return critical, *chance.sample(others, chance.choice([0, 0, 1, 2, 3]))


def _buffer(chance: random.Random) -> BufferLimits:
    if chance.random() < 0.7:
        return BufferLimits()
    return BufferLimits(max_records=chance.choice([1, 3, 10]), max_bytes=chance.choice([500, 3_000, 1_000_000]))


def _blows(
    chance: random.Random, faults: Mapping[str, Fault[Any]], topics: tuple[TopicPlan, ...], brokers: int, pace: Pace
) -> tuple[Blow, ...]:
    # Most often together, where one fault meets what another one left behind.
    together = chance.random() < 0.7
    topic, at = chance.choice(topics), chance.uniform(0, pace.span)
    partition = chance.randrange(topic.partitions)
    blows = []
    for name, fault in faults.items():
        if not together:
            topic, at = chance.choice(topics), chance.uniform(0, pace.span)
            partition = chance.randrange(topic.partitions)
        blows.append(
            Blow(
                fault=name,
                at=0.0 if fault.early else at + together * chance.choice([0.0, 0.0, 0.01, 0.2]),
                window=chance.choice(pace.windows),
                topic=topic.name,
                partition=partition,
                broker=chance.choice([None, partition % brokers + 1]),
                dice=chance.randrange(2**32),
            )
        )
    return tuple(blows)


def _step(
    chance: random.Random, topics: tuple[TopicPlan, ...], profiles: tuple[DeliveryProfile, ...], pace: Pace
) -> Step:
    way = chance.choices(["publish", "nowait", "many"], [7, 2, 1])[0]
    count = chance.choice([2, 5, 12]) if way == "many" else 1
    around = None
    if way != "nowait" and chance.random() < 0.1:
        around = chance.choice(["budget", "scope"]), chance.choice([0.15, 0.5, 2.0])
    return Step(
        at=chance.uniform(0, pace.span) if chance.random() < 0.7 else pace.span * chance.choice([0.0, 0.2, 0.5]),
        way=way,  # type: ignore[arg-type]  # one of the three
        profile=chance.choice(profiles).name,
        budget=chance.choice(pace.budgets),
        around=around,
        cancelled_after=chance.choice([0.0, 0.001, 0.05, 0.5]) if chance.random() < 0.1 else None,
        events=tuple(_event(chance, topics) for _ in range(count)),
    )


def _event(chance: random.Random, topics: tuple[TopicPlan, ...]) -> Mapping[str, Any]:
    topic = chance.choices(topics, [5, 3, 2])[0]
    event: dict[str, Any] = {
        "kind": chance.choice(["record", "record", "event", "structured"]),
        "topic": topic.name,
        "size": chance.choice([0, 10, 10, 10, 10, 200, 200, 900, 3_000]),
    }
    if chance.random() < 0.7:
        event["key"] = f"key-{chance.randrange(8)}"
    if chance.random() < 0.2:
        event["partition"] = chance.randrange(topic.partitions + (chance.random() < 0.1))
    if chance.random() < 0.03:
        event["flaw"] = chance.choice(["late", "nan"])
    return event
