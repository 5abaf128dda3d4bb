"""One partition: what is queued, what is stamped, and what has to happen next.

Decides freeze, recut, narrowing, retry, epoch and outcome (rules 1 to 6). It does not send
and does not wait: a lane asks `Partition.next`, does what it says, and tells what came of it
with `Partition.record`. States and transitions: ``docs/design/partition.md``.
"""

from __future__ import annotations

from collections import deque
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from eventpub._rules import retry
from eventpub._rules.attempts import describe
from eventpub._rules.batch import BATCH_OVERHEAD, Batch
from eventpub._rules.codes import DUPLICATE_SEQUENCE_NUMBER, Action, lookup
from eventpub._rules.cutting import take_batch
from eventpub._rules.failures import Ending
from eventpub._rules.queue import EntryQueue
from eventpub._rules.round_trip import RoundTrip
from eventpub._rules.sequence import Sequence
from eventpub._rules.step import Send, Wait
from eventpub.abc import UNSTAMPED, Acked, Rejected, Unacknowledged
from eventpub.delivery import AttemptOutcome, Delivery, PersistenceStatus, new_delivery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventpub._rules.entry import Entry
    from eventpub._rules.limit import SizeLimit
    from eventpub._rules.listener import PartitionListener
    from eventpub.abc import AttemptResult, TopicPartition, WireBatch
    from eventpub.delivery import Attempt
    from eventpub.exceptions import DoubtReason, PublishError
    from eventpub.profile import DeliveryProfile

TIMER_EARLY = 0.001  # seconds a timer may fire before its time, by its clock's resolution: then do not wait on
_CORRUPT_TWICE = 2
_SIZE = attrgetter("size")


