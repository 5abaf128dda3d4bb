"""What a replay does with one letter: sends it, looks for it first, or leaves it out, and why.

Decides by the letter alone; what looking for it tells is decided in ``verify``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from eventpub.deadletter.replaying.verify import settled_at
from eventpub.delivery import PersistenceStatus

if TYPE_CHECKING:
    from eventpub.deadletter.spooling.store import StoredLetter


class Send(NamedTuple):
    """It is safe to send, or was asked for."""


class Verify(NamedTuple):
    """Its partition has to be read first."""


class LeaveOut(NamedTuple):
    """It stays where it is."""

    reason: str


Plan = Send | Verify | LeaveOut


class Policy(NamedTuple):
    """What the operator allows.

    Attributes:
        include_possibly: to send what may be in the log, unverified.
        verify: to look for it.
        max_replays: how many replays of a letter may have failed.
        named: ids for which that number does not count.
    """

    include_possibly: bool
    verify: bool
    max_replays: int
    named: Collection[str] = ()

    def plan(self, stored: StoredLetter, now: float) -> Plan:
        """Return what to do with *stored* at *now* (seconds since the epoch)."""
        letter = stored.letter
        if letter.replays >= self.max_replays and letter.id not in self.named:
            plural = "" if letter.replays == 1 else "s"
            return LeaveOut(f"{letter.replays} replay{plural} of it failed; name its id to try again")
        doubt = _doubt(stored)
        if doubt is None:
            return Send()
        if self.verify:
            early = (settled_at(letter) or 0) - now
            return Verify() if early <= 0 else LeaveOut(f"{doubt}; it is too early to look for it: in {early:.0f} s")
        return Send() if self.include_possibly else LeaveOut(f"{doubt}; verify, or include what is possibly persisted")


def _doubt(stored: StoredLetter) -> str | None:
    """Return why a replay could write the event twice, ``None`` if it could not."""
    if stored.status is PersistenceStatus.POSSIBLY_PERSISTED:
        return "it may be in the log"
    other = stored.letter.doubtful_in
    return None if other is None else f"{other} may have it too"
