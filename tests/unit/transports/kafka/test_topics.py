"""What is believed of metadata answers."""

from __future__ import annotations

import pytest

from eventpub.transports.kafka.answers import TopicMetadata
from eventpub.transports.kafka.topics import Topics
from tests.unit.transports.kafka.fakes import HERE, THERE, cluster, led, partition

UNKNOWN = TopicMetadata("t", 3, {})


def deny(topics: Topics, *times: float, first_round: int = 1) -> None:
    """Let answers say at these times that there is no topic ``t``."""
    for round_, now in enumerate(times, first_round):
        topics.take(cluster(UNKNOWN), round_, now)


def test_count_and_leaders_come_from_an_answer() -> None:
    """A topic is known as soon as one answer describes it."""
    topics = Topics()
    topics.take(cluster(led("t", 3)), 1, 0.0)
    assert topics["t"].count == 3
    assert topics.leaders == {partition(0): 1, partition(1): 1, partition(2): 1}


def test_the_first_count_is_no_change() -> None:
    """Growth is told only to those who knew another count."""
    topics = Topics()
    assert topics.take(cluster(led("t", 3)), 1, 0.0) == {}
    assert topics.take(cluster(led("t", 3)), 2, 1.0) == {}
    assert topics.take(cluster(led("t", 5)), 3, 2.0) == {"t": 5}


def test_unknown_is_believed_after_four_answers() -> None:
    """A topic that was just created is unknown to some broker for a moment."""
    topics = Topics()
    deny(topics, 0.0, 0.3, 0.6)
    assert topics["t"].refusal is None
    deny(topics, 0.9, first_round=4)
    refusal = topics["t"].refusal
    assert refusal is not None
    assert refusal.code == 3


def test_answers_in_quick_succession_count_once() -> None:
    """Four brokers asked within a blink are one opinion."""
    topics = Topics()
    deny(topics, 0.0, 0.1, 0.2, 0.24, 0.26, 0.3, 0.4, 0.5)
    assert topics["t"].denials == 2


def test_leader_not_available_does_not_count() -> None:
    """LEADER_NOT_AVAILABLE (5) says that the topic is there, or coming."""
    topics = Topics()
    for round_ in range(1, 10):
        topics.take(cluster(TopicMetadata("t", 5, {})), round_, round_ * 1.0)
    assert topics["t"].refusal is None


def test_a_topic_known_before_gets_thirty_seconds() -> None:
    """A broker that starts again says "unknown" until it has caught up; a deleted topic stays unknown."""
    topics = Topics()
    topics.take(cluster(led("t", 1)), 1, 0.0)
    deny(topics, *[1.0 + n for n in range(30)], first_round=2)
    assert topics["t"].refusal is None
    assert topics["t"].count == 1
    deny(topics, 32.0, first_round=40)
    assert topics["t"].refusal is not None
    assert topics["t"].count is None
    assert topics.leaders == {}


def test_an_outage_between_answers_is_not_patience_spent() -> None:
    """Time in which no broker answered says nothing about a topic known before."""
    topics = Topics()
    topics.take(cluster(led("t", 1)), 1, 0.0)
    deny(topics, 1.0, 2.0, 3.0, 600.0, first_round=2)
    assert topics["t"].refusal is None


def test_an_answer_that_knows_it_ends_all_doubt() -> None:
    """Denials are counted anew after the topic was seen."""
    topics = Topics()
    deny(topics, 0.0, 1.0, 2.0)
    topics.take(cluster(led("t", 1)), 4, 3.0)
    deny(topics, 4.0, first_round=5)
    assert topics["t"].denials == 1
    assert topics["t"].refusal is None


@pytest.mark.parametrize("code", [17, 29])
def test_some_codes_are_final_at_once(code: int) -> None:
    """Not authorised and invalid names are answers that waiting does not change."""
    topics = Topics()
    topics.take(cluster(TopicMetadata("t", code, {})), 1, 0.0)
    refusal = topics["t"].refusal
    assert refusal is not None
    assert refusal.code == code


def test_a_final_code_leaves_what_was_known() -> None:
    """A right that was revoked and granted again does not cost the leaders."""
    topics = Topics()
    topics.take(cluster(led("t", 1)), 1, 0.0)
    topics.take(cluster(TopicMetadata("t", 29, {})), 2, 1.0)
    assert topics.leaders == {partition(0): 1}
    topics.take(cluster(led("t", 1)), 3, 2.0)
    assert topics["t"].refusal is None


def test_a_leader_without_an_address_is_none() -> None:
    """A node that is not among the brokers cannot be connected to."""
    topics = Topics()
    topics.take(cluster(led("t", 1, node=9)), 1, 0.0)
    assert topics["t"].count == 1
    assert topics.leaders == {}


def test_a_leaderless_partition_loses_its_leader() -> None:
    """Leader -1 during an election takes the old one away."""
    topics = Topics()
    topics.take(cluster(led("t", 1)), 1, 0.0)
    topics.take(cluster(led("t", 1, node=None)), 2, 1.0)
    assert topics.leaders == {}


def test_an_older_answer_does_not_bring_a_stale_leader_back() -> None:
    """An answer that was asked for before the leader turned out stale says nothing new."""
    topics = Topics()
    both = {1: HERE, 2: THERE}
    topics.take(cluster(led("t", 2, node=1), brokers=both), 1, 0.0)
    topics.mark_stale(partition(0), 2)
    topics.take(cluster(led("t", 2, node=1), brokers=both), 2, 1.0)
    assert topics.leaders == {partition(1): 1}
    topics.take(cluster(led("t", 2, node=2), brokers=both), 3, 2.0)
    assert topics.leaders == {partition(0): 2, partition(1): 2}
