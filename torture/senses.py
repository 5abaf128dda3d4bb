"""Feels a fault by what it does to the publisher, where nothing else counts its effects."""

from __future__ import annotations

from collections import Counter

from eventpub import AttemptOutcome, Delivery, RejectedError
from eventpub.abc import AttemptDetails, OutcomeDetails

SLOW = 0.25
"""Seconds beyond which an outcome on this machine is no accident."""

_FAILED = (AttemptOutcome.NOT_APPENDED, AttemptOutcome.IN_DOUBT)
_OF_A_RECORD = (10, 18, 32, 87)  # episodes publish records that brokers refuse, fault or not


class Senses:
    """A hook that counts attempts that failed, attempts that a broker refused, and outcomes that took long."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def on_attempt(self, details: AttemptDetails) -> None:
        """Count what went wrong, by the broker's code too."""
        attempt = details.attempt
        if attempt.kafka_code in _OF_A_RECORD:
            self.counts["refused"] += 1
            return
        if attempt.outcome in _FAILED or attempt.duration > SLOW:
            self.counts["felt"] += 1
        if attempt.kafka_code is not None:
            self.counts["refused"] += 1
        elif attempt.outcome in _FAILED:
            self.counts["lost"] += 1

    def on_outcome(self, details: OutcomeDetails) -> None:
        """Count who waited, or waited in vain."""
        outcome = details.outcome
        if isinstance(outcome, RejectedError):
            return
        if not isinstance(outcome, Delivery) or outcome.elapsed > SLOW:
            self.counts["felt"] += 1
