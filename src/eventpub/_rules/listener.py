"""What a partition tells of its records, its batches and its attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpub._rules.batch import Batch
    from eventpub._rules.entry import Entry
    from eventpub.abc import TopicPartition
    from eventpub.delivery import Attempt, Delivery
    from eventpub.exceptions import PublishError


class PartitionListener(Protocol):
    """Whom a partition tells. Plain calls, in the order of the records."""

    def on_outcome(self, entry: Entry, outcome: Delivery | PublishError, /) -> None:
        """*entry* came to *outcome*; where its caller was told another one before, this one is late."""

    def on_acked(self, entries: Sequence[Entry], deliveries: Sequence[Delivery], /) -> None:
        """All of a batch were acknowledged: `on_outcome` for many, one delivery for each entry."""

    def on_batch_ended(self, entries: list[Entry], /) -> None:
        """A batch holds its records no longer: what they took of the buffer is free."""

    def on_attempt(self, partition: TopicPartition, batch: Batch, attempt: Attempt, /) -> None:
        """An attempt came to its end."""

    def on_abandoned(self, partition: TopicPartition, batch: Batch, /) -> None:
        """A batch in doubt was given up; an answer may still come."""
