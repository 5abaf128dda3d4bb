"""Compares what a publisher promised with what an independent reader found, and believes neither.

One function per invariant; `eventpub.testing.violation.Invariant` says what each demands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

from eventpub.letter import DeadLetter, Resolution
from eventpub.testing.evidence import Event, Evidence, Found, Logs, about, differences
from eventpub.testing.fate import Claim, Fate
from eventpub.testing.kept import Letters, kept
from eventpub.testing.ledger import (
    Closed,
    Healed,
    Intent,
    Ledger,
    Leftover,
    Room,
    Said,
    Word,
    identity_of,
)
from eventpub.testing.verdict import Verdict
from eventpub.testing.violation import Invariant, Violation

PUBLISH_SLACK = 0.25
"""Seconds that a publish may take beyond its budget."""

CLOSE_SLACK = 1.0
"""Seconds that a close may take beyond its timeout."""

_ROUNDING = 0.002  # of the event loop's clock
_ENDED_BY_CLOSE = ("drain", "closing")


def check_ledger(
    ledger: Ledger,
    logs: Logs,
    *,
    logs_at_close: Logs | None = None,
    dead_letters: Iterable[DeadLetter | Resolution] | None = None,
    effects: Mapping[str, int] | None = None,
    ceiling: float | None = None,
    killed: bool = False,
    deduplicates: bool = True,
    secrets: Collection[str] = (),
) -> Verdict:
    """Return whether *ledger* tells the truth about *logs*.

    ::

        check_ledger(ledger, {"tasks": broker.records("tasks")}).raise_for_violations()

    Args:
        ledger: of one publisher, or of several that wrote one after the other.
        logs: by topic, everything in it: what an independent reader read after all faults were gone.
        logs_at_close: the same, read right after the close; what is in *logs* only landed later.
        dead_letters: everything in all sinks, in any order: each letter as often as it was read. Without, I5
            is not looked at.
        effects: how often each injected fault had an effect; one that had none makes the run invalid.
        ceiling: the share of *possibly persisted*, from 0 to 1, that the fault explains.
        killed: the process was killed, so calls may have been left open.
        deduplicates: whether the broker drops resends of idempotent batches. `EmbeddedKafka` does
            not: there an event may be read once for each attempt that carried it, and a dead letter too.
        secrets: texts that no message may hold, such as payloads.
    """
    evidence = Evidence(ledger, logs)
    letters = None if dead_letters is None else Letters(dead_letters)
    violations = [
        *_acknowledged(evidence),
        *_twice(evidence, deduplicates=deduplicates),
        *_strangers(evidence),
        *_never(evidence),
        *(kept(evidence, letters, killed=killed, deduplicates=deduplicates) if letters is not None else ()),
        *_outcomes(evidence, killed=killed),
        *_order(evidence),
        *_budgets(evidence),
        *_room(evidence),
        *_leftovers(evidence),
        *_recovery(evidence),
        *_secrets(evidence, letters, secrets),
        *_close_report(evidence),
        *(_landed_late(evidence, logs_at_close) if logs_at_close is not None else ()),
    ]
    verdict = _counted(evidence, letters, violations, tuple(_invalid(evidence, effects or {})))
    if ceiling is not None and verdict.share > ceiling:
        text = f"{verdict.share:.1%} of {verdict.asked} events are possibly persisted, at most {ceiling:.1%} may be"
        return replace(verdict, violations=(*verdict.violations, Violation(Invariant.I15, text)))
    return verdict


def _counted(
    evidence: Evidence, letters: Letters | None, violations: Iterable[Violation], invalid: tuple[str, ...]
) -> Verdict:
    counts = Counter(fate.word for fate in evidence.fates)
    words = {word: counts[word] for word in (*Word, None) if counts[word]}
    asked = [fate.word for fate in evidence.fates if fate.intent.acks != "0"]
    doubtful = asked.count(Word.POSSIBLY_PERSISTED)
    count = 0 if letters is None else len(letters)
    return Verdict(tuple(violations), invalid, words, evidence.read, len(asked), doubtful, count)


def _invalid(evidence: Evidence, effects: Mapping[str, int]) -> Iterator[str]:
    if not evidence.fates:
        yield "nothing was published"
    for fault, count in effects.items():
        if not count:
            yield f"{fault} had no effect"


def _list(found: list[Found]) -> str:
    return ", ".join(map(str, found)) or "nowhere"


# --- I1 to I4: what is in the log -----------------------------------------------------


def _acknowledged(evidence: Evidence) -> Iterator[Violation]:
    for event in evidence.events.values():
        once = event.claims(Claim.ONCE)
        if len(event.found) < len(once):
            yield about(Invariant.I1, once[-1], f"{once[-1]} was acknowledged {_place(once[-1])}, and is not there")
            continue
        places = {found.at for found in event.found}
        for fate in once:
            if fate.where is not None and fate.where not in places:
                text = f"{fate} was acknowledged {_place(fate)}, and is at {_list(event.found)}"
                yield about(Invariant.I1, fate, text)
        yield from _altered(event)


def _place(fate: Fate) -> str:
    return f"at {fate.intent.topic}[{fate.where[0]}]@{fate.where[1]}" if fate.where else "without an offset"


def _altered(event: Event) -> Iterator[Violation]:
    for found in event.found:
        alterations = [differences(found.record, fate.intent) for fate in event.calls]
        if all(alterations):
            yield about(Invariant.I1, event.calls[0], f"{found} has another {' and '.join(alterations[0])}")


def _twice(evidence: Evidence, *, deduplicates: bool) -> Iterator[Violation]:
    for event in evidence.events.values():
        allowed = sum(1.0 if deduplicates else _copies(fate) for fate in event.calls)
        if len(event.found) > allowed and not any(fate.intent.may_repeat for fate in event.calls):
            text = f"published {_times(len(event.calls))}, read {_times(len(event.found))}: {_list(event.found)}"
            yield about(Invariant.I2, event.calls[0], text)


def _copies(fate: Fate) -> float:
    """Return how often a broker that drops no resends may hold what one call published."""
    if fate.word is not Word.PERSISTED or not fate.intent.idempotent:
        return 1.0 if fate.claim is Claim.NEVER or not fate.intent.idempotent else float("inf")
    attempts = max(said.attempts for said in (*fate.call, *fate.hook))
    return 1.0 if attempts == 1 else attempts + 1.0  # a late answer may settle it while a resend is on its way


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _strangers(evidence: Evidence) -> Iterator[Violation]:
    for found in evidence.strangers:
        identity = identity_of(found.record.value, found.record.headers)
        yield Violation(Invariant.I3, f"{found} belongs to no call", identity, found.topic)


def _never(evidence: Evidence) -> Iterator[Violation]:
    for event in evidence.events.values():
        never = event.claims(Claim.NEVER)
        others = len(event.calls) - len(never)
        may_repeat = any(fate.intent.may_repeat for fate in event.calls if fate not in never)
        if never and not may_repeat and len(event.found) > others:
            what = "cancelled, and no hook told of it" if never[0].withdrawn else "told not persisted"
            yield about(Invariant.I4, never[0], f"call {never[0].intent.number} was {what}; read: {_list(event.found)}")


# --- I6: who was told what --------------------------------------------------------------


def _outcomes(evidence: Evidence, *, killed: bool) -> Iterator[Violation]:
    for fate in evidence.fates:
        if not fate.call and not killed:
            yield about(Invariant.I6, fate, f"call {fate.intent.number} never came to an outcome")
        for voice, said in (("call", fate.call), ("hooks", fate.hook), ("late outcomes", fate.late)):
            if len(said) > 1:
                words = ", ".join(each.word for each in said)
                yield about(Invariant.I6, fate, f"{fate}: {len(said)} outcomes by its {voice}: {words}")
        yield from _contradictions(fate)


def _contradictions(fate: Fate) -> Iterator[Violation]:
    first = [said[0] for said in (fate.call, fate.hook) if said and said[0].word is not Word.CANCELLED]
    if len({said.word for said in first}) > 1:
        words = " and ".join(said.word for said in first)
        yield about(Invariant.I6, fate, f"call {fate.intent.number} and its hook were told {words}")
    if fate.word in (Word.PERSISTED, Word.POSSIBLY_PERSISTED) and fate.hooks_tell and not fate.hook:
        yield about(Invariant.I6, fate, f"{fate}: no hook was told")
    if fate.late and fate.word is not Word.POSSIBLY_PERSISTED:
        yield about(Invariant.I6, fate, f"{fate}: a late outcome ({fate.late[0].word}), and nothing was open")


# --- I7: order --------------------------------------------------------------------------


def _order(evidence: Evidence) -> Iterator[Violation]:
    for pairs in evidence.by_partition():
        yield from _inversions([pair for pair in pairs if pair[1].intent.idempotent])
        # One batch in flight per partition, whatever its profile: acknowledgements name rising offsets.
        yield from _inversions([pair for pair in pairs if _was_acknowledged(*pair) and not pair[1].intent.idempotent])
        yield from _inversions([pair for pair in pairs if _was_acknowledged(*pair)], mixed=True)


def _was_acknowledged(found: Found, fate: Fate) -> bool:
    return fate.word is Word.PERSISTED and fate.where == found.at


def _inversions(pairs: list[tuple[Found, Fate]], *, mixed: bool = False) -> Iterator[Violation]:
    for (before, first), (after, second) in pairwise(pairs):
        if first.intent.number > second.intent.number:
            if mixed and first.intent.idempotent == second.intent.idempotent:
                continue  # told already
            text = f"{second} at {after} lies behind {first} at {before}"
            yield about(Invariant.I7, second, text)


# --- I8 to I11: bounds --------------------------------------------------------------------


def _budgets(evidence: Evidence) -> Iterator[Violation]:
    for fate in evidence.fates:
        intent = fate.intent
        budget = intent.budget if intent.keeping is None else intent.keeping
        if budget is None or not fate.call or fate.call[0].word is Word.CANCELLED:
            continue
        took = fate.call[0].at - intent.at
        if took > budget + PUBLISH_SLACK + _ROUNDING:
            yield about(Invariant.I8, fate, f"{fate} took {took:.3f} s of {budget:.3f} s")
    for closed in evidence.of(Closed):
        if closed.elapsed > closed.timeout + CLOSE_SLACK + _ROUNDING:
            text = f"the close took {closed.elapsed:.3f} s, its timeout was {closed.timeout:.3f} s"
            yield Violation(Invariant.I8, text)


def _room(evidence: Evidence) -> Iterator[Violation]:
    for room in evidence.of(Room):
        alone = room.records == 1  # one that is larger than the whole buffer is let through alone
        if room.records > room.max_records or (room.bytes > room.max_bytes and not alone):
            held = f"{room.records} records and {room.bytes} bytes"
            yield Violation(Invariant.I9, f"{held} held, {room.max_records} and {room.max_bytes} allowed")
    for closed in evidence.of(Closed):
        if closed.held:
            yield Violation(Invariant.I9, f"{closed.held} records still held after the close")


def _leftovers(evidence: Evidence) -> Iterator[Violation]:
    for left in evidence.of(Leftover):
        yield Violation(Invariant.I10, left.what)


def _recovery(evidence: Evidence) -> Iterator[Violation]:
    healed, closed = next(evidence.of(Healed), None), next(evidence.of(Closed), None)
    if healed is None:
        return
    entries = evidence.ledger.entries
    after = {entry.number for entry in entries[entries.index(healed) :] if isinstance(entry, Intent)}
    for fate in evidence.fates:
        intent = fate.intent
        if intent.number not in after or intent.acks == "0" or (closed and intent.at + healed.limit > closed.at):
            continue
        took = fate.call[0].at - intent.at if fate.call else float("inf")
        if fate.word is not Word.PERSISTED or took > healed.limit:
            yield about(Invariant.I11, fate, f"{fate} after {took:.2f} s; all faults were gone before it began")


# --- I12 and I13 --------------------------------------------------------------------------


def _secrets(evidence: Evidence, letters: Letters | None, secrets: Collection[str]) -> Iterator[Violation]:
    for said in evidence.of(Said):
        if said.text and any(secret in said.text for secret in secrets):
            yield Violation(Invariant.I12, f"the message of a {said.error} for call {said.number} holds a secret")
    for letter in letters or ():
        if any(secret in text for secret in secrets for text in (letter.said, repr(letter))):
            yield Violation(Invariant.I12, f"the message in dead letter {letter.id} holds a secret")


def _close_report(evidence: Evidence) -> Iterator[Violation]:
    """What a close reports unconfirmed is what it ended, and what the callers were told of it."""
    reports = list(evidence.of(Closed))
    reported = {event_id for closed in reports for event_id, _ in closed.unconfirmed}
    words: dict[str | None, set[str]] = {}
    for fate in evidence.fates:
        event_id = fate.intent.event_id
        words.setdefault(event_id, set()).update(said.word for said in (*fate.verdicts, *fate.late))
        ended_by_close = any(said.reason in _ENDED_BY_CLOSE for said in fate.verdicts)
        if reports and ended_by_close and event_id is not None and event_id not in reported:
            yield about(Invariant.I13, fate, f"the close ended {fate} and does not report it")
    for closed in reports:
        for event_id, word in (*closed.unconfirmed, *closed.failed):
            if event_id is not None and word not in words.get(event_id, set()):
                told = ", ".join(sorted(words.get(event_id, set()))) or "nothing"
                text = f"the close reports it {word}, its caller was told {told}"
                yield Violation(Invariant.I13, text, event_id)


def _landed_late(evidence: Evidence, logs_at_close: Logs) -> Iterator[Violation]:
    early = Counter(
        (topic, identity_of(record.value, record.headers))
        for topic, records in logs_at_close.items()
        for record in records
    )
    for key, event in evidence.events.items():
        if len(event.found) <= early[key]:
            continue
        fate = event.calls[-1]
        # With acks=1 an acknowledged record may still wait for its replicas, unseen by consumers.
        if fate.word in (Word.POSSIBLY_PERSISTED, None) or fate.intent.acks != "all" or fate.intent.may_repeat:
            continue
        yield about(Invariant.I13, fate, f"{fate} landed after the close, at {_list(event.found)}")
