"""The two brokers for tests are broken by the same words."""

from __future__ import annotations

import inspect

import pytest

from eventpub.testing import EmbeddedKafka, MemoryBroker

VERBS = ["reject_next", "drop_next", "lose_next_ack", "forget_script", "pause", "resume", "down", "up"]
VERBS += ["latency", "leaderless", "leader_back", "move_leader"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_test_can_change_its_broker(verb: str) -> None:
    """What can be said to `EmbeddedKafka` can be said to `MemoryBroker` in the same words (which takes more)."""
    embedded = inspect.signature(getattr(EmbeddedKafka, verb)).parameters
    memory = inspect.signature(getattr(MemoryBroker, verb)).parameters
    assert [*embedded] == [*memory][: len(embedded)] or verb == "lose_next_ack"  # which the former refuses
