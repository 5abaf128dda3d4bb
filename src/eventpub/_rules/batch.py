"""A run of consecutive records of one profile that is sent, judged and ended together."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from eventpub._rules.attempts import in_doubt
from eventpub.abc import UNSTAMPED
from eventpub.delivery import Attempt, AttemptOutcome

if TYPE_CHECKING:
    from eventpub._rules.entry import Entry
    from eventpub.abc import Stamp, WireBatch
    from eventpub.profile import DeliveryProfile
    from eventpub.record import Record

BATCH_OVERHEAD = 61  # header of a record batch, magic 2
_LEAST_PATIENCE = 1.0  # seconds for an answer, if there are as many
_DEADLINE, _SIZE = attrgetter("deadline"), attrgetter("size")
_TRIES = 3  # unanswered ones that a budget has room for


class Batch:
    """Records cut together, with the history of every attempt to deliver them.

    While the history is clean the batch may be cut anew without some of its records, but
    is never refilled. Once in doubt it is frozen: the broker compares nothing but producer
    id, epoch and sequence, and answers *success* for other bytes under the same ones.

    Attributes:
        after: the last offset that was acknowledged in its partition before it was stamped, ``None`` if none was.
        wire: the encoded bytes of the last cut, ``None`` before the first.
        in_flight: whether an attempt is unanswered.
        life: when the last of its records' budgets ends.
        acked: whether an answer that came late has settled it while a resend is in flight.
        narrowings: how many attempts only served to find a guilty record; the retry policy does not count them.
        resume_at: when its back-off ends.
        size: bytes before compression.
        waited: seconds spent backing off between attempts.
    """

    __slots__ = (
        "_positions",
        "acked",
        "after",
        "entries",
        "history",
        "in_flight",
        "life",
        "narrowings",
        "profile",
        "resume_at",
        "sent_at",
        "size",
        "stamp",
        "waited",
        "wire",
    )

    def __init__(
        self,
        entries: list[Entry],
        profile: DeliveryProfile,
        history: tuple[Attempt, ...] = (),
        waited: float = 0.0,
    ) -> None:
        self.profile = profile
        self.history = history
        self.waited = waited
        self.stamp: Stamp = UNSTAMPED
        self.wire: WireBatch | None = None
        self.in_flight = False
        self.acked = False
        self.narrowings = 0
        self.resume_at = 0.0
        self.sent_at = 0.0
        self.after: int | None = None
        self._hold(entries)

    def _hold(self, entries: list[Entry]) -> None:
        self.entries = entries
        self._positions: dict[Entry, int] = {}
        for entry in entries:
            entry.batch = self
        self.size = BATCH_OVERHEAD + sum(map(_SIZE, entries))
        self.life = max(map(_DEADLINE, entries), default=0.0)

    @property
    def records(self) -> list[Record]:
        """What is encoded."""
        return [entry.record for entry in self.entries]

    @property
    def frozen(self) -> bool:
        """Whether an attempt may have been appended without our hearing of it (rule 2)."""
        return in_doubt(self.history)

    def history_at(self, now: float) -> tuple[Attempt, ...]:
        """Return the history, with an unanswered attempt as what it is *now*: in doubt."""
        if not self.in_flight:
            return self.history
        unanswered = Attempt(self.sent_at, now - self.sent_at, None, AttemptOutcome.IN_DOUBT, detail="unanswered")
        return (*self.history, unanswered)

    def attempt_deadline(self, now: float) -> float:
        """Return when an attempt that starts now must have ended.

        While nobody has set ``request_timeout``, a batch that may safely be sent again waits for one
        answer no longer than a third of its time: an answer that was lost must not use up all of it.
        """
        patience = self.profile.request_timeout
        if self.profile.resends_early:
            first = self.history[0].started if self.history else now
            patience = min(patience, max(_LEAST_PATIENCE, (self.life - first) / _TRIES))
        return min(now + patience, self.life)

    def live(self) -> list[Entry]:
        """Return the records whose callers still wait."""
        return [entry for entry in self.entries if not entry.ended]

    def position(self, entry: Entry) -> int:
        """Return which of its records *entry* is, from 0."""
        if not self._positions:
            self._positions = {each: i for i, each in enumerate(self.entries)}
        return self._positions[entry]

    def keep_only(self, entries: list[Entry]) -> None:
        """Go on with some of its records, at new places. Only while clean, and before it is stamped again."""
        self.wire = None
        self._hold(entries)

    def cut_anew(self, entries: list[Entry]) -> Batch:
        """Return a batch of some of its records that inherits the history. Only while clean."""
        batch = Batch(entries, self.profile, self.history, self.waited)
        batch.narrowings = self.narrowings
        return batch

    def halves(self) -> tuple[Batch, Batch]:
        """Return two batches of its records, in order."""
        middle = len(self.entries) // 2
        return self.cut_anew(self.entries[:middle]), self.cut_anew(self.entries[middle:])
