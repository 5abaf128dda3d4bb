"""Batches given up in doubt: what an answer that still comes says of their records."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from eventpub._rules.attempts import judge
from eventpub._rules.failures import Ending
from eventpub.abc import Acked
from eventpub.delivery import AttemptOutcome, Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventpub._rules.batch import Batch
    from eventpub._rules.entry import Entry
    from eventpub.abc import Rejected, TopicPartition, WireBatch
    from eventpub.exceptions import PublishError

_MOST_BYTES = 4 * 1024 * 1024


class AbandonedBatches:
    """The youngest of them, up to 4 MiB. Their room was given back: what is kept has a bound of its own (rule 9).

    Args:
        tell: called with each record's late outcome.
    """

    def __init__(self, tell: Callable[[Entry, Delivery | PublishError], None]) -> None:
        self._tell = tell
        self._batches: OrderedDict[WireBatch, Batch] = OrderedDict()
        self._bytes = 0

    def add(self, batch: Batch) -> None:
        """Keep *batch*, if it was ever encoded."""
        if batch.wire is not None:
            self._batches[batch.wire] = batch
            self._bytes += batch.size
        while self._bytes > _MOST_BYTES and len(self._batches) > 1:
            self._bytes -= self._batches.popitem(last=False)[1].size

    def answer(self, partition: TopicPartition, wire: WireBatch, result: Acked | Rejected, now: float) -> None:
        """Tell what *result*, which came for *wire*, says; nothing if it is not known any more."""
        batch = self._batches.pop(wire, None)
        if batch is None:
            return
        self._bytes -= batch.size
        attempts = len(batch.history)
        if isinstance(result, Acked):
            for offset, entry in enumerate(batch.entries, result.offset):
                timestamp = result.timestamp or entry.record.timestamp or 0
                elapsed = now - entry.started
                self._tell(entry, Delivery(*partition, offset, timestamp, entry.event_id, attempts, elapsed))
        elif attempts == 1 and judge(result, batch.profile.acks) is AttemptOutcome.NOT_APPENDED:
            ending = Ending(*partition, batch.history, now)
            for entry in batch.entries:
                self._tell(entry, ending.rejected(entry, result.code, result.message))
