"""A transport that notes each batch before it is sent, and what came of it before anybody else learns it.

Decides when an entry of the journal begins and ends. An entry that is left says: this batch may
have been written, and nothing else of its partition after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub._rules.attempts import judge
from eventpub._rules.codes import DUPLICATE_SEQUENCE_NUMBER
from eventpub.abc import Acked, NotSent, Rejected, TopicPartition
from eventpub.delivery import AttemptOutcome
from eventpub.envelope import wall_clock
from eventpub.exceptions import DeadLetterError
from eventpub.letter import Resolution

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventpub.abc import (
        Acks,
        AttemptResult,
        Compression,
        ProducerId,
        Stamp,
        Transport,
        TransportListener,
        WireBatch,
    )
    from eventpub.deadletter.replaying.worker import Worker
    from eventpub.deadletter.spooling.journal import Journal
    from eventpub.letter import DeadLetter
    from eventpub.record import Record


class ReplayStoppedError(ConnectionError):
    """Why a batch was not sent: the replay has stopped."""


def as_ack(result: AttemptResult) -> Acked | None:
    """Return *result* as the acknowledgement it amounts to, if it does."""
    if isinstance(result, Rejected) and result.code == DUPLICATE_SEQUENCE_NUMBER:
        return Acked(result.broker, result.offset)  # old brokers: it is there, the offset is forgotten
    return result if isinstance(result, Acked) else None


def replayed(letters: Sequence[DeadLetter | None], partition: int, ack: Acked) -> list[Resolution]:
    """Return what an acknowledged batch makes of its *letters*, whose offsets follow each other.

    ``None`` is one that was purged meanwhile.
    """
    now = wall_clock() / 1e9
    return [
        Resolution(
            id=letter.id,
            record=letter.record,
            verdict="replayed",
            at=now,
            partition=partition,
            offset=None if ack.offset < 0 else ack.offset + index,
        )
        for index, letter in enumerate(letters)
        if letter is not None
    ]


class JournallingTransport:
    """Wraps *inner*: what `produce` returns is in the journal before it returns.

    Late answers are not passed on. The engine then sends the batch again, the broker says
    that it has it, and there is only one way in which a batch ends.

    Attributes:
        letters: the letter behind each record that may be encoded now, by the record's identity.
        stopped: why nothing is sent any more.
        resolutions: of letters replayed so far, until somebody takes them.
    """

    def __init__(self, inner: Transport, journal: Journal, worker: Worker) -> None:
        self.letters: Mapping[int, DeadLetter] = {}
        self.stopped: str | None = None
        self.resolutions: list[Resolution] = []
        self._inner = inner
        self._journal = journal
        self._worker = worker
        self._contents: dict[WireBatch, list[DeadLetter]] = {}
        self._numbers: dict[WireBatch, int] = {}
        self._doubtful: dict[TopicPartition, WireBatch] = {}
        self._listener: TransportListener | None = None

    def stop(self, reason: str) -> None:
        """Send nothing any more. What is in flight comes to its end; the first reason counts."""
        self.stopped = self.stopped or reason

    def forget(self) -> None:
        """Forget batches that ended: all letters of now have their outcome."""
        self.letters = {}
        self._contents = {wire: self._contents[wire] for wire in self._numbers}

    # --- Transport -----------------------------------------------------------------

    async def start(self, listener: TransportListener, /) -> None:
        """Begin work."""
        self._listener = listener
        await self._inner.start(self)

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        """Leave it to the resend."""

    def on_partitions(self, topic: str, count: int, /) -> None:
        """Pass a new partition count on."""
        if self._listener is not None:
            self._listener.on_partitions(topic, count)

    async def aclose(self, deadline: float, /) -> None:
        """End every pending call with its value."""
        await self._inner.aclose(deadline)

    async def connected(self) -> None:
        """Return once a broker has answered."""
        await self._inner.connected()

    def problems(self) -> tuple[str, ...]:
        """Say why nothing could be written now."""
        return self._inner.problems()

    async def partitions(self, topic: str, /, *, fresh: bool = False) -> int | Rejected:
        """Return the topic's partition count."""
        return await self._inner.partitions(topic, fresh=fresh)

    def has_leader(self, partition: TopicPartition, /) -> bool:
        """Whether the partition's leader is known now."""
        return self._inner.has_leader(partition)

    async def producer_id(self, *, stale: int | None = None) -> ProducerId | Rejected:
        """Return this client's producer id."""
        return await self._inner.producer_id(stale=stale)

    async def ready(self, partition: TopicPartition, acks: Acks, /) -> Rejected | None:
        """Return when a batch could be written."""
        return await self._inner.ready(partition, acks)

    def encode(self, records: Sequence[Record], stamp: Stamp, compression: Compression, /) -> WireBatch:
        """Encode *records*, and remember whose they are."""
        batch = self._inner.encode(records, stamp, compression)
        self._contents[batch] = [self.letters[id(record)] for record in records]
        return batch

    async def produce(
        self, partition: TopicPartition, batch: WireBatch, acks: Acks, deadline: float, /
    ) -> AttemptResult:
        """Note *batch*, send it, and note what came of it."""
        if self._doubtful.get(partition, batch) is not batch:
            # Behind it would be before it, if it comes to its end by a later run.
            self.stop(f"{partition}: a batch before this one may have been written, and was given up")
        if self.stopped is not None:
            return NotSent(None, ReplayStoppedError(self.stopped))
        try:
            await self._begin(partition, batch)
            result = await self._inner.produce(partition, batch, acks, deadline)
            await self._note(partition, batch, result, judge(result, acks))
        except DeadLetterError as error:
            return self._lost_journal(partition, batch, error)
        return result

    async def _begin(self, partition: TopicPartition, batch: WireBatch) -> None:
        if batch not in self._numbers:
            ids = [letter.id for letter in self._contents[batch]]
            self._numbers[batch] = await self._worker.run(self._journal.begin, partition, batch, ids)

    async def _note(
        self, partition: TopicPartition, batch: WireBatch, result: AttemptResult, outcome: AttemptOutcome
    ) -> None:
        if (ack := as_ack(result)) is not None:
            resolutions = replayed(self._contents[batch], partition.partition, ack)
            await self._worker.run(self._journal.done, self._numbers.pop(batch), resolutions)
            self._doubtful.pop(partition, None)
            self.resolutions += resolutions
        elif outcome is not AttemptOutcome.NOT_APPENDED:
            self._doubtful[partition] = batch
        elif partition not in self._doubtful:
            # Before its numbers are used for others: an entry that was left would be sent again
            # under them, and the broker, which looks at nothing else, would say that it has it.
            await self._worker.run(self._journal.void, self._numbers.pop(batch))

    def _lost_journal(self, partition: TopicPartition, batch: WireBatch, error: DeadLetterError) -> NotSent:
        # It was not sent if its entry failed to begin; else the entry is left, the outcome is
        # unknown to the next run, and this one has ended.
        self.stop(f"the journal cannot be written: {error}")
        self._doubtful[partition] = batch
        return NotSent(None, error)
