"""What the tests of the rules share: entries, results, and a partition driven by plain calls.

`Desk` stands where the engine does: it hears outcomes, and keeps account of room. It fails the
test when an entry's room is given back twice, or an entry gets two first outcomes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventpub._rules.entry import Entry
from eventpub._rules.limit import SizeLimit
from eventpub._rules.partition import Partition
from eventpub._rules.step import Send, Wait
from eventpub.abc import Acked, InDoubt, NotSent, ProducerId, Rejected, TopicPartition, Unacknowledged, WireBatch
from eventpub.delivery import AttemptOutcome, Delivery
from eventpub.exceptions import PublishError
from eventpub.profile import CRITICAL, STANDARD, TELEMETRY, DeliveryProfile, RetryPolicy
from eventpub.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpub._rules.batch import Batch
    from eventpub.abc import AttemptResult
    from eventpub.delivery import Attempt

__all__ = ["AT_ONCE", "LOOSE", "QUICK", "STANDARD", "TELEMETRY", "Bench", "Desk", "entry", "in_doubt", "rejected"]

AT_ONCE = RetryPolicy(wait=lambda _state: 0.0)
QUICK = CRITICAL.replace(retry=AT_ONCE)
LOOSE = STANDARD.replace(retry=AT_ONCE, allow_duplicates=True)

BROKER = "broker:9092"
NAME = TopicPartition("orders", 3)


def entry(
    value: object = b"v", profile: DeliveryProfile = QUICK, started: float = 0.0, budget: float | None = None
) -> Entry:
    """Return an entry that nothing was done with."""
    record = Record("orders", str(value).encode(), timestamp=1000)
    seconds = profile.delivery_timeout if budget is None else budget
    return Entry(record, str(value), record, record.size, profile, started, started + seconds)


def in_doubt() -> InDoubt:
    """Return what a swallowed answer comes back as."""
    return InDoubt(BROKER, TimeoutError())


def not_sent() -> NotSent:
    """Return what a refused connection comes back as."""
    return NotSent(BROKER, ConnectionRefusedError())


def rejected(code: int, offset: int = -1, *errors: tuple[int, str]) -> Rejected:
    """Return an answer with an error code."""
    return Rejected(BROKER, code, offset, record_errors=errors)


class Desk:
    """Hears what a partition tells, in order, and does with it what the engine does."""

    def __init__(self) -> None:
        self.told: dict[Entry, Delivery | PublishError] = {}
        self.late: list[tuple[Entry, Delivery | PublishError]] = []
        self.attempts: list[Attempt] = []
        self.abandoned: list[Batch] = []
        self.room: set[Entry] = set()
        self.order: list[Entry] = []

    def on_outcome(self, entry: Entry, outcome: Delivery | PublishError, /) -> None:
        if entry.ended:
            self.late.append((entry, outcome))
            return
        entry.ended = True
        self.settle(entry, outcome)

    def on_acked(self, entries: Sequence[Entry], deliveries: Sequence[Delivery], /) -> None:
        for entry, delivery in zip(entries, deliveries, strict=True):
            self.on_outcome(entry, delivery)

    def settle(self, entry: Entry, outcome: Delivery | PublishError) -> None:
        assert entry not in self.told, "told twice"
        self.told[entry] = entry.outcome = outcome
        self.order.append(entry)
        self.forget(entry)

    def forget(self, entry: Entry) -> None:
        if entry.has_room and entry.batch is None:
            self._give_back(entry)

    def on_batch_ended(self, entries: list[Entry], /) -> None:
        for each in entries:
            each.batch = None
            self._give_back(each)

    def _give_back(self, entry: Entry) -> None:
        assert entry in self.room, "room given back twice"
        self.room.discard(entry)
        entry.has_room = False

    def on_attempt(self, partition: TopicPartition, batch: Batch, attempt: Attempt, /) -> None:
        assert partition == NAME
        self.attempts.append(attempt)

    def on_abandoned(self, partition: TopicPartition, batch: Batch, /) -> None:
        assert partition == NAME
        self.abandoned.append(batch)


class Bench:
    """A partition, its desk, and a clock that is moved by hand."""

    def __init__(self, desk: Desk | None = None, limit: SizeLimit | None = None) -> None:
        self.desk = desk or Desk()
        self.partition = Partition(NAME, self.desk, limit or SizeLimit())
        self.partition.sequence.adopt(ProducerId(7, 0))
        self.now = 0.0
        self.sent: list[WireBatch] = []

    # --- what the engine and the lane do -------------------------------------------

    def publish(self, *values: object, profile: DeliveryProfile = QUICK, budget: float | None = None) -> list[Entry]:
        """Queue one record for each of *values*."""
        entries = [entry(value, profile, self.now, budget) for value in values]
        for each in entries:
            self.desk.room.add(each)
            each.has_room = True
            self.partition.extend([each])
        return entries

    def next(self) -> Wait | Send | None:
        """Return the next step."""
        return self.partition.next(self.now)

    def take(self) -> Batch | None:
        """Stamp and encode what goes next, as a lane does; the batch is in flight then."""
        step = self.next()
        if isinstance(step, Wait):
            self.now = step.until
            step = self.next()
        return self.take_for(step.profile) if isinstance(step, Send) else None

    def take_for(self, profile: DeliveryProfile) -> Batch | None:
        """Take what goes next, if it is still of *profile*."""
        batch = self.partition.take(profile, self.now)
        if batch is not None and (batch.wire is None or batch.wire.stamp != batch.stamp):
            data = b"|".join(each.record.value or b"" for each in batch.entries)
            batch.wire = WireBatch(data, len(batch.entries), batch.stamp)
        if batch is not None and batch.wire is not None:
            self.sent.append(batch.wire)
        return batch

    def send(self) -> Batch:
        """Take a batch that is known to be there."""
        batch = self.take()
        assert batch is not None
        return batch

    def answer(self, result: AttemptResult, after: float = 0.01) -> None:
        """Let the attempt in flight come to *result*."""
        self.now += after
        self.partition.record(result, self.now)

    def ack(self, offset: int = 0) -> None:
        """Acknowledge the batch in flight."""
        self.answer(Acked(BROKER, offset))

    def attempt(self, result: AttemptResult) -> Batch:
        """Send what goes next and let it come to *result*."""
        batch = self.send()
        self.answer(result)
        return batch

    def late(self, batch: Batch, result: Acked | Rejected) -> bool:
        """Deliver an answer to an attempt of *batch* that had ended in doubt."""
        assert batch.wire is not None
        return self.partition.late(batch.wire, result, self.now)

    def expire(self, *entries: Entry) -> None:
        """End *entries* at the end of their budgets, as the engine's timer does."""
        self.now = max(self.now, *(each.deadline for each in entries))
        for each in entries:
            outcome = self.partition.interrupted(each, "budget", self.now)
            each.ended = True
            self.partition.release(each)
            self.desk.settle(each, outcome)

    def withdraw(self, entry: Entry) -> bool:
        """Cancel *entry*; say whether it could be taken back."""
        if entry.ended or self.partition.holds(entry):
            return False
        entry.ended = True
        self.partition.release(entry)
        self.desk.forget(entry)
        return True

    def close(self) -> None:
        """End everything that is left."""
        self.partition.close(self.now)

    # --- what tests ask -------------------------------------------------------------

    def outcome(self, entry: Entry) -> Delivery | PublishError:
        """Return what *entry*'s caller was told."""
        return self.desk.told[entry]

    def delivery(self, entry: Entry) -> Delivery:
        """Return the acknowledgement that *entry*'s caller was told."""
        outcome = self.desk.told[entry]
        assert isinstance(outcome, Delivery), outcome
        return outcome

    def error(self, entry: Entry) -> PublishError:
        """Return the error that *entry*'s caller was told."""
        outcome = self.desk.told[entry]
        assert isinstance(outcome, PublishError), outcome
        return outcome

    def offsets(self, *entries: Entry) -> list[int | None]:
        """Return where *entries* were acknowledged."""
        return [self.delivery(each).offset for each in entries]

    @property
    def values(self) -> list[list[str]]:
        """The batches sent so far, by the values of their records."""
        return [wire.data.decode().split("|") for wire in self.sent]


def kinds(history: tuple[Attempt, ...]) -> str:
    """Return a history as letters: A acked, N not appended, U in doubt, 0 unacknowledged."""
    letters = {
        AttemptOutcome.ACKED: "A",
        AttemptOutcome.NOT_APPENDED: "N",
        AttemptOutcome.IN_DOUBT: "U",
        AttemptOutcome.UNACKNOWLEDGED: "0",
    }
    return "".join(letters[attempt.outcome] for attempt in history)


def facts(error: PublishError) -> tuple[Any, ...]:
    """Return what tells one ending from another."""
    return type(error).__name__, error.reason, error.kafka_code, kinds(error.history)


def handed_over() -> Unacknowledged:
    """Return what acks=0 comes back as."""
    return Unacknowledged(BROKER)