class Partition:
    """The queue of one partition, its one stamped batch, and the sequence they are stamped from."""

    __slots__ = (
        "_last_acked",
        "_limit",
        "_linger_until",
        "_listener",
        "_round_trip",
        "batch",
        "cuts",
        "mixed_cuts",
        "name",
        "pieces",
        "queue",
        "queued_bytes",
        "sequence",
    )

    def __init__(self, name: TopicPartition, listener: PartitionListener, limit: SizeLimit) -> None:
        self.name = name
        self.queue = EntryQueue()
        self.pieces: deque[Batch] = deque()  # clean batches to be cut anew, before the queue
        self.batch: Batch | None = None  # stamped: in flight, or frozen
        self.sequence = Sequence()
        self.cuts = 0
        self.mixed_cuts = 0
        self.queued_bytes = 0
        self._listener = listener
        self._limit = limit
        self._linger_until = 0.0
        self._round_trip = RoundTrip()
        self._last_acked: int | None = None

    # --- what comes in -------------------------------------------------------------

    def extend(self, entries: list[Entry]) -> None:
        """Queue *entries*, one at least, behind all others. On an idle partition the first one's linger begins."""
        if not self.busy:
            self._linger_until = entries[0].started + entries[0].profile.linger
        for entry in entries:
            entry.partition = self
        self.queue.extend(entries)
        self.queued_bytes += sum(map(_SIZE, entries))

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return self.batch is not None or bool(self.pieces) or self.queue.first() is not None

    # --- what happens next ---------------------------------------------------------

    def next(self, now: float) -> Wait | Send | None:
        """Return the next step, or ``None`` when the partition is idle."""
        head = self._head(now)
        if head is not None:
            return Wait(head.resume_at) if now < head.resume_at - TIMER_EARLY else Send(head.profile)
        first = self.queue.first()
        if first is None:
            return None
        if now < self._linger_until - TIMER_EARLY and not self._full(first.profile):
            return Wait(self._linger_until)
        return Send(first.profile)

    def _full(self, profile: DeliveryProfile) -> bool:
        return self.queued_bytes >= min(profile.batch_size, self._limit.bytes)

    def _head(self, now: float) -> Batch | None:
        """Return the batch that goes before the queue, after retiring those with no time left."""
        if self.batch is not None:
            if self.batch.life - now >= self._round_trip.least(self.batch.entries[0]):
                return self.batch
            self._give_up(self.batch, "budget", now)
        while self.pieces:
            piece = self.pieces[0]
            self._drop_spent(piece, now)
            if piece.entries:
                return piece
            self.pieces.popleft()
        return None

    def take(self, profile: DeliveryProfile, now: float) -> Batch | None:
        """Return the batch to send now, stamped, or ``None`` if `next` would not say ``Send(profile)`` any more."""
        return self.take_now(profile, now) if self._still(profile, now) else None

    def take_now(self, profile: DeliveryProfile, now: float) -> Batch | None:
        """Return what `take` does, in the step in which `next` said ``Send(profile)``."""
        if (batch := self.batch) is None:
            # Giving up a frozen batch just now may have used up the last epoch.
            if profile.idempotence and self.sequence.needs_id:
                return None
            if (batch := self._pick(profile, now)) is None:
                return None
            batch.stamp = self.sequence.stamp if profile.idempotence else UNSTAMPED
            batch.after = self._last_acked
        batch.in_flight = True
        batch.sent_at = now
        return batch

    def _still(self, profile: DeliveryProfile, now: float) -> bool:
        # Records end while the lane waits until it could write. What comes next may then be
        # of another profile: other acks, another connection, perhaps no producer id yet.
        step = self.next(now)
        return isinstance(step, Send) and (step.profile is profile or step.profile == profile)

    def _pick(self, profile: DeliveryProfile, now: float) -> Batch | None:
        """Make `batch` what goes next: the first piece, else a new cut."""
        if self.pieces:
            self.batch = self.pieces.popleft()
        else:
            self._cut(profile, now)
        return self.batch

    def _cut(self, profile: DeliveryProfile, now: float) -> None:
        """Take consecutive records of *profile*, up to its batch size or what the topic takes."""
        limit = min(profile.batch_size, self._limit.bytes)
        taken = take_batch(self.queue, self.queued_bytes, profile, limit, self._round_trip, now)
        self.cuts += 1
        self.mixed_cuts += taken.mixed
        if taken.entries:
            self.batch = Batch(taken.entries, profile)
            self.queued_bytes -= self.batch.size - BATCH_OVERHEAD
        if taken.spent:
            spent = Batch(taken.spent, profile)
            self.queued_bytes -= spent.size - BATCH_OVERHEAD
            self._give_up(spent, "budget", now)

    def _drop_spent(self, piece: Batch, now: float) -> None:
        """Cut a clean batch anew without the records that ended, or have no time for an attempt."""
        keep: list[Entry] = []
        gone: list[Entry] = []
        for entry in piece.entries:
            (gone if entry.ended or self._round_trip.spent(entry, now) else keep).append(entry)
        if gone:
            ending = self._ending(piece.history, now)
            # Before they leave it: a dead letter says where in its batch its record was.
            self._end(piece, [(entry, ending.unavailable(entry, "budget")) for entry in gone])
            piece.keep_only([entry for entry in keep if not entry.ended])  # one who was told may withdraw another

    # --- what came of it -----------------------------------------------------------

    def record(self, result: AttemptResult, now: float) -> None:
        """Take in what the attempt in flight came to."""
        batch = self.batch
        if batch is None:
            return  # settled by `close` meanwhile
        batch.in_flight = False
        if isinstance(result, Rejected) and result.code == DUPLICATE_SEQUENCE_NUMBER:
            result = Acked(result.broker, result.offset)  # old brokers: it is there, the offset is forgotten
        attempt = describe(result, batch.profile.acks, batch.sent_at, now)
        batch.history += (attempt,)
        self._listener.on_attempt(self.name, batch, attempt)
        if batch.acked or attempt.outcome is AttemptOutcome.ACKED:
            self._round_trip.measure(attempt.duration)
            self._acked(batch, result, now)
        elif isinstance(result, Unacknowledged):
            self._handed_over(batch, now)
        elif isinstance(result, Rejected):
            self._rejected(batch, result, now)
        else:
            self._retry_or_give_up(batch, now)

    def _acked(self, batch: Batch, result: AttemptResult, now: float) -> None:
        self.sequence.advance(batch.stamp, len(batch.entries))
        if not batch.acked and isinstance(result, Acked):
            self._settle_acked(batch, result, now)
        self.batch = None  # only now: whoever is told may try to withdraw another record of it
        self._listener.on_batch_ended(batch.entries)

    def _settle_acked(self, batch: Batch, ack: Acked, now: float) -> None:
        entries, (topic, partition), appended = batch.entries, self.name, ack.timestamp
        attempts, status = len(batch.history), PersistenceStatus.PERSISTED
        offsets: Iterable[int | None] = repeat(None, len(entries))
        if ack.offset >= 0:
            offsets = range(ack.offset, ack.offset + len(entries))
            self._last_acked = offsets[-1]
        deliveries = []
        for entry, offset in zip(entries, offsets, strict=True):
            timestamp = appended or entry.record.timestamp or 0
            fields = (topic, partition, offset, timestamp, entry.event_id, attempts, now - entry.started, status)
            deliveries.append(new_delivery(fields))
        self._listener.on_acked(entries, deliveries)

    def _handed_over(self, batch: Batch, now: float) -> None:
        """acks=0: nobody will answer; whether it was appended stays open, and is no error."""
        topic, partition = self.name
        attempts, status = len(batch.history), PersistenceStatus.POSSIBLY_PERSISTED
        for entry in batch.live():  # to the others it would be no news
            timestamp, elapsed = entry.record.timestamp or 0, now - entry.started
            delivery = Delivery(topic, partition, None, timestamp, entry.event_id, attempts, elapsed, status)
            self._listener.on_outcome(entry, delivery)
        self.batch = None
        self._listener.on_batch_ended(batch.entries)

    def _rejected(self, batch: Batch, result: Rejected, now: float) -> None:
        action = lookup(result.code).action
        if action is Action.RETRY:
            self._retry_or_give_up(batch, now)
        elif action is Action.NEW_EPOCH:
            self._new_epoch(batch, now)
        elif batch.frozen:
            self._give_up(batch, "rejected", now)
        elif action is Action.FAIL:
            self._fail(batch, result, now)
        else:
            self._narrow(batch, action, result, now)

    def _new_epoch(self, batch: Batch, now: float) -> None:
        """The broker remembers another sequence for this partition than we do (45, 47, 59)."""
        if batch.frozen:
            self._give_up(batch, "fenced", now)
            return
        self.sequence.bump(batch.stamp)
        self._retry_or_give_up(batch, now)

    def _retry_or_give_up(self, batch: Batch, now: float) -> None:
        if batch.frozen and not (batch.profile.idempotence or batch.profile.allow_duplicates):
            self._give_up(batch, "no_retry", now)
            return
        attempts = len(batch.history) - batch.narrowings
        tried = retry.Tried(attempts, batch.history[0].started, batch.waited, self._would_be(batch, now))
        pause = retry.pause(batch.profile.retry, tried, now)
        if pause is None:
            self._give_up(batch, "attempts", now)
            return
        batch.waited += pause
        batch.resume_at = now + pause
        if not batch.frozen:
            self._put_back(batch)

    def _would_be(self, batch: Batch, now: float) -> PublishError:
        entry = next(iter(batch.live()), batch.entries[0])
        return self._ending(batch.history, now).gave_up(entry, "attempts")

    # --- narrowing (rule 6) --------------------------------------------------------

    def _narrow(self, batch: Batch, action: Action, result: Rejected, now: float) -> None:
        """Find the guilty record. Uses up no attempt, waits for nothing, never refills."""
        batch.narrowings += 1
        if action is Action.BISECT:
            self._limit.refused(batch.size if len(batch.entries) == 1 else batch.size // 2)
        if action is Action.RESEND_ONCE and not self._corrupt_twice(batch, result.code):
            self._put_back(batch)
        elif action is Action.EXCLUDE and any(0 <= i < len(batch.entries) for i, _ in result.record_errors):
            self._exclude(batch, result, now)
        elif len(batch.entries) > 1:
            self._put_back(*batch.halves())
        else:
            self._fail(batch, result, now)

    @staticmethod
    def _corrupt_twice(batch: Batch, code: int) -> bool:
        return sum(attempt.kafka_code == code for attempt in batch.history) >= _CORRUPT_TWICE

    def _exclude(self, batch: Batch, result: Rejected, now: float) -> None:
        """Fail the records that the broker named; the others go on."""
        guilty = dict(result.record_errors)
        ending = self._ending(batch.history, now)
        good: list[Entry] = []
        bad: list[tuple[Entry, PublishError]] = []
        for i, entry in enumerate(batch.entries):
            if i in guilty:
                bad.append((entry, ending.rejected(entry, result.code, guilty[i] or result.message)))
            else:
                good.append(entry)
        self._put_back(*([batch.cut_anew(good)] if good else ()))
        self._end(batch, bad)

    def _put_back(self, *batches: Batch) -> None:
        """Queue clean batches to be cut anew, in order, before everything else."""
        self.batch = None
        self.pieces.extendleft(reversed(batches))

    # --- ends without an acknowledgement -------------------------------------------

    def refuse(self, refusal: Rejected, profile: DeliveryProfile, now: float) -> None:
        """Fail what goes next, if it is of *profile*: the transport says that waiting to write it will not help."""
        if not self._still(profile, now):
            return
        batch = self.batch or self._pick(profile, now)
        if batch is None:
            return
        if batch.frozen:
            self._give_up(batch, "rejected", now)
        else:
            self._fail(batch, refusal, now)

    def unencodable(self, batch: Batch, error: Exception, now: float) -> None:
        """The batch taken last has no form on the wire: find the guilty record."""
        batch.in_flight = False
        if len(batch.entries) > 1:
            self._put_back(*batch.halves())
            return
        entry = batch.entries[0]
        self._end(batch, [(entry, self._ending(batch.history, now).unencodable(entry, error))])

    def _fail(self, batch: Batch, result: Rejected, now: float) -> None:
        ending = self._ending(batch.history, now)
        said = dict(result.record_errors).get(0) or result.message
        self._end(batch, [(entry, ending.rejected(entry, result.code, said)) for entry in batch.entries])

    def _give_up(self, batch: Batch, reason: DoubtReason, now: float) -> None:
        """End a batch, stamped or not, as its history says; what was in doubt costs an epoch (rule 5)."""
        ending = self._ending(batch.history, now)
        if batch.frozen:
            self.sequence.bump(batch.stamp)
            self._listener.on_abandoned(self.name, batch)
        self._end(batch, [(entry, ending.gave_up(entry, reason)) for entry in batch.entries])

    def _end(self, batch: Batch, endings: list[tuple[Entry, PublishError]]) -> None:
        """End records of *batch*, and with them the batch itself if it was the stamped one."""
        held = []
        for entry, outcome in endings:
            if entry.batch is not batch:
                continue  # released before, or by somebody who was just told of another one
            held.append(entry)
            # Whoever was told "possibly persisted" at the end of his budget learns nothing
            # new from hearing it again; that it was not, is news.
            if not entry.ended or outcome.status is PersistenceStatus.NOT_PERSISTED:
                self._listener.on_outcome(entry, outcome)
        if batch is self.batch:
            self.batch = None
        self._listener.on_batch_ended(held)

    def _ending(self, history: tuple[Attempt, ...], now: float) -> Ending:
        return Ending(*self.name, history, now)

    # --- budgets, cancellation, late answers, close --------------------------------

    def holds(self, entry: Entry) -> bool:
        """Whether *entry* is in the stamped batch: it can no longer be taken out (rule 10)."""
        return entry.batch is not None and entry.batch is self.batch

    def release(self, entry: Entry) -> bool:
        """Let go of *entry*, which ends before its batch does, unless it is in the stamped batch."""
        if self.holds(entry):
            return False
        if entry.batch is None:
            self.queue.note_ended()
            self.queued_bytes -= entry.size
        entry.batch = None
        return True

    def interrupted(
        self, entry: Entry, reason: Literal["budget", "drain"], now: float, problems: tuple[str, ...] = ()
    ) -> PublishError:
        """Return what *entry*'s caller is told if it ends now for *reason*; its batch may live on."""
        history = () if entry.batch is None else entry.batch.history_at(now)
        return Ending(*self.name, history, now, problems).gave_up(entry, reason)

    def stop_lingering(self) -> None:
        """Send what is queued as soon as it can be written."""
        self._linger_until = 0.0

    def late(self, wire: WireBatch, result: Acked | Rejected, now: float) -> bool:
        """Take in an answer that came after its attempt had ended in doubt; whether its batch was still alive."""
        batch = self.batch
        if batch is None or batch.wire is not wire or batch.acked:
            return False
        attempt = describe(result, batch.profile.acks, batch.sent_at, now)
        batch.history = _resolved(batch.history, attempt)
        if attempt.outcome is AttemptOutcome.ACKED:
            self._late_ack(batch, result, now)
        elif not batch.in_flight and not batch.frozen:
            self._put_back(batch)
        return True

    def _late_ack(self, batch: Batch, result: Acked | Rejected, now: float) -> None:
        if not batch.in_flight:
            self._acked(batch, result, now)
        elif isinstance(result, Acked):
            # A resend is on its way: callers are told now, the partition waits for its answer,
            # which can only be the same acknowledgement.
            batch.acked = True
            self._settle_acked(batch, result, now)

    def close(self, now: float) -> None:
        """End everything that is left, each as its history says."""
        ending = self._ending((), now)
        if (batch := self.batch) is not None:
            self._end(batch, [(entry, self.interrupted(entry, "drain", now)) for entry in batch.entries])
        while self.pieces:
            self._give_up(self.pieces.popleft(), "drain", now)
        for entry in self.queue.drain():
            self._listener.on_outcome(entry, ending.unavailable(entry, "drain"))


def _resolved(history: tuple[Attempt, ...], answer: Attempt) -> tuple[Attempt, ...]:
    """Return *history* with its oldest attempt in doubt replaced by what its answer said."""
    for i, attempt in enumerate(history):
        if attempt.outcome is AttemptOutcome.IN_DOUBT:
            return (*history[:i], answer, *history[i + 1 :])
    return history
