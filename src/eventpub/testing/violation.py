"""What must hold between a ledger and a log, and a finding that it did not."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Invariant(enum.Enum):
    """What holds of every run, whatever was broken in it. The numbers are those of the fault matrix."""

    I1 = "an acknowledged event is in the log once, where the broker said, unchanged"
    I2 = "no event is in the log twice"
    I3 = "the log holds nothing that nobody published"
    I4 = "what was told not persisted, or withdrawn, is not in the log"
    I5 = "a dead letter lies where it was said, once, unchanged, and says of the log what is true"
    I6 = "every call has exactly one outcome, and everybody is told the same"
    I7 = "the log keeps the order of the calls"
    I8 = "a publish ends within its budget (and that of its dead letter) + 250 ms, a close within its timeout + 1 s"
    I9 = "the buffer stays within its limits, and is empty after the close"
    I10 = "nothing outlives the close"
    I11 = "what is published after the faults are gone arrives soon"
    I12 = "no payload and no secret shows in a message"
    I13 = "what lands after a close had been reported possibly persisted"
    I15 = "no more is possibly persisted than the fault explains"


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding: which invariant, of which event, and what shows it."""

    invariant: Invariant
    evidence: str
    event_id: str | None = None
    topic: str | None = None

    def __str__(self) -> str:
        of = f" {self.event_id}" if self.event_id else ""
        return f"{self.invariant.name}{of}: {self.evidence} ({self.invariant.value})"
