"""What is wrong with a topic for the events that go there: leaders, replicas, sizes, compaction."""

from __future__ import annotations

from collections.abc import Iterator

from eventpub.check.facts import Partition, Topic
from eventpub.check.finding import Finding, Grade, listed
from eventpub.check.plan import Route

_TWO = 2


def judge(topic: Topic, route: Route) -> Iterator[Finding]:
    """Say what is wrong with *topic* for the events of *route*."""
    subject = f"topic {topic.name}"
    yield from leaders(topic, subject)
    if route.profile.acks == "all":
        yield from copies(topic, subject)
    yield from _size(topic, subject, route)
    yield from _compaction(topic, subject, route)


def leaders(topic: Topic, subject: str) -> Iterator[Finding]:
    """Every partition needs a leader, whatever the profile."""
    without = [partition for partition in topic.partitions if partition.leader is None]
    if without:
        brokers = listed("broker", _sorted(broker for p in without for broker in p.replicas))
        reason = f"{_numbered(without)} without a leader: nothing can be written there"
        yield Finding(Grade.ERROR, "no-leader", subject, reason, f"bring back {brokers}, where the replicas are")


def copies(topic: Topic, subject: str) -> Iterator[Finding]:
    """Say where acks=all is refused, or promises less than it seems to."""
    needed = topic.min_in_sync
    if topic.replication_factor == 1:
        reason = "has replication factor 1: acks=all waits for one broker, and what its disk loses is lost"
        fix = "give the topic 3 replicas and min.insync.replicas=2, or its events the profile STANDARD"
        yield Finding(Grade.WARNING, "replication-factor", subject, reason, fix)
    if needed is not None:
        yield from _minimum(topic, subject, needed)
    yield from _in_sync(topic, subject, needed or 1)
    if topic.text("unclean.leader.election.enable") == "true":
        reason = "unclean.leader.election.enable is true: a replica that lags may lead, and what it lacks is lost"
        fix = "set unclean.leader.election.enable=false"
        yield Finding(Grade.WARNING, "unclean-leader-election", subject, reason, fix)


def _minimum(topic: Topic, subject: str, needed: int) -> Iterator[Finding]:
    """Judge ``min.insync.replicas`` against the replication factor."""
    factor = topic.replication_factor
    lower = min(max(_TWO, factor - 1), factor)
    if needed > factor:
        reason = (
            f"min.insync.replicas {needed} is above its replication factor {factor}: older brokers refuse every "
            f"acks=all write, Kafka 4 makes do with {factor}"
        )
        fix = f"set min.insync.replicas={lower}, or add replicas"
        yield Finding(Grade.WARNING, "min-insync-replicas", subject, reason, fix)
    elif factor == 1:
        return  # the replication factor is a finding already
    elif needed == 1:
        reason = f"min.insync.replicas is 1 of {factor}: while its followers lag, acks=all is the leader alone"
        fix = "set min.insync.replicas=2"
        yield Finding(Grade.WARNING, "min-insync-replicas", subject, reason, fix)
    elif needed == factor:
        reason = f"min.insync.replicas is {needed} of {factor}: one broker that restarts stops every acks=all write"
        fix = f"set min.insync.replicas={lower}" if lower < factor else "give the topic 3 replicas"
        yield Finding(Grade.WARNING, "min-insync-replicas", subject, reason, fix)


def _in_sync(topic: Topic, subject: str, needed: int) -> Iterator[Finding]:
    """Judge the replicas that are in sync now, where there is a leader."""
    led = [partition for partition in topic.partitions if partition.leader is not None]
    # A minimum above the replication factor is a finding of its own.
    refusing = [p for p in led if len(p.in_sync) < min(needed, len(p.replicas))]
    lagging = [p for p in led if p not in refusing and len(p.in_sync) < len(p.replicas)]
    if refusing:
        fewest = min(len(partition.in_sync) for partition in refusing)
        reason = (
            f"{_numbered(refusing)} with {_replicas(fewest)} in sync, and min.insync.replicas is {needed}: "
            "acks=all writes are refused (NOT_ENOUGH_REPLICAS)"
        )
        yield Finding(Grade.ERROR, "in-sync", subject, reason, f"bring back {_missing(refusing)}")
    if lagging:
        reason = f"{_numbered(lagging)} with replicas that are not in sync: less is left to lose than was planned"
        yield Finding(Grade.WARNING, "in-sync", subject, reason, f"bring back {_missing(lagging)}")


def _size(topic: Topic, subject: str, route: Route) -> Iterator[Finding]:
    largest, batch_size = topic.number("max.message.bytes"), route.profile.batch_size
    if largest is not None and largest < batch_size:
        reason = (
            f"max.message.bytes {largest} is below batch_size {batch_size} of profile {route.profile.name}: full "
            "batches are refused and cut again, an event above it is refused for good"
        )
        fix = f"set batch_size={largest} or less, or max.message.bytes={batch_size} or more"
        yield Finding(Grade.WARNING, "max-message-bytes", subject, reason, fix)


def _compaction(topic: Topic, subject: str, route: Route) -> Iterator[Finding]:
    if topic.compacted and route.keyed is False:
        reason = f"is compacted, and {route.event} has no key: every event is refused (INVALID_RECORD)"
        fix = "give the event class a key=, or the topic cleanup.policy=delete"
        yield Finding(Grade.ERROR, "compacted", subject, reason, fix)


def _replicas(number: int) -> str:
    return f"{number} replica{'' if number == 1 else 's'}"


def _numbered(partitions: list[Partition]) -> str:
    return listed("partition", [partition.number for partition in partitions])


def _missing(partitions: list[Partition]) -> str:
    return listed("broker", _sorted(b for p in partitions for b in p.replicas if b not in p.in_sync))


def _sorted(brokers: Iterator[int]) -> list[int]:
    return sorted(set(brokers))
