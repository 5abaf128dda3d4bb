"""Kafka's log as one page of plain code, and a world in which a partition talks to it.

Written from what Apache Kafka was seen to do with sequences, epochs and doubt, and sharing
nothing with `MemoryBroker`: two mistakes would have to be equal to hide each other. The
network may hold, lose or deliver late whatever was written, and answers may get lost.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eventpub._rules.sequence import MAX_EPOCH
from eventpub._rules.step import Send, Wait
from eventpub.abc import Acked, ProducerId, Rejected, Unacknowledged, WireBatch
from eventpub.delivery import Delivery, PersistenceStatus
from tests.unit.rules.kit import AT_ONCE, BROKER, LOOSE, QUICK, STANDARD, TELEMETRY, Bench, Desk, in_doubt, not_sent

if TYPE_CHECKING:
    from eventpub._rules.batch import Batch
    from eventpub._rules.entry import Entry
    from eventpub.abc import AttemptResult
    from eventpub.exceptions import PublishError
    from eventpub.profile import DeliveryProfile

REMEMBERED = 5
LAST_SEQUENCE = 2**31 - 1
MOST_RECORDS = 3  # what the topic takes in one batch; a larger one is refused with code 10

PROFILES = (QUICK, QUICK.replace(name="other"), LOOSE, STANDARD.replace(retry=AT_ONCE), TELEMETRY)
REFUSALS = (3, 9, 19, 29, 2, 45, 47, 59)  # before the append; 6 and -1 may come after it


@dataclass
class Producer:
    """What the log remembers of one producer id: its epoch, and where its last batches went."""

    epoch: int
    batches: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


class Log:
    """The leader of one partition."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self.writers: list[int] = []
        self._producers: dict[int, Producer] = {}

    def handle(self, wire: WireBatch) -> Acked | Rejected:
        """Append *wire*, find it appended, or refuse it for its stamp."""
        stamp = wire.stamp
        if stamp.producer_id < 0:
            return self._append(wire)
        producer = self._producers.get(stamp.producer_id)
        if producer is None:  # never heard of: may begin anywhere
            self._producers[stamp.producer_id] = producer = Producer(stamp.epoch)
        elif stamp.epoch < producer.epoch:
            return Rejected(BROKER, 47)
        elif stamp.epoch > producer.epoch:
            if stamp.sequence != 0:
                return Rejected(BROKER, 45)
            producer.epoch = stamp.epoch
            producer.batches.clear()
        else:
            last = _plus(stamp.sequence, wire.count - 1)
            for first_seen, last_seen, offset in producer.batches:
                if (first_seen, last_seen) == (stamp.sequence, last):
                    return Acked(BROKER, offset)  # whatever its bytes are
            if stamp.sequence != _plus(producer.batches[-1][1], 1):
                return Rejected(BROKER, 45)
        answer = self._append(wire)
        producer.batches.append((stamp.sequence, _plus(stamp.sequence, wire.count - 1), answer.offset))
        return answer

    def _append(self, wire: WireBatch) -> Acked:
        offset = len(self.values)
        self.values += wire.data.decode().split("|")
        self.writers += [wire.stamp.producer_id] * wire.count
        return Acked(BROKER, offset)


def _plus(sequence: int, by: int) -> int:
    return (sequence + by) % (LAST_SEQUENCE + 1)


@dataclass(eq=False)
class Request:
    """One attempt on the wire, and what the log said to it."""

    batch: Batch
    wire: WireBatch
    answer: Acked | Rejected | None = None


