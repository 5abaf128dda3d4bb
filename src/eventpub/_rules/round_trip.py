"""How long a partition's broker takes to answer, and so how much time an attempt must have before it (rule 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventpub._rules.entry import Entry

MIN_ATTEMPT = 0.05  # seconds an attempt must have before it, unless the whole budget is shorter
_LONGEST = 1.0  # seconds


class RoundTrip:
    """A moving average of what acknowledged attempts took, in seconds.

    Attributes:
        scarce: who has more time left than this need not be asked about.
    """

    __slots__ = ("_average", "scarce")

    def __init__(self) -> None:
        self._average = 0.0
        self.scarce = MIN_ATTEMPT

    def measure(self, took: float) -> None:
        """Take in what an acknowledged attempt took."""
        # What takes longer is no round trip but a wait for replicas: counted as one, a single
        # slow answer would keep short budgets from being tried for a long time.
        took, known = min(took, _LONGEST), self._average
        self._average = (3 * known + took) / 4 if known else took
        self.scarce = max(MIN_ATTEMPT, 2 * self._average)

    def least(self, entry: Entry) -> float:
        """Return how much time an attempt needs before it: what ends in the middle of one ends in doubt."""
        return min(self.scarce, (entry.deadline - entry.started) / 2)

    def spent(self, entry: Entry, now: float) -> bool:
        """Whether *entry* has no time left for an attempt."""
        return entry.deadline - now < self.least(entry)
