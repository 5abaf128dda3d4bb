"""I5: what was kept instead of delivered, compared with what was said of it and with the log.

Decides nothing about how letters are read: it is given all that lies in all sinks, in any order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from eventpub.delivery import PersistenceStatus
from eventpub.letter import DeadLetter, Resolution, Verdict
from eventpub.receipt import Receipt
from eventpub.testing.evidence import Event, Evidence, about, differences
from eventpub.testing.fate import Claim, Fate
from eventpub.testing.ledger import Kept, Said, Voice, Word, identity_of
from eventpub.testing.violation import Invariant, Violation

_WEAKEST_FIRST: tuple[Verdict | None, ...] = (None, "not persisted", "replayed", "persisted")
_FAILED = (Word.NOT_PERSISTED, Word.POSSIBLY_PERSISTED)


@dataclass(slots=True)
class Letter:
    """One dead letter: every copy that was read, and what was resolved of it."""

    id: str
    copies: list[DeadLetter] = field(default_factory=list)
    verdict: Verdict | None = None

    @property
    def event(self) -> tuple[str, str]:
        """Return the topic and the identity of its event."""
        record = self.copies[0].record
        return record.topic, identity_of(record.value, record.headers)

    @property
    def is_open(self) -> bool:
        """Whether somebody would send it again."""
        return self.verdict in {None, "not persisted"}

    @property
    def says_absent(self) -> bool:
        """Whether it says that its call has written nothing: then it is sent again without asking."""
        stated = any(copy.status is PersistenceStatus.NOT_PERSISTED for copy in self.copies)
        return stated if self.verdict is None else self.verdict == "not persisted"

    @property
    def said(self) -> str:
        """Return its messages."""
        return "; ".join(copy.message for copy in self.copies)


class Letters:
    """All dead letters by id, with their resolutions folded in."""

    def __init__(self, items: Iterable[DeadLetter | Resolution]) -> None:
        found: dict[str, Letter] = {}
        for item in items:
            letter = found.setdefault(item.id, Letter(item.id))
            if isinstance(item, DeadLetter):
                letter.copies.append(item)
            else:
                letter.verdict = max(letter.verdict, item.verdict, key=_WEAKEST_FIRST.index)
        # A resolution goes to every sink that may have the letter, so it may lie there alone.
        self.by_id = {letter.id: letter for letter in found.values() if letter.copies}

    def __iter__(self) -> Iterator[Letter]:
        return iter(self.by_id.values())

    def __len__(self) -> int:
        return len(self.by_id)


def kept(evidence: Evidence, letters: Letters, *, killed: bool, deduplicates: bool) -> Iterator[Violation]:
    """Yield what does not hold between *letters*, what was said of them, and the log.

    Args:
        evidence: calls, what they were told, and the log.
        letters: from all sinks.
        killed: the process was killed, so an end may not have been told.
        deduplicates: whether a broker drops resends, those of dead letters too.
    """
    yield from _copies(evidence, letters, deduplicates=deduplicates)
    yield from _receipts(evidence, letters, killed=killed)
    yield from _told_of_none(evidence)
    by_event: dict[tuple[str, str], list[Letter]] = defaultdict(list)
    for letter in letters:
        by_event[letter.event].append(letter)
    for key, of_event in by_event.items():
        if key in evidence.events:
            yield from _too_many(evidence.events[key], of_event)
            yield from _untrue(evidence.events[key], of_event)


def _copies(evidence: Evidence, letters: Letters, *, deduplicates: bool) -> Iterator[Violation]:
    for letter in letters:
        topic, identity = letter.event
        event = evidence.events.get((topic, identity))
        if event is None:
            yield Violation(Invariant.I5, f"dead letter {letter.id} belongs to no call", identity, topic)
            continue
        for copy in letter.copies:
            alterations = [differences(copy.record, fate.intent) for fate in event.calls]
            if all(alterations):
                text = f"dead letter {letter.id} has another {' and '.join(alterations[0])} than its event"
                yield about(Invariant.I5, event.calls[0], text)
        # One whose write was in doubt in a sink may lie there and in the next, which says so.
        places = Counter((copy.doubtful_in, copy.replays) for copy in letter.copies)
        if deduplicates and max(places.values()) > 1:
            text = f"dead letter {letter.id} was written {max(places.values())} times"
            yield about(Invariant.I5, event.calls[0], text)


# --- what was said of letters -------------------------------------------------------------


def _receipts(evidence: Evidence, letters: Letters, *, killed: bool) -> Iterator[Violation]:
    ends: dict[str, list[Receipt]] = defaultdict(list)
    for entry in evidence.of(Kept):
        ends[entry.receipt.id].append(entry.receipt)
        yield from _not_there(letters, entry.receipt, entry.event_id)
    for letter_id, told in ends.items():
        if len(told) > 1 or told[0].state == "pending":
            states = ", ".join(receipt.state for receipt in told)
            yield Violation(Invariant.I5, f"a hook was told the end of dead letter {letter_id} as: {states}")
    for fate in evidence.fates:
        for said in (*fate.call[:1], *fate.hook[:1]):
            if said.receipt is not None:
                yield from _about_receipt(fate, said, said.receipt, letters, ends, killed=killed)


def _about_receipt(
    fate: Fate, said: Said, receipt: Receipt, letters: Letters, ends: dict[str, list[Receipt]], *, killed: bool
) -> Iterator[Violation]:
    yield from _not_there(letters, receipt, fate.intent.event_id)
    letter = letters.by_id.get(receipt.id)
    if letter is not None and letter.event != (fate.intent.topic, fate.intent.identity):
        yield about(Invariant.I5, fate, f"{fate} was told of {receipt}, which is another event's")
    if said.voice is Voice.HOOK or killed or not fate.hooks_tell:
        return
    # Pending, and then acknowledged before a sink was given it: that was told as a late outcome.
    withdrawn = receipt.state == "pending" and any(late.word is Word.PERSISTED for late in fate.late)
    end = next(iter(ends.get(receipt.id, ())), None)
    if end is None and not withdrawn:
        yield about(Invariant.I5, fate, f"{fate} was told of {receipt}, and no hook was told how that ended")
    elif end is not None and receipt.state != "pending" and end != receipt:
        yield about(Invariant.I5, fate, f"{fate} was told of {receipt}, and a hook of {end}")


def _not_there(letters: Letters, receipt: Receipt, event_id: str | None) -> Iterator[Violation]:
    if receipt.state == "written" and receipt.id not in letters.by_id:
        yield Violation(Invariant.I5, f"{receipt}, it was said, and it is in none", event_id)


def _told_of_none(evidence: Evidence) -> Iterator[Violation]:
    """Whoever was told that an event failed was told of its letter; only hooks show that it was taken in."""
    for fate in evidence.fates:
        for said in fate.hook[:1]:
            if said.word in _FAILED and (said.receipt is None) is (fate.intent.keeping is not None):
                what = "heard of no dead letter" if said.receipt is None else "heard of a dead letter nobody asked for"
                yield about(Invariant.I5, fate, f"{fate} failed, and {what}")


# --- what letters say -----------------------------------------------------------------------


def _too_many(event: Event, letters: list[Letter]) -> Iterator[Violation]:
    """Yield letters that no call of *event* explains, and open ones of calls that were acknowledged."""
    kept_by = [fate for fate in event.calls if _may_be_kept(fate)]
    ids = ", ".join(letter.id for letter in letters)
    if len(letters) > len(kept_by):
        why = f"{len(letters)} dead letters" if kept_by else _why_none(event.calls[-1])
        yield about(Invariant.I5, event.calls[-1], f"{event.calls[-1]} has {why}: {ids}")
        return
    opened = [letter.id for letter in letters if letter.is_open]
    if len(opened) > sum(fate.claim is not Claim.ONCE for fate in kept_by):
        fate = next(fate for fate in kept_by if fate.claim is Claim.ONCE)
        late = " late" if fate.late else ""
        text = f"{fate} was acknowledged{late}, and would be sent again: {', '.join(opened)} is open"
        yield about(Invariant.I5, fate, text)


def _may_be_kept(fate: Fate) -> bool:
    """Whether its event was taken in, by a profile that keeps what fails, and not withdrawn."""
    withdrawn_or_refused = fate.hooks_tell and fate.call and not fate.hook
    return fate.intent.keeping is not None and not withdrawn_or_refused


def _why_none(fate: Fate) -> str:
    if fate.intent.keeping is None:
        return "a dead letter nobody asked for"
    return "a dead letter although " + ("its caller withdrew it" if fate.withdrawn else "it was never taken in")


def _untrue(event: Event, letters: list[Letter]) -> Iterator[Violation]:
    """Yield letters that say of the log what is not so."""
    absent = [letter for letter in letters if letter.says_absent]
    others = len(event.calls) - len(absent)
    may_repeat = others > 0 and any(fate.intent.may_repeat for fate in event.calls)
    if absent and len(event.found) > others and not may_repeat:
        text = f"dead letter {absent[0].id} says not persisted; read: {', '.join(map(str, event.found))}"
        yield about(Invariant.I5, event.calls[0], text)
    resolved = [letter for letter in letters if letter.verdict == "persisted"]
    if resolved and not event.found:
        yield about(Invariant.I5, event.calls[0], f"dead letter {resolved[0].id} was resolved, and is not in the log")
