"""Batches that an earlier replay had begun and not ended: settled before anything else is sent.

Decides when the very same bytes are sent again, and when only reading the log can tell. A broker
knows a batch by producer id, epoch and sequence, also in another process, for as long as it remembers
the producer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from eventpub._rules.attempts import judge
from eventpub._rules.codes import Action, lookup
from eventpub.abc import Acked, NotSent, Rejected
from eventpub.deadletter.replaying.journalling import as_ack, replayed
from eventpub.deadletter.replaying.verify import Present, Untold
from eventpub.delivery import AttemptOutcome
from eventpub.envelope import wall_clock
from eventpub.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from eventpub.abc import AttemptResult, Transport
    from eventpub.deadletter.replaying.storage import Storage
    from eventpub.deadletter.replaying.verify import Evidence
    from eventpub.deadletter.spooling.journal import JournalBatch
    from eventpub.letter import DeadLetter, Resolution

REMEMBERED = 3600.0
"""Seconds for which a resend is safe. Brokers remember a producer for a day (producer.id.expiration.ms)."""

_REQUEST_TIMEOUT = 10.0
_PAUSE = 0.2


class Undecided(NamedTuple):
    """A batch that nobody can tell about: it stays in the journal."""

    batch: JournalBatch
    reason: str


class Recovery:
    """Settles unfinished batches, one after the other, in the order in which they were begun.

    Args:
        transport: that is started.
        storage: where the batches stand, and what reads partitions.
        letters: those of all the batches, by id, as far as they are still there.
    """

    def __init__(self, transport: Transport, storage: Storage, letters: Mapping[str, DeadLetter]) -> None:
        self._transport = transport
        self._storage = storage
        self._letters = letters
        self._loop = asyncio.get_running_loop()

    async def settle(self, batch: JournalBatch, timeout: float) -> list[Resolution] | Undecided:
        """Return what became of the letters of *batch*, which is then done.

        Raises:
            TimeoutError: the brokers gave no answer that settles it within *timeout* seconds.
        """
        if not batch.intact:
            return Undecided(batch, "its entry in the journal is damaged")
        if wall_clock() / 1e9 - batch.begun_at < REMEMBERED:
            ack = await self._resend(batch, self._loop.time() + timeout)
            if ack is not None:
                return await self._done(batch, replayed(self._of(batch), batch.partition.partition, ack))
        return await self._read(batch)

    async def _resend(self, batch: JournalBatch, deadline: float) -> Acked | None:
        """Return the acknowledgement, or ``None`` if the broker refuses to say."""
        while True:
            result = await self._attempt(batch, deadline)
            if (ack := as_ack(result)) is not None:
                return ack
            if _final(result):
                # Refused for what a broker remembers, so would be a copy that is still on its way.
                # Refused for anything else, that copy may yet be taken: its time has to be over.
                fenced = isinstance(result, Rejected) and lookup(result.code).action is Action.NEW_EPOCH
                await asyncio.sleep(0 if fenced else 2 * _REQUEST_TIMEOUT)
                return None
            if self._loop.time() + _PAUSE >= deadline:
                raise TimeoutError(f"{batch.partition}: no broker told what became of a batch that was begun earlier")
            await asyncio.sleep(_PAUSE)

    async def _attempt(self, batch: JournalBatch, deadline: float) -> AttemptResult:
        try:
            async with asyncio.timeout_at(deadline):
                refusal = await self._transport.ready(batch.partition, "all")
        except TimeoutError as error:
            return NotSent(None, error)
        if refusal is not None:
            return refusal
        limit = min(deadline, self._loop.time() + _REQUEST_TIMEOUT)
        return await self._transport.produce(batch.partition, batch.wire, "all", limit)

    async def _read(self, batch: JournalBatch) -> list[Resolution] | Undecided:
        letters = [letter for letter in self._of(batch) if letter is not None]
        if len(letters) < len(batch.letters):
            return Undecided(batch, "letters of it were purged")
        try:
            evidence = await self._storage.search_in(batch.partition, letters)
        except ConfigurationError as error:
            return Undecided(batch, f"the broker does not remember it, and its log cannot be read: {error}")
        untold = next((found for found in evidence.values() if isinstance(found, Untold)), None)
        if untold is not None:
            return Undecided(batch, untold.reason)
        return await self._done(batch, _present(letters, evidence))

    async def _done(self, batch: JournalBatch, resolutions: list[Resolution]) -> list[Resolution]:
        await self._storage.done(batch, resolutions)
        return resolutions

    def _of(self, batch: JournalBatch) -> Sequence[DeadLetter | None]:
        return [self._letters.get(letter_id) for letter_id in batch.letters]


def _present(letters: Iterable[DeadLetter], evidence: Mapping[str, Evidence]) -> list[Resolution]:
    found: list[Resolution] = []
    for letter in letters:
        where = evidence[letter.id]
        if isinstance(where, Present):
            found += replayed([letter], where.partition, Acked(None, where.offset))
    return found


def _final(result: AttemptResult) -> bool:
    """Whether sending the batch again cannot settle it."""
    if not isinstance(result, Rejected) or judge(result, "all") is not AttemptOutcome.NOT_APPENDED:
        return False
    return lookup(result.code).action is not Action.RETRY
