"""What the brokers say about topics: counts, leaders, refusals, and when "unknown" is to be believed.

Rules only: no clock but ``now``, nothing awaited. A metadata answer of round *n* was asked
for after everything that was noted in earlier rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eventpub.abc import Rejected, TopicPartition
from eventpub.config import Address
from eventpub.transports.kafka.answers import ClusterMetadata, TopicMetadata

UNKNOWN_TOPIC_OR_PARTITION = 3
_INVALID_TOPIC = 17
_TOPIC_AUTHORIZATION_FAILED = 29
_FINAL = frozenset({_INVALID_TOPIC, _TOPIC_AUTHORIZATION_FAILED})
STALE_LEADER = frozenset({3, 5, 6, 9, 56, 74, 75, 100})
"""Codes of a Produce answer after which the leader has to be asked for again (KIP-951 lists the usual ones)."""

DENIALS_BELIEVED = 4
DENIALS_APART = 0.25
KNOWN_BEFORE_GETS = 30.0
_LONGEST_GAP = 2.0  # between two denials; what is longer was time without an answering broker


@dataclass(slots=True)
class Topic:
    """One topic as the answers so far tell it."""

    name: str
    count: int | None = None
    refusal: Rejected | None = None
    answered_in: int = -1
    denials: int = 0
    _denied_at: float | None = None
    _denied_for: float = 0.0
    _known: bool = False
    _stale: dict[int, int] = field(default_factory=dict)

    def mark_stale(self, number: int, round_: int) -> None:
        """Believe no answer about that partition's leader that was asked for before now."""
        self._stale[number] = round_

    def take(self, answer: TopicMetadata, round_: int, now: float) -> None:
        """Take over what the answer of *round_* says."""
        if answer.code == UNKNOWN_TOPIC_OR_PARTITION:
            self._deny(answer, round_, now)
        elif answer.code in _FINAL:
            self._decide(round_, Rejected(None, answer.code))
        elif answer.code == 0 and answer.leaders:
            self._known, self.count = True, max(answer.leaders) + 1
            self._forgive()
            self._decide(round_, None)

    def believes(self, number: int, round_: int) -> bool:
        """Whether the answer of *round_* may speak about that partition's leader."""
        if self._stale.get(number, -1) >= round_:
            return False
        self._stale.pop(number, None)
        return True

    def _decide(self, round_: int, refusal: Rejected | None) -> None:
        self.answered_in, self.refusal = round_, refusal

    def _deny(self, answer: TopicMetadata, round_: int, now: float) -> None:
        gap = None if self._denied_at is None else now - self._denied_at
        if gap is not None and gap < DENIALS_APART:
            return
        self.denials += 1
        self._denied_at = now
        # A broker that has just started says "unknown" for a moment; an outage between two
        # such answers says nothing about the topic.
        self._denied_for += min(gap or 0.0, _LONGEST_GAP)
        if self.denials >= DENIALS_BELIEVED and (not self._known or self._denied_for >= KNOWN_BEFORE_GETS):
            self.count = None
            message = f"{self.denials} metadata answers say that there is no topic {self.name}"
            self._decide(round_, Rejected(None, answer.code, message=message))

    def _forgive(self) -> None:
        self.denials, self._denied_at, self._denied_for = 0, None, 0.0


class Topics:
    """All topics asked for, and the leader of each of their partitions, if it is known."""

    def __init__(self) -> None:
        self.leaders: dict[TopicPartition, int] = {}
        self._topics: dict[str, Topic] = {}

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics.values())

    def __getitem__(self, name: str) -> Topic:
        """Return what is known of a topic; from now on it is one of those asked for."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name)
        return topic

    def forget(self, name: str) -> None:
        """Ask for that topic no more."""
        self._topics.pop(name, None)

    def mark_stale(self, partition: TopicPartition, round_: int) -> None:
        """Forget a leader that turned out not to be it; older answers shall not bring it back."""
        self.leaders.pop(partition, None)
        self[partition.topic].mark_stale(partition.partition, round_)

    def take(self, answer: ClusterMetadata, round_: int, now: float) -> dict[str, int]:
        """Take over the answer of *round_*; return the topics whose count changed, and to what."""
        changed: dict[str, int] = {}
        for told in answer.topics:
            topic = self[told.topic]
            before = topic.count
            topic.take(told, round_, now)
            if topic.count is None:
                self._drop_leaders(topic.name, before or 0)
            else:
                self._take_leaders(topic, told.leaders, answer.brokers, round_)
            if topic.count is not None and before not in (None, topic.count):
                changed[topic.name] = topic.count
        return changed

    def _drop_leaders(self, topic: str, count: int) -> None:
        for number in range(count):
            self.leaders.pop(TopicPartition(topic, number), None)

    def _take_leaders(
        self, topic: Topic, leaders: Mapping[int, int | None], brokers: Mapping[int, Address], round_: int
    ) -> None:
        for number, node in leaders.items():
            partition = TopicPartition(topic.name, number)
            if not topic.believes(number, round_):
                continue
            if node is not None and node in brokers:
                self.leaders[partition] = node
            else:
                self.leaders.pop(partition, None)
