"""A publisher's counters at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """Counters since the publisher was made, and what is unconfirmed now.

    Attributes:
        unconfirmed: events in the buffer now.
        unconfirmed_bytes: bytes they take of it.
        waiting_for_room: publishes that wait for room now.
        persisted: outcomes *persisted*.
        not_persisted: outcomes *not persisted*.
        possibly_persisted: outcomes *possibly persisted*, ``acks=0`` included.
        withdrawn: publishes cancelled before anything was sent.
        late_outcomes: answers that came after their caller had been told otherwise.
        attempts: Produce attempts, one per batch and try.
        failed_attempts: those that were not acknowledged.
        epoch_bumps: partitions moved to a new producer epoch.
        mixed_cuts: batches ended early because the next record has another profile.
        dead_letters_written: events kept by a sink.
        dead_letters_failed: events that no sink took.
    """

    unconfirmed: int
    unconfirmed_bytes: int
    waiting_for_room: int
    persisted: int
    not_persisted: int
    possibly_persisted: int
    withdrawn: int
    late_outcomes: int
    attempts: int
    failed_attempts: int
    epoch_bumps: int
    mixed_cuts: int
    dead_letters_written: int = 0
    dead_letters_failed: int = 0