class Witness(Desk):
    """A desk that remembers what it was told last, and that nobody hears news twice."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[Entry, Delivery | PublishError] = {}

    def on_outcome(self, entry: Entry, outcome: Delivery | PublishError, /) -> None:
        assert not (entry.ended and entry not in self.told), "a withdrawn record was told an outcome"
        if entry.ended:
            assert entry not in [each for each, _ in self.late], "news told twice"
            before = self.last[entry].status
            assert before is PersistenceStatus.POSSIBLY_PERSISTED, f"news after {before}"
            assert outcome.status is not before, "that is no news"
        super().on_outcome(entry, outcome)
        self.last[entry] = outcome

    def settle(self, entry: Entry, outcome: Delivery | PublishError) -> None:
        super().settle(entry, outcome)
        self.last[entry] = outcome


class World:
    """A partition, a log, the network between them, and somebody who cannot be trusted with any of it."""

    def __init__(self, epoch: int = 0, sequence: int = 0) -> None:
        self.witness = Witness()
        self.bench = Bench(self.witness)
        self.log = Log()
        self.entries: list[Entry] = []
        self.withdrawn: list[Entry] = []
        self.network: list[Request] = []  # written, not read yet
        self.unanswered: list[Request] = []  # read, the client gave up before the answer
        self.in_flight: Request | None = None
        self.deadline = 0.0
        self.closed = False
        self._ids = 7
        sequence_of = self.bench.partition.sequence
        sequence_of.adopt(ProducerId(7, epoch))
        sequence_of._next = sequence

    # --- the application -------------------------------------------------------------

    def publish(self, profile: DeliveryProfile, count: int, budget: float, *, bad: bool = False) -> None:
        """Queue some records, one of which the broker may not like."""
        if self.closed:
            return
        values = [f"{'bad' if bad and i == 0 else 'good'}-{len(self.entries) + i}" for i in range(count)]
        self.entries += self.bench.publish(*values, profile=profile, budget=budget)

    def withdraw(self, number: int) -> None:
        """Cancel a record, if there is one that can still be."""
        if self.entries and self.bench.withdraw(entry := self.entries[number % len(self.entries)]):
            self.withdrawn.append(entry)

    def close(self) -> None:
        """Close the partition: the transport goes first, so what is in flight is in doubt."""
        if self.closed:
            return
        if self.in_flight is not None:
            self.answer_lost()
        self.bench.close()
        self.closed = True

    # --- time -------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Let time pass; budgets end, and so does an attempt that nobody answers."""
        until = self.bench.now + seconds
        if self.in_flight is not None and self.deadline <= until:
            self.bench.now = max(self.bench.now, self.deadline)
            self._expire()
            self.answer_lost()
        self.bench.now = until
        self._expire()

    def _expire(self) -> None:
        if due := [e for e in self.entries if not e.ended and e.deadline <= self.bench.now]:
            self.bench.expire(*due)

    # --- the lane ---------------------------------------------------------------------

    def send(self) -> None:
        """Do what a lane does until something is in flight."""
        while self.in_flight is None and not self.closed:
            step = self.bench.next()
            if isinstance(step, Wait):
                self.pass_time(max(0.0, step.until - self.bench.now))
                continue
            if step is None:
                return
            self._begin(step)

    def _begin(self, step: Send) -> None:
        sequence = self.bench.partition.sequence
        if step.profile.idempotence and sequence.needs_id:
            assert sequence.exhausted == self._ids
            self._ids += 1
            sequence.adopt(ProducerId(self._ids, 0))
        self._take(step.profile)

    def _take(self, profile: DeliveryProfile) -> None:
        before = self.bench.partition.batch
        kept = (before.wire, before.stamp) if before is not None else None
        if (batch := self.bench.take_for(profile)) is None:
            return
        assert batch.wire is not None
        assert batch.profile == profile
        if batch.frozen:
            assert kept == (batch.wire, batch.stamp), "a batch in doubt was changed"
        assert not any(e.ended for e in batch.entries) or batch.frozen, "somebody who ended was sent again"
        self.in_flight = Request(batch, batch.wire)
        self.network.append(self.in_flight)
        self.deadline = batch.attempt_deadline(self.bench.now)
        assert self.deadline > self.bench.now

    def wait_for_a_connection(self, seconds: float) -> None:
        """Let the lane wait for a connection while time passes, and find what it finds then."""
        step = self.bench.next() if self.in_flight is None and not self.closed else None
        if not isinstance(step, Send) or (step.profile.idempotence and self.bench.partition.sequence.needs_id):
            return
        self.pass_time(seconds)
        self._take(step.profile)

    def refuse(self, code: int) -> None:
        """Let the transport say that what goes next cannot be written."""
        if self.in_flight is None and not self.closed and isinstance(step := self.bench.next(), Send):
            self.bench.partition.refuse(Rejected(BROKER, code), step.profile, self.bench.now)

    # --- the broker and the network ---------------------------------------------------

    def answer(self) -> None:
        """Let the request in flight arrive and be answered in time."""
        if (request := self._arrived()) is None:
            return
        verdict = self._verdict(request)
        if verdict is not None:
            self._tell(verdict)
        elif request.batch.profile.acks == 0:
            self.log.handle(request.wire)
            self._tell(Unacknowledged(BROKER))
        else:
            self._tell(self.log.handle(request.wire))

    def answer_after_append(self, code: int) -> None:
        """Append, and answer an error that tells the offset."""
        if (request := self._arrived()) is None:
            return
        if request.batch.profile.acks == 0:
            self._tell(Unacknowledged(BROKER))
            return
        answer = self._verdict(request) or self.log.handle(request.wire)
        self._tell(Rejected(BROKER, code, answer.offset) if isinstance(answer, Acked) else answer)

    def answer_before_append(self, code: int) -> None:
        """Refuse the request, whatever is in the log already."""
        if (request := self._arrived()) is not None:
            acks0 = request.batch.profile.acks == 0
            self._tell(Unacknowledged(BROKER) if acks0 else Rejected(BROKER, code))

    def answer_vaguely(self, code: int, *, append: bool) -> None:
        """Answer 6 or -1 without an offset; with acks=1 a leader that lost office never appends."""
        if (request := self._arrived()) is None:
            return
        if request.batch.profile.acks == 0:
            self._tell(Unacknowledged(BROKER))
            return
        if append and (request.batch.profile.acks == "all" or code != 6):
            answer = self._verdict(request) or self.log.handle(request.wire)
            if isinstance(answer, Rejected):
                self._tell(answer)
                return
        self._tell(Rejected(BROKER, code))

    def not_sent(self) -> None:
        """Let the client find no connection."""
        if self._arrived() is not None:
            self._tell(not_sent())

    def answer_lost(self) -> None:
        """Let the client give up on its request, which stays in the network."""
        if self.in_flight is not None:
            self._tell(in_doubt())

    def deliver(self, number: int, code: int | None = None) -> None:
        """Let a request that the client gave up arrive after all; *code* refuses it."""
        held = [request for request in self.network if request is not self.in_flight]
        if held:
            request = held[number % len(held)]
            self.network.remove(request)
            refusal = None if code is None else Rejected(BROKER, code)
            request.answer = refusal or self._verdict(request) or self.log.handle(request.wire)
            if request.batch.profile.acks:
                self.unanswered.append(request)

    def drop(self, number: int) -> None:
        """Let a request that the client gave up never arrive."""
        held = [request for request in self.network if request is not self.in_flight]
        if held:
            self.network.remove(held[number % len(held)])

    def answer_late(self, number: int) -> None:
        """Let an answer reach the client after it gave up."""
        if not self.unanswered or self.closed:
            return
        request = self.unanswered.pop(number % len(self.unanswered))
        assert request.answer is not None
        self.bench.partition.late(request.wire, request.answer, self.bench.now)

    def _arrived(self) -> Request | None:
        if (request := self.in_flight) is not None:
            self.network.remove(request)
        return request

    def _tell(self, result: AttemptResult) -> None:
        self.in_flight = None
        self.bench.answer(result, after=0.0)
        self.check()

    @staticmethod
    def _verdict(request: Request) -> Rejected | None:
        """Refuse what the topic does not take: too much at once, or a bad record."""
        values = request.wire.data.decode().split("|")
        if len(values) > MOST_RECORDS:
            return Rejected(BROKER, 10)
        bad = [i for i, value in enumerate(values) if value.startswith("bad")]
        if not bad:
            return None
        named = tuple((i, "bad") for i in bad) if len(values) % 2 else ()
        return Rejected(BROKER, 87, record_errors=named)

    # --- what has to hold --------------------------------------------------------------

    def check(self) -> None:
        """At any moment: room is held by exactly what is open or in a batch."""
        held = {e for e in self.entries if not e.ended or e.batch is not None}
        assert self.witness.room == held, "room and records do not agree"
        stamped = self.bench.partition.batch
        assert stamped is None or stamped.frozen or stamped.in_flight or self.in_flight, "stamped without a reason"

    def check_at_the_end(self) -> None:
        """Close, let everything arrive that still can, and compare words with the log."""
        self.close()
        while self.network:
            self.deliver(0)
        self.check()
        assert not self.witness.room
        count = Counter(self.log.values)
        for entry in self.entries:
            self._check_word(entry, count[str(entry.event_id)])
        self._check_order()

    def _check_word(self, entry: Entry, copies: int) -> None:
        if entry in self.withdrawn:
            assert entry not in self.witness.told
            assert copies == 0, f"{entry.event_id} was withdrawn and is in the log"
            return
        outcome = self.witness.last[entry]
        if not entry.profile.allow_duplicates:
            assert copies <= 1, f"{entry.event_id} was written twice"
        if outcome.status is PersistenceStatus.NOT_PERSISTED:
            assert copies == 0, f"{entry.event_id}: {outcome}, and it is in the log"
        elif outcome.status is PersistenceStatus.PERSISTED:
            assert isinstance(outcome, Delivery)
            assert outcome.offset is not None
            assert self.log.values[outcome.offset] == entry.event_id, f"{entry.event_id}: {outcome}"

    def _check_order(self) -> None:
        # Order is promised to idempotent profiles. A new producer id, past the last epoch, fences
        # nothing: a request of the old one may land after it.
        place = {str(entry.event_id): i for i, entry in enumerate(self.entries)}
        for writer in set(self.log.writers) - {-1}:
            order = [place[v] for v, by in zip(self.log.values, self.log.writers, strict=True) if by == writer]
            assert order == sorted(order), "the log is not in the order of the publishes"


STARTS = ((0, 0), (MAX_EPOCH - 1, 0), (0, LAST_SEQUENCE - 1))
"""Epoch and sequence to begin with: usual, near the last epoch, near the wrap."""
