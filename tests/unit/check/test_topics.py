"""Leaders, replicas, sizes, compaction: judged from facts, without a broker."""

from __future__ import annotations

from typing import Any

import pytest

from eventpub import CRITICAL, STANDARD
from eventpub.check import topics
from eventpub.check.facts import Topic
from eventpub.check.finding import Grade
from eventpub.check.plan import Route
from tests.unit.check.facts import partition, told, topic

TASKS = Route("tasks")


def test_a_sound_topic_has_no_finding() -> None:
    """Three replicas, two of them enough, sizes that fit."""
    assert list(topics.judge(topic(), TASKS)) == []


@pytest.mark.parametrize(
    "wrong, expected",
    [
        (topic("t", partition(leader=None)), (Grade.ERROR, "no-leader")),
        (
            topic("t", partition(replicas=[1], in_sync=[1]), min_insync_replicas="1"),
            (Grade.WARNING, "replication-factor"),
        ),
        (topic(min_insync_replicas="1"), (Grade.WARNING, "min-insync-replicas")),
        (topic(min_insync_replicas="3"), (Grade.WARNING, "min-insync-replicas")),
        (topic(min_insync_replicas="4"), (Grade.WARNING, "min-insync-replicas")),
        (topic("t", partition(in_sync=[1])), (Grade.ERROR, "in-sync")),
        (topic("t", partition(in_sync=[1, 2])), (Grade.WARNING, "in-sync")),
        (topic(unclean_leader_election_enable="true"), (Grade.WARNING, "unclean-leader-election")),
        (topic(max_message_bytes="20000"), (Grade.WARNING, "max-message-bytes")),
    ],
)
def test_each_fault_is_one_finding(wrong: Topic, expected: tuple[Grade, str]) -> None:
    """One thing wrong, one finding, and nothing else."""
    assert told(topics.judge(wrong, TASKS)) == [expected]


def test_a_minimum_above_one_replica_is_told_beside_the_replication_factor() -> None:
    """Older brokers refuse every write then; that there is one copy is another matter."""
    alone = topic("t", partition(replicas=[1], in_sync=[1]))
    assert [rule for _, rule in told(topics.judge(alone, TASKS))] == ["replication-factor", "min-insync-replicas"]


def test_findings_name_partitions_brokers_and_figures() -> None:
    """Whoever reads one knows where to go."""
    wrong = topic("t", partition(0), partition(1, in_sync=[2]), partition(2, in_sync=[2]))
    (finding,) = topics.judge(wrong, TASKS)
    assert str(finding) == (
        "error: topic t: partitions 1, 2 with 1 replica in sync, and min.insync.replicas is 2: acks=all writes are "
        "refused (NOT_ENOUGH_REPLICAS); bring back brokers 1, 3 [in-sync]"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        topic("t", partition(replicas=[1], in_sync=[1])),
        topic("t", partition(in_sync=[1])),
        topic(min_insync_replicas="1", unclean_leader_election_enable="true"),
    ],
)
def test_copies_matter_to_acks_all_only(wrong: Topic) -> None:
    """Who asks the leader alone was promised nothing that more replicas would keep."""
    assert list(topics.judge(wrong, Route("t", STANDARD))) == []


def test_a_partition_without_leader_matters_to_all() -> None:
    """Nothing can be written there with any acks."""
    assert told(topics.judge(topic("t", partition(leader=None)), Route("t", STANDARD))) == [(Grade.ERROR, "no-leader")]


@pytest.mark.parametrize("batch_size, found", [(20_000, 0), (20_001, 1)])
def test_the_size_limit_is_compared_with_the_profile(batch_size: int, found: int) -> None:
    """A batch as large as the limit is taken."""
    route = Route("t", CRITICAL.replace(batch_size=batch_size))
    assert len(list(topics.judge(topic(max_message_bytes="20000"), route))) == found


@pytest.mark.parametrize("keyed, rules", [(False, ["compacted"]), (True, []), (None, [])])
def test_a_compacted_topic_refuses_events_without_key(*, keyed: bool | None, rules: list[str]) -> None:
    """Told only where the event class says that it has none."""
    route = Route("t", event="task.created", keyed=keyed)
    found = told(topics.judge(topic(cleanup_policy="compact,delete"), route))
    assert [rule for _, rule in found] == rules


def test_settings_that_cannot_be_seen_are_not_guessed() -> None:
    """What needs none of them is still judged."""
    hidden = Topic("t", (partition(in_sync=[1, 2]),), None, frozenset({"WRITE"}))
    assert told(topics.judge(hidden, TASKS)) == [(Grade.WARNING, "in-sync")]


def test_many_partitions_are_not_all_named() -> None:
    """Five, and how many more."""
    wrong = topic("t", *(partition(number, leader=None) for number in range(40)))
    (finding,) = topics.judge(wrong, TASKS)
    assert "partitions 0, 1, 2, 3, 4 and 35 more without a leader" in finding.reason


def test_limits_are_read_as_kafka_writes_them() -> None:
    """-1 is none, and what cannot be seen is ``None``."""
    settings: dict[str, Any] = {"retention_bytes": "-1", "retention_ms": "10"}
    found = topic(**settings)
    assert found.number("retention.bytes") == 1 << 62
    assert (found.number("retention.ms"), found.number("segment.bytes")) == (10, None)
