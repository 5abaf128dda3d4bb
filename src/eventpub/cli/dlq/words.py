"""Dead letters in words: in a table, in full, as JSON; and whether one may be replayed."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from eventpub.cli import output
from eventpub.deadletter.spooling.store import State, StoredLetter
from eventpub.delivery import PersistenceStatus
from eventpub.envelope import wall_clock
from eventpub.letter import Cut, DeadLetter

SAFE, MEND, DOUBTFUL, DONE = "safe", "mend first", "verify first", "done"
"""Whether a letter may be replayed, in a word or two."""

_STYLES = {SAFE: "green", MEND: "red", DOUBTFUL: "yellow", DONE: "dim"}
_STAGES = {"admit": "waiting for room", "send": "on its way to the broker", "close": "at the close of its publisher"}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def now() -> float:
    """Return the time as letters have it: seconds since the epoch."""
    return wall_clock() / 1e9


def warn_of_unreadable(count: int) -> None:
    """Say how many entries are missing from what was shown."""
    if count:
        output.complain(f"entries that nobody can read, and that are missing here: {count}")


def replayable(stored: StoredLetter) -> str:
    """Return `SAFE`, `MEND` (it would be refused again), `DOUBTFUL` (it may be in the log) or `DONE` (it is)."""
    if stored.state is not State.OPEN:
        return DONE
    if stored.status is not PersistenceStatus.NOT_PERSISTED or stored.letter.doubtful_in is not None:
        return DOUBTFUL
    return MEND if stored.letter.reason == "rejected" else SAFE


def why(letter: DeadLetter) -> str:
    """Return why it was not delivered, in a few words."""
    return f"{letter.reason}: {letter.kafka_error or letter.error}"


def age(then: float, now: float) -> str:
    """Return how long before *now* it was *then*, in its largest unit."""
    seconds = max(0, int(now - then))
    size, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{seconds // size} {unit}"


def moment(at: float | None) -> str:
    """Return a time as RFC 3339 has it, in UTC and whole seconds."""
    if at is None:
        return "never"
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- many ----------------------------------------------------------------------------


@dataclass(slots=True)
class Group:
    """Letters that have everything in common that the table shows."""

    letters: int = 0
    first: float = 0.0
    last: float = 0.0

    def add(self, failed_at: float) -> None:
        """Count one more."""
        self.first = min(self.first or failed_at, failed_at)
        self.last = max(self.last, failed_at)
        self.letters += 1


def grouped(letters: Iterable[StoredLetter]) -> dict[tuple[str, ...], Group]:
    """Return letters by topic, type, why, and whether they may be replayed; the largest group first."""
    groups: dict[tuple[str, ...], Group] = {}
    for stored in letters:
        letter = stored.letter
        common = (letter.record.topic, letter.event_type or "-", why(letter), replayable(stored))
        groups.setdefault(common, Group()).add(letter.failed_at)
    return dict(sorted(groups.items(), key=lambda item: -item[1].letters))


def print_groups(groups: dict[tuple[str, ...], Group], now: float) -> None:
    """Print a row for each group: ages for people, times for pipes."""
    show = (lambda at: age(at, now)) if output.stdout().is_terminal else moment
    columns = ("count", "topic", "type", "why", "since", "last", "replay")
    output.print_table(
        columns,
        (
            (f"{group.letters:,}", topic, kind, reason, show(group.first), show(group.last), _styled(replay))
            for (topic, kind, reason, replay), group in groups.items()
        ),
    )


def print_each(letters: Iterable[StoredLetter], now: float) -> None:
    """Print a row for each letter."""
    show = (lambda at: age(at, now)) if output.stdout().is_terminal else moment
    output.print_table(
        ("id", "since", "replay", "event, and why"),
        (
            (
                stored.letter.id,
                show(stored.letter.failed_at),
                _styled(replayable(stored)),
                f"{stored.letter.event_type or '-'} for {stored.letter.record.topic}, {why(stored.letter)}",
            )
            for stored in letters
        ),
    )


def _styled(replay: str) -> Text:
    return Text(replay, _STYLES[replay])


# --- one -----------------------------------------------------------------------------


def facts(stored: StoredLetter, now: float, *, values: bool) -> Iterator[tuple[str, str | Text]]:
    """Yield everything that is known of one letter; keys, headers and values only if *values*."""
    letter = stored.letter
    yield "letter", letter.id
    yield "event", f"{letter.event_type or 'a record without type'}, id {letter.event_id or 'none'}"
    yield "meant for", f"topic {letter.record.topic}{_asked_for(letter)}"
    yield "status", Text(stored.status.value, _STYLES[replayable(stored)])
    yield "why", f"{letter.error} ({letter.reason}): {letter.message}"
    if letter.kafka_code is not None:
        yield "broker said", f"{letter.kafka_error} ({letter.kafka_code})"
    yield "ended", f"{_STAGES[letter.stage]}, {moment(letter.failed_at)} ({age(letter.failed_at, now)} ago)"
    yield "took", f"{letter.elapsed:.2f} s of {letter.budget:g} s"
    yield "attempts", _attempts(letter)
    yield "cut", "never in a batch" if letter.cut is None else _cut(letter.cut)
    yield "may lie in", _where(stored)
    yield "publisher", f"{letter.client_id}, profile {letter.profile}"
    yield "replays", f"{letter.replays} failed"
    yield from _became(stored)
    yield from _contents(letter, values=values)


def _asked_for(letter: DeadLetter) -> str:
    return "" if letter.record.partition is None else f", partition {letter.record.partition}"


def _attempts(letter: DeadLetter) -> str:
    if not letter.attempts:
        return "none: no request carried it"
    return f"{letter.attempts}, from {moment(letter.first_attempt_at)} to {moment(letter.last_attempt_at)}"


def _cut(cut: Cut) -> str:
    stamp = f"producer {cut.producer_id}, epoch {cut.epoch}, sequence {cut.sequence}"
    return f"for partition {cut.partition}, {stamp if cut.producer_id >= 0 else 'without idempotence'}"


def _where(stored: StoredLetter) -> str:
    letter, found = stored.letter, stored.resolution
    if found is not None and found.partition is not None:
        return f"{letter.record.topic}[{found.partition}]" + ("" if found.offset is None else f"@{found.offset}")
    if stored.status is PersistenceStatus.NOT_PERSISTED:
        return "nowhere: it is certainly not in the log"
    if letter.cut is None:
        return f"{letter.record.topic}, in an unknown partition"
    after = "from its start" if letter.cut.after is None else f"behind offset {letter.cut.after}"
    return f"{letter.record.topic}[{letter.cut.partition}], {after}"


def _became(stored: StoredLetter) -> Iterator[tuple[str, str]]:
    if stored.resolution is not None:
        yield "became", f"{stored.resolution.verdict}, {moment(stored.resolution.at)}"
    if stored.letter.doubtful_in is not None:
        yield "also in", f"perhaps {stored.letter.doubtful_in}: its write was not confirmed"


def _contents(letter: DeadLetter, *, values: bool) -> Iterator[tuple[str, str]]:
    record = letter.record
    yield "key", _shown(record.key, values=values)
    for name, value in record.headers:
        yield f"  {name}", _shown(value, values=values)
    yield "value", _shown(record.value, values=values)


def _shown(value: bytes | None, *, values: bool) -> str:
    if value is None:
        return "none"
    return value.decode(errors="backslashreplace") if values else f"{len(value)} B (--show-values)"


def advice(stored: StoredLetter, place: str) -> str:
    """Return what to do next, in plain words; *place* is the option that names where the letter is."""
    letter, replay = stored.letter, f"  eventpub dlq replay {place} --id {stored.letter.id}"
    match replayable(stored):
        case "done":
            return f"Nothing: its event is in the log. `eventpub dlq purge {place}` clears letters like this away."
        case "verify first":
            other = letter.doubtful_in
            doubt = "Its event may be in the log." if other is None else f"{other} may have this letter too."
            return (
                f"{doubt} Let a replay look in the log first, so that nothing is written twice:\n{replay} --verify\n"
                "Where a second copy does no harm (it has the same event id), --include-possibly is quicker."
            )
        case "mend first":
            said = letter.kafka_error or letter.error
            return (
                f"Mend what it was refused for ({said}). It is certainly not in the log, so replay it then:\n{replay}"
            )
        case _:
            return f"It is certainly not in the log, so a replay cannot write it twice:\n{replay}"


# --- for machines ----------------------------------------------------------------------


def as_json(stored: StoredLetter, *, values: bool) -> dict[str, Any]:
    """Return a letter for machines; times are seconds since the epoch. Keys, headers and values only if *values*."""
    letter = stored.letter
    told = {name: value for name, value in asdict(letter).items() if name not in {"record", "status", "cut"}}
    record = letter.record
    told |= {"topic": record.topic, "partition": record.partition, "timestamp": record.timestamp}
    told |= {"status": stored.status.value, "state": stored.state.value, "replay": replayable(stored)}
    told["cut"] = None if letter.cut is None else letter.cut._asdict()
    found = stored.resolution
    told["resolution"] = found and {name: getattr(found, name) for name in ("verdict", "at", "partition", "offset")}
    told["value_bytes"] = None if record.value is None else len(record.value)
    if values:
        told |= {"key": _text(record.key), "value": _text(record.value)}
        told["headers"] = [[name, _text(value)] for name, value in record.headers]
    return told


def _text(value: bytes | None) -> str | dict[str, str] | None:
    """Return bytes as JSON has them: text where they are UTF-8, else base64 in an object that says so."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
