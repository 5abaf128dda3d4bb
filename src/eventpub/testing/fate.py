"""Everything that was said of one call, folded into what the log may hold of it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

from eventpub.testing.ledger import Hearing, Intent, Ledger, Said, Voice, Word


class Claim(enum.Enum):
    """How often the log has to hold an event."""

    ONCE = "once"
    PERHAPS = "perhaps"
    NEVER = "never"


@dataclass(slots=True)
class Fate:
    """One intent and all that the three voices said of it."""

    intent: Intent
    heard_by_hooks: bool
    call: list[Said] = field(default_factory=list)
    hook: list[Said] = field(default_factory=list)
    late: list[Said] = field(default_factory=list)

    @property
    def hooks_tell(self) -> bool:
        """Whether a hook would have told an outcome of this call."""
        return self.heard_by_hooks and self.intent.event_id is not None

    @property
    def verdicts(self) -> list[Said]:
        """What was said in words about the log, the caller's before the hooks'."""
        return [said for said in (*self.call, *self.hook) if said.word is not Word.CANCELLED]

    @property
    def word(self) -> Word | None:
        """The first verdict, else *cancelled* if the call was; ``None`` while it is open."""
        said = next(iter((*self.verdicts, *self.call)), None)
        return None if said is None else said.word

    @property
    def withdrawn(self) -> bool:
        """Whether it was cancelled and nothing came of it, as hooks would have told."""
        return self.word is Word.CANCELLED and self.hooks_tell

    @property
    def claim(self) -> Claim:
        """What the log has to hold, after the late outcomes too."""
        words = {self.word} | {said.word for said in self.late if self.word is Word.POSSIBLY_PERSISTED}
        if Word.PERSISTED in words:
            return Claim.ONCE
        if Word.NOT_PERSISTED in words or self.withdrawn:
            return Claim.NEVER
        return Claim.PERHAPS

    @property
    def where(self) -> tuple[int, int] | None:
        """Partition and offset that were named, if any were."""
        for said in (*self.call, *self.hook, *self.late):
            if said.partition is not None and said.offset is not None:
                return said.partition, said.offset
        return None

    def __str__(self) -> str:
        return f"call {self.intent.number} ({self.word.value if self.word else 'open'})"


def fates(ledger: Ledger) -> list[Fate]:
    """Return the fate of every intent of *ledger*, in the order of the calls."""
    heard = any(isinstance(entry, Hearing) for entry in ledger.entries)
    found = {entry.number: Fate(entry, heard) for entry in ledger.entries if isinstance(entry, Intent)}
    for said in _said(ledger):
        if said.number in found:
            fate = found[said.number]
            {Voice.CALL: fate.call, Voice.HOOK: fate.hook, Voice.LATE: fate.late}[said.voice].append(said)
    return list(found.values())


def _said(ledger: Ledger) -> Iterable[Said]:
    return (entry for entry in ledger.entries if isinstance(entry, Said))
