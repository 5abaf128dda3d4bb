"""A publisher on a `MemoryBroker` that is being broken, and somebody who notes every word it says.

The verbs are plain calls, made on the event loop's thread while it runs; what they start lives on.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import tenacity

from eventpub import (
    CRITICAL,
    STANDARD,
    TELEMETRY,
    BufferFullError,
    BufferLimits,
    Delivery,
    PersistenceStatus,
    Publisher,
    PublisherClosed,
    PublishError,
    Record,
    RetryPolicy,
    delivery_budget,
)
from eventpub.transports.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventpub import DeliveryProfile, DrainReport, PendingDelivery
    from eventpub.abc import OutcomeDetails

LATEST = 0.25  # seconds past its budget at which a publish has to have ended (rule 4)
CLOSED = 8  # what a transport answers when it closes
CLOSING = 1.0  # seconds past its timeout at which a close has to have ended (rule 11)

# No jitter: a schedule has to repeat exactly.
STEADY = RetryPolicy(wait=tenacity.wait_exponential(multiplier=0.1, max=1))
FEW = RetryPolicy(wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_attempt(3))
PROFILES = (
    CRITICAL.replace(retry=STEADY),
    CRITICAL.replace(name="few", retry=FEW, request_timeout=2),
    CRITICAL.replace(name="patient", retry=STEADY, linger=0.3, batch_size=300, delivery_timeout=8),
    STANDARD.replace(retry=STEADY, request_timeout=3),
    STANDARD.replace(name="loose", retry=STEADY, allow_duplicates=True, request_timeout=1),
    TELEMETRY.replace(retry=STEADY),
)
LIMITS = BufferLimits(max_records=8, max_bytes=2_000)
TOPICS = ("plain", "compacted", "short-lived")
PARTITIONS = 2


class Intent:
    """One publish: what was asked, when, and what its caller was told."""

    def __init__(self, number: int, topic: str, partition: int | None, profile: DeliveryProfile, budget: float) -> None:
        self.id = f"{number}"
        self.topic = topic
        self.partition = partition
        self.profile = profile
        self.budget = budget
        self.place = -1
        self.started = 0.0
        self.task: asyncio.Task[None] | None = None
        self.pending: PendingDelivery | None = None
        self.told: Delivery | PublishError | None = None
        self.refused = False
        self.cancelled = False

    def record(self, size: int, *, keyed: bool) -> Record:
        """Return the record to publish; its value is the intent's id and filling."""
        value = f"{self.id} ".encode().ljust(size, b".")
        key = self.id.encode() if keyed else None
        return Record(self.topic, value, key, [("ce_id", self.id.encode())], self.partition, timestamp=1)


