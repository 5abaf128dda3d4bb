"""Keeping the topics current: when to ask the brokers, and who waits for which answer.

One refresh is in flight at most, and ten begin in a second at most. Asked is when somebody
needs what is not known, when a leader turned out stale or says nothing, when a connection
was lost, and after five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from eventpub.abc import Rejected, TopicPartition
from eventpub.config import Address
from eventpub.transports.bell import Bell, first_ring
from eventpub.transports.kafka.answers import ClusterMetadata
from eventpub.transports.kafka.backoff import RECONNECT, REFUSED, Backoff
from eventpub.transports.kafka.broker_log import BrokerLog
from eventpub.transports.kafka.contact import Contact
from eventpub.transports.kafka.errors import AccessRefusedError, ConnectionFault
from eventpub.transports.kafka.topics import DENIALS_APART, DENIALS_BELIEVED, UNKNOWN_TOPIC_OR_PARTITION, Topic, Topics

MAX_AGE = 300.0
_TICK = 0.001
_PARTITIONS_AT_ONCE = 2000
REFRESHES_PER_SECOND = 10
BROKER_NOT_AVAILABLE = 8
# A little more than the least distance that counts, so that each answer does.
_WHILE_UNKNOWN = Backoff(DENIALS_APART * 1.3, 1.0)
_WHILE_LEADERLESS = Backoff(0.1, 0.5)

OnCount = Callable[[str, int], None]
OnBrokers = Callable[[Mapping[int, Address]], None]


class Metadata:
    """Topics and leaders as the brokers tell them, asked for by one task (`run`)."""

    def __init__(
        self, contact: Contact, on_brokers: OnBrokers, on_count: OnCount, log: BrokerLog | None = None
    ) -> None:
        self.topics = Topics()
        self.bell = Bell()
        self.answered = False
        self._contact = contact
        self._on_brokers = on_brokers
        self._on_count = on_count
        self._broker_log = log or BrokerLog()
        self._loop = asyncio.get_running_loop()
        self._nudge = Bell()
        self._round = 0
        self._wanted: set[str] = set()
        self._asked: set[str] = set()
        self._want_all = True
        self._due = 0.0
        self._begun: deque[float] = deque(maxlen=REFRESHES_PER_SECOND)
        self._waiting: Counter[str] = Counter()
        self._failures = 0
        self._unresolved_rounds = 0
        self._closed = False

    async def run(self) -> None:
        """Ask whenever it is due, until cancelled."""
        while True:
            await self._until_due()
            names = self._take_wanted()
            self._round += 1
            try:
                answer = await self._ask(names)
            except ConnectionFault as fault:
                self._not_answered(names, fault)
            else:
                self._take(answer)
            self._asked = set()
            self.bell.ring()
            # Those whom the answer helped leave in this turn; for the others we ask again.
            await asyncio.sleep(0)
            self._ask_again_for_waiters()

    async def _ask(self, names: list[str]) -> ClusterMetadata:
        return await self._contact.ask(lambda link: link.metadata(names))

    def close(self) -> None:
        """End every wait."""
        self._closed = True
        self.bell.ring()

    def want_all(self) -> None:
        """Ask for everything soon: a connection was lost or did not come about."""
        self._want_all = True
        self._hurry()

    def refresh(self, names: Iterable[str], /) -> None:
        """Ask for these topics soon: whoever led them says nothing."""
        for name in names:
            self._want(name)

    def mark_stale(self, partition: TopicPartition) -> None:
        """Forget a leader that turned out not to be it, and ask for the new one."""
        self.topics.mark_stale(partition, self._round)
        self._want(partition.topic)

    async def partitions(self, name: str, *, fresh: bool) -> int | Rejected:
        """Return a topic's partition count as soon as it is known, or why there is none."""
        topic = self.topics[name]
        if topic.count is not None and not fresh:
            return topic.count
        with self._waiting_for(name):
            since = self._ask_for(name, fresh=fresh)
            while not self._closed:
                await first_ring(self.bell)
                answered = topic.answered_in > since
                if answered and topic.refusal is not None:
                    return topic.refusal
                if topic.count is not None and (answered or not fresh):
                    return topic.count
        return closed()

    async def leader(self, partition: TopicPartition) -> int | Rejected | None:
        """Return the node that leads *partition* once it is known, or why nobody will; ``None`` at the close."""
        topic = self.topics[partition.topic]
        with self._waiting_for(topic.name):
            since = self._ask_for(topic.name, fresh=False)
            while not self._closed:
                node = self.topics.leaders.get(partition)
                if node is not None:
                    return node
                if topic.answered_in > since and (refusal := _refusal(topic, partition)):
                    return refusal
                await first_ring(self.bell)
        return None

    def _ask_for(self, name: str, *, fresh: bool) -> int:
        """Return the round after which an answer counts; the one under way will do unless *fresh*."""
        if name in self._asked and not fresh:
            return self._round - 1
        self._want(name)
        return self._round

    def _want(self, name: str) -> None:
        self._wanted.add(name)
        self._unresolved_rounds = 0
        self._hurry()

    def _hurry(self) -> None:
        # While nobody answers, the pauses between rounds stand: a thousand publishes must
        # not become a thousand rounds of connects.
        if self._failures == 0:
            self._due = self._loop.time()
            self._nudge.ring()

    async def _until_due(self) -> None:
        while (left := max(self._due, self._allowed_at()) - self._loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(left, _TICK)):
                    await first_ring(self._nudge)
        self._begun.append(self._loop.time())

    def _allowed_at(self) -> float:
        return self._begun[0] + 1.0 if len(self._begun) == REFRESHES_PER_SECOND else 0.0

    def _take_wanted(self) -> list[str]:
        """Return what to ask for now; everything, if nothing in particular made this round due."""
        if self._want_all or not self._wanted:
            self._forget_unused()
            self._wanted.update(topic.name for topic in self.topics)
        names = self._first_of(self._wanted)
        self._asked = set(names)
        self._wanted -= self._asked
        self._want_all = False
        self._due = self._loop.time() + (0.0 if self._wanted else MAX_AGE)
        return names

    def _first_of(self, names: set[str]) -> list[str]:
        """Return those waited for, then others, as many as an answer may describe in one go.

        Reading it takes 4 us a partition, and the loop stands still meanwhile.
        """
        first: list[str] = []
        partitions = 0
        for name in sorted(names, key=lambda name: (name not in self._waiting, name)):
            partitions += self.topics[name].count or 1
            if first and partitions > _PARTITIONS_AT_ONCE:
                break
            first.append(name)
        return first

    def _forget_unused(self) -> None:
        unused = [t.name for t in self.topics if t.count is None and t.name not in self._waiting]
        for name in unused:
            self.topics.forget(name)

    def _take(self, answer: ClusterMetadata) -> None:
        self._failures, self.answered = 0, True
        self._broker_log.somebody(len(answer.brokers), self._loop.time())
        self._contact.update(answer.brokers.values())
        self._on_brokers(answer.brokers)
        for name, count in self.topics.take(answer, self._round, self._loop.time()).items():
            self._on_count(name, count)

    def _not_answered(self, names: list[str], fault: ConnectionFault) -> None:
        self._wanted.update(names)
        self._failures += 1
        self._broker_log.nobody(fault, self._loop.time())
        backoff = REFUSED if isinstance(fault, AccessRefusedError) else RECONNECT
        self._due = self._loop.time() + backoff.pause(self._failures)

    def _ask_again_for_waiters(self) -> None:
        if not self._waiting or self._failures:
            return
        self._wanted.update(self._waiting)
        self._unresolved_rounds += 1
        if all(self.topics[name].count is not None for name in self._waiting):
            pause = _WHILE_LEADERLESS.pause(self._unresolved_rounds)
        else:
            pause = _WHILE_UNKNOWN.pause(max(1, self._unresolved_rounds - DENIALS_BELIEVED))
        self._due = min(self._due, self._loop.time() + pause)

    @contextlib.contextmanager
    def _waiting_for(self, name: str) -> Iterator[None]:
        self._waiting[name] += 1
        try:
            yield
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]


def closed() -> Rejected:
    """Return what a wait ends with when the transport closes."""
    return Rejected(None, BROKER_NOT_AVAILABLE, message="the transport was closed")


def _refusal(topic: Topic, partition: TopicPartition) -> Rejected | None:
    if topic.refusal is not None or topic.count is None or partition.partition < topic.count:
        return topic.refusal
    message = f"{topic.name} has {topic.count} partitions"
    return Rejected(None, UNKNOWN_TOPIC_OR_PARTITION, message=message)
