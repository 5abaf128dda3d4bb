"""How many events came to which outcome, and how many attempts that took."""

from __future__ import annotations

from dataclasses import dataclass

from eventpub.delivery import PersistenceStatus


@dataclass(slots=True)
class Counters:
    """Counts since the publisher was opened; `eventpub.statistics.PublisherStatistics` says what each means."""

    persisted: int = 0
    not_persisted: int = 0
    possibly_persisted: int = 0
    withdrawn: int = 0
    late_outcomes: int = 0
    attempts: int = 0
    failed_attempts: int = 0

    def count(self, status: PersistenceStatus) -> None:
        """Count an event's outcome."""
        # Not a dict by status: an enum's hash costs more than all of this.
        if status is PersistenceStatus.PERSISTED:
            self.persisted += 1
        elif status is PersistenceStatus.NOT_PERSISTED:
            self.not_persisted += 1
        else:
            self.possibly_persisted += 1