class Stage:
    """The broker, the publisher, what was intended, and what was heard."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(brokers=2, partitions=PARTITIONS, now=lambda: 1_000_000)
        self.broker.create_topic("plain", PARTITIONS, max_message_bytes=700)
        self.broker.create_topic("compacted", PARTITIONS, compacted=True)
        self.publisher = Publisher(
            self.broker,
            source="/tests",
            profile=PROFILES[0],
            profiles={profile.name: profile for profile in PROFILES},
            buffer=LIMITS,
            hooks=[self],
        )
        self.intents: list[Intent] = []
        self.heard: dict[str, list[Delivery | PublishError]] = {}
        self.heard_late: dict[str, list[Delivery | PublishError]] = {}
        self.meddle: Callable[[], None] | None = None
        self.flushes: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()
        self._places = itertools.count()
        self.gone = False  # the topic that may be deleted was

    # --- the hook ----------------------------------------------------------------------

    def on_outcome(self, details: OutcomeDetails) -> None:
        assert details.event_id is not None
        self.heard.setdefault(details.event_id, []).append(details.outcome)
        if self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()

    def on_late_outcome(self, details: OutcomeDetails) -> None:
        assert details.event_id is not None
        self.heard_late.setdefault(details.event_id, []).append(details.outcome)

    # --- the application ---------------------------------------------------------------

    def intend(self, topic: str, partition: int | None, profile: DeliveryProfile, budget: float | None) -> Intent:
        """Note that somebody is about to publish."""
        seconds = min(profile.delivery_timeout, budget or profile.delivery_timeout)
        intent = Intent(next(self._numbers), topic, partition, profile, seconds)
        self.intents.append(intent)
        return intent

    def publish(self, intent: Intent, size: int, *, keyed: bool) -> None:
        """Publish and wait for it in a task."""
        intent.task = asyncio.get_running_loop().create_task(self._publish(intent, intent.record(size, keyed=keyed)))

    async def _publish(self, intent: Intent, record: Record) -> None:
        self._take_place(intent)
        try:
            intent.told = await self.publisher.publish(record, profile=intent.profile, timeout=intent.budget)
        except PublishError as error:
            intent.told = error
            intent.refused = isinstance(error, PublisherClosed)
        except asyncio.CancelledError:
            assert intent.cancelled
            return
        self._check_time(intent)

    def publish_many(self, intents: list[Intent], size: int) -> None:
        """Publish several at once; they share profile and budget."""
        group = asyncio.get_running_loop().create_task(self._publish_many(intents, size))
        for intent in intents:
            intent.task = group

    async def _publish_many(self, intents: list[Intent], size: int) -> None:
        for intent in intents:
            self._take_place(intent)
        records = [intent.record(size, keyed=True) for intent in intents]
        try:
            with delivery_budget(intents[0].budget):
                reports = await self.publisher.publish_many(records, profile=intents[0].profile)
        except PublisherClosed as error:
            for intent in intents:
                intent.told, intent.refused = error, True
            return
        for intent, told in zip(intents, reports, strict=True):
            intent.told, intent.refused = told, isinstance(told, PublisherClosed)
        self._check_time(intents[0])

    def publish_nowait(self, intent: Intent, size: int, *, keyed: bool) -> None:
        """Publish without waiting."""
        self._take_place(intent)
        record = intent.record(size, keyed=keyed)
        try:
            intent.pending = self.publisher.publish_nowait(record, profile=intent.profile, timeout=intent.budget)
        except (BufferFullError, PublisherClosed) as error:
            intent.told, intent.refused = error, True
            return
        intent.task = asyncio.get_running_loop().create_task(self._await(intent, intent.pending))

    async def _await(self, intent: Intent, pending: PendingDelivery) -> None:
        try:
            intent.told = await pending
        except PublishError as error:
            intent.told = error
        except asyncio.CancelledError:
            assert intent.cancelled
            return
        self._check_time(intent)

    def _take_place(self, intent: Intent) -> None:
        intent.started = asyncio.get_running_loop().time()
        intent.place = next(self._places)

    @staticmethod
    def _check_time(intent: Intent) -> None:
        took = asyncio.get_running_loop().time() - intent.started
        assert took <= intent.budget + LATEST, f"{intent.id} took {took} s of {intent.budget} s: {intent.told}"

    def cancel(self, number: int) -> None:
        """Cancel one of the publishes, or withdraw it through its handle."""
        if self.intents:
            intent = self.intents[number % len(self.intents)]
            for each in self.intents:
                each.cancelled |= each is intent or (each.task is not None and each.task is intent.task)
            if intent.pending is not None and number % 2:
                intent.pending.cancel()
            elif intent.task is not None:
                intent.task.cancel()

    def flush(self, timeout: float) -> None:
        """Flush in a task."""
        self.flushes.append(asyncio.get_running_loop().create_task(self._flush(timeout)))

    async def _flush(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.publisher.flush(timeout)
        assert loop.time() - began <= timeout + 0.001

    # --- the broker --------------------------------------------------------------------

    def drop_topic(self) -> None:
        """Delete the topic nobody relies on, or make it again."""
        if self.broker.count("short-lived") is None:
            self.broker.create_topic("short-lived", PARTITIONS)
        else:
            self.broker.delete_topic("short-lived")
            self.gone = True

    # --- what has to hold --------------------------------------------------------------

    def check_now(self) -> None:
        """At any moment: room is neither negative nor more than there is, and is held by what is open."""
        statistics = self.publisher.statistics()
        assert 0 <= statistics.unconfirmed <= LIMITS.max_records
        assert statistics.unconfirmed_bytes >= 0
        assert statistics.unconfirmed_bytes <= LIMITS.max_bytes or statistics.unconfirmed == 1
        assert statistics.waiting_for_room >= 0
        assert (statistics.unconfirmed == 0) == (statistics.unconfirmed_bytes == 0)
        engine = self.publisher._engine
        assert engine is not None
        first = engine._admission.waiters.first()
        assert first is None or not engine._admission._fits(first.size), "somebody waits for room that is there"

    async def close(self, timeout: float, cancelled_after: float | None = None) -> DrainReport | None:
        """Close, perhaps cancelled in the middle of it; then nothing is left."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        report: DrainReport | None = None
        closing = loop.create_task(self.publisher.aclose(timeout))
        if cancelled_after is not None:
            await asyncio.sleep(cancelled_after)
            closing.cancel()
        try:
            report = await closing
        except asyncio.CancelledError:
            assert cancelled_after is not None
        assert loop.time() - began <= timeout + CLOSING, f"the close took {loop.time() - began} s of {timeout} s"
        self._check_nothing_is_left()
        return report

    def _check_nothing_is_left(self) -> None:
        statistics = self.publisher.statistics()
        assert (statistics.unconfirmed, statistics.unconfirmed_bytes, statistics.waiting_for_room) == (0, 0, 0)

    async def aftermath(self) -> None:
        """Let every caller hear his outcome, and everything arrive that still can."""
        tasks = [intent.task for intent in self.intents if intent.task is not None]
        results = await asyncio.gather(*tasks, *self.flushes, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left: {left}"
        self.broker.heal()
        self.broker.release()
        await asyncio.sleep(120)
        self.check_words()
        self.check_order()

    def check_words(self) -> None:
        """Compare what each caller and each hook was told with the log."""
        logged: dict[str, list[tuple[str, int, int]]] = {}
        for topic in TOPICS:
            for record in self.broker.records(topic):
                number = (record.value or b"").split(b" ")[0].decode()
                logged.setdefault(number, []).append((topic, record.partition, record.offset))
        for intent in self.intents:
            self._check_words_of(intent, logged.get(intent.id, []))

    def _check_words_of(self, intent: Intent, places: list[tuple[str, int, int]]) -> None:
        first, late = self.heard.get(intent.id, []), self.heard_late.get(intent.id, [])
        assert len(first) <= 1, f"{intent.id} had several outcomes: {first}"
        assert len(late) <= 1, f"{intent.id} had several late outcomes: {late}"
        if not first:
            assert not late
            assert intent.refused or intent.cancelled, f"{intent.id} had no outcome"
            assert not places, f"{intent.id} was withdrawn or refused, and is in the log"
            return
        if intent.told is not None:
            assert intent.told is first[0]
        last = (late or first)[0]
        assert getattr(last, "kafka_code", None) != CLOSED, f"{intent.id}: a closing transport is no broker's refusal"
        if late:
            assert first[0].status is PersistenceStatus.POSSIBLY_PERSISTED, f"{intent.id}: {late} after {first}"
            assert late[0].status is not PersistenceStatus.POSSIBLY_PERSISTED, f"{intent.id}: {late} is no news"
        if not intent.profile.allow_duplicates:
            assert len(places) <= 1, f"{intent.id} was written twice: {places}"
        if last.status is PersistenceStatus.NOT_PERSISTED:
            assert not places, f"{intent.id} is in the log: {last}"
        elif last.status is PersistenceStatus.PERSISTED and not (self.gone and intent.topic == "short-lived"):
            assert isinstance(last, Delivery)
            assert (last.topic, last.partition, last.offset) in places, f"{intent.id}: {last}, but {places}"

    def check_order(self) -> None:
        """In each partition what idempotent profiles wrote stands in the order of the publishes."""
        places = {i.id: i.place for i in self.intents if i.profile.idempotence}
        for topic in TOPICS:
            for partition in range(self.broker.count(topic) or 0):
                values = [(r.value or b"").split(b" ")[0].decode() for r in self.broker.records(topic, partition)]
                order = [places[value] for value in values if value in places]
                assert order == sorted(order), f"{topic}[{partition}]: {order}"

    @property
    def transcript(self) -> list[str]:
        """Every outcome in the order in which it was told."""
        return [f"{number}: {outcome}" for told in (self.heard, self.heard_late) for number, (outcome,) in told.items()]
