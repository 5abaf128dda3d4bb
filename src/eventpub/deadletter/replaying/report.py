"""What a replay has done, letter by letter where it did not simply go through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from eventpub.letter import DeadLetter


class LetterNote(NamedTuple):
    """One letter, and a sentence about it. Holds no key and no payload."""

    id: str
    topic: str
    event_id: str | None
    event_type: str | None
    text: str

    @classmethod
    def about(cls, letter: DeadLetter, text: str) -> LetterNote:
        """Return a note about *letter*."""
        return cls(letter.id, letter.record.topic, letter.event_id, letter.event_type, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What a replay has done, or would do.

    Attributes:
        replayed: how many letters were acknowledged, those among them that an earlier run had begun.
        persisted: how many were found in the log already, and need no replay any more.
        would_replay: of a dry run: the letters that would be sent.
        refused: letters that the brokers did not take, each with the error; they stay.
        left_out: letters that were meant by the filters and were not sent, each with the reason.
        unfinished: how many batches the next run has to settle first.
        unreadable: how many entries of the source nobody can read.
        unpublished: how many notes about letters did not reach the dead-letter topic; the journal has
            them, and the next run publishes them again.
        stopped: why the replay ended before all letters had their turn, ``None`` if it did not.
    """

    replayed: int = 0
    persisted: int = 0
    would_replay: tuple[LetterNote, ...] = ()
    refused: tuple[LetterNote, ...] = ()
    left_out: tuple[LetterNote, ...] = ()
    unfinished: int = 0
    unreadable: int = 0
    unpublished: int = 0
    stopped: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every letter that was meant is where it belongs."""
        return not (self.refused or self.left_out or self.unfinished or self.stopped)

    def __str__(self) -> str:
        counts = {
            "to be replayed": len(self.would_replay),
            "replayed": self.replayed,
            "found in the log": self.persisted,
            "refused": len(self.refused),
            "left out": len(self.left_out),
            "batches unfinished": self.unfinished,
            "unreadable": self.unreadable,
        }
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
        return told if self.stopped is None else f"{told}; stopped: {self.stopped}"


class Tally:
    """A `ReplayReport` in the making."""

    def __init__(self) -> None:
        self.replayed = self.persisted = self.unfinished = self.unreadable = self.unpublished = 0
        self.would_replay: list[LetterNote] = []
        self.refused: list[LetterNote] = []
        self.left_out: list[LetterNote] = []
        self.stopped: str | None = None

    def report(self) -> ReplayReport:
        """Return it as of now."""
        return ReplayReport(
            replayed=self.replayed,
            persisted=self.persisted,
            would_replay=tuple(self.would_replay),
            refused=tuple(self.refused),
            left_out=tuple(self.left_out),
            unfinished=self.unfinished,
            unreadable=self.unreadable,
            unpublished=self.unpublished,
            stopped=self.stopped,
        )
