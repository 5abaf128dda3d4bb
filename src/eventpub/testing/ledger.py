"""What a publisher was asked to do and what it said: an intent before each call, its outcome after it.

The ledger believes nothing and decides nothing; `check_ledger` compares it with what an
independent reader found in the log. As JSON lines it survives the process that wrote it.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol, TypeAlias

from eventpub.abc import DeadLetterDetails, OutcomeDetails
from eventpub.delivery import Delivery, PersistenceStatus
from eventpub.exceptions import DeadLetterError, PublishError
from eventpub.receipt import Receipt
from eventpub.record import Headers, Record


class Word(enum.StrEnum):
    """What was said of one event."""

    PERSISTED = "persisted"
    NOT_PERSISTED = "not persisted"
    POSSIBLY_PERSISTED = "possibly persisted"
    CANCELLED = "cancelled"


class Voice(enum.StrEnum):
    """Who said it."""

    CALL = "call"  # what the call returned or raised
    HOOK = "hook"  # ``on_outcome``
    LATE = "late"  # ``on_late_outcome``: after the caller had been told "possibly persisted"


@dataclass(frozen=True, slots=True)
class Intent:
    """A call that is about to be made.

    Attributes:
        number: its place among the calls, from 0.
        at: seconds of the ledger's clock.
        topic: where the event is meant to go.
        identity: what its record is recognised by in the log: see `identity_of`.
        event_id: what hooks call it.
        key: the record's key, one character a byte.
        value: digest of the record's value; ``None`` if it has no form on the wire.
        headers: digest of the record's headers, likewise.
        budget: seconds the call may take.
        acks: ``all``, ``1`` or ``0``.
        idempotent: whether the broker drops resends, and the log keeps the order of the calls.
        may_repeat: whether its profile allows duplicates.
        keeping: seconds the call may take in all where the event has to be kept as a dead letter;
            ``None``: it is kept nowhere.
    """

    number: int
    at: float
    topic: str
    identity: str
    event_id: str | None = None
    key: str | None = None
    value: str | None = None
    headers: str | None = None
    budget: float | None = None
    acks: str = "all"
    idempotent: bool = True
    may_repeat: bool = False
    keeping: float | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An outcome of call *number*, by one of the three voices.

    ``text`` is the error's message, and that of a `DeadLetterError` behind it; ``receipt`` is what it
    said of a dead letter.
    """

    number: int
    at: float
    voice: Voice
    word: Word
    partition: int | None = None
    offset: int | None = None
    attempts: int = 0
    reason: str | None = None
    error: str | None = None
    text: str | None = None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A hook was told how the write of a dead letter ended."""

    at: float
    event_id: str | None
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Closed:
    """A close came to its end; ``unconfirmed`` are pairs of event id and word, ``held`` what is still in the buffer."""

    at: float
    timeout: float
    elapsed: float
    confirmed: int = 0
    failed: tuple[tuple[str | None, str], ...] = ()
    unconfirmed: tuple[tuple[str | None, str], ...] = ()
    held: int = 0


@dataclass(frozen=True, slots=True)
class Healed:
    """Every fault was taken back: what is published from now on has to land within *limit* seconds."""

    at: float
    limit: float


@dataclass(frozen=True, slots=True)
class Room:
    """A new height of what the buffer held."""

    at: float
    records: int
    bytes: int
    max_records: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that outlived the close: a task, a socket, an exception nobody retrieved."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class Hearing:
    """Hooks are heard from here on: an outcome that none of them tells did not happen."""

    at: float


LedgerEntry: TypeAlias = Intent | Said | Kept | Closed | Healed | Room | Leftover | Hearing

_KINDS: dict[str, type[LedgerEntry]] = {
    kind.__name__.lower(): kind for kind in (Intent, Said, Kept, Closed, Healed, Room, Leftover, Hearing)
}


class Sink(Protocol):
    """Where JSON lines go: a file or pipe opened unbuffered, so that a killed writer has lost none."""

    def write(self, line: bytes, /) -> object:
        """Write one line."""


class Ledger:
    """Intents and outcomes in the order in which they came; also a hook, to hear what no caller hears.

    ::

        ledger = Ledger()
        async with Publisher(target, hooks=[ledger]) as publisher:
            await Recorder(publisher, ledger).publish(event)
        check_ledger(ledger, {"tasks": broker.records("tasks")}).raise_for_violations()

    Args:
        sink: takes every entry as a JSON line too: ``open(path, "ab", buffering=0)``, or a pipe.
        clock: seconds; default: the running event loop's.

    Attributes:
        entries: all of them.
    """

    def __init__(self, sink: Sink | None = None, clock: Callable[[], float] | None = None) -> None:
        self.entries: list[LedgerEntry] = []
        self._sink = sink
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._calls = 0
        self._open: dict[str, list[int]] = {}  # by event id: calls that no hook has told of
        self._doubtful: dict[str, list[int]] = {}  # likewise: calls told "possibly persisted"

    @classmethod
    def load(cls, lines: Iterable[str | bytes]) -> Ledger:
        """Return the ledger that wrote *lines*. A last line cut short by a kill is left out."""
        ledger = cls(clock=lambda: 0.0)
        for line in lines:
            if line.strip() and (entry := _from_json(line)) is not None:
                ledger.entries.append(entry)
        ledger._calls = sum(isinstance(entry, Intent) for entry in ledger.entries)
        return ledger

    # --- what is written -----------------------------------------------------------

    def add(self, entry: LedgerEntry) -> None:
        """Write down *entry*."""
        self.entries.append(entry)
        if self._sink is not None:
            self._sink.write(_line(entry))

    def write_to(self, sink: Sink) -> None:
        """Write every entry so far as a JSON line to *sink*."""
        for entry in self.entries:
            sink.write(_line(entry))

    def now(self) -> float:
        """Return the time as of the ledger's clock."""
        return self._clock()

    def intend(
        self,
        record: Record,
        *,
        event_id: str | None = None,
        budget: float | None = None,
        acks: object = "all",
        idempotent: bool = True,
        may_repeat: bool = False,
        keeping: float | None = None,
        has_form: bool = True,
    ) -> Intent:
        """Write down that *record* is about to be published, and return the intent.

        Call it right before the publish, in the same step: the intents' order is the calls' order.

        Args:
            record: as it should lie in the log.
            event_id: what hooks call it; default: the record's ``ce_id``.
            budget: seconds the call may take.
            acks: of its profile, as are *idempotent* and *may_repeat*.
            idempotent: whether a resend is dropped, and order is kept.
            may_repeat: whether it may come to be in the log twice.
            keeping: seconds the call may take where the event has to be kept as a dead letter, if it would be.
            has_form: whether key, value and headers are known; if not, nothing of them is compared.
        """
        event_id = event_id or record.event_id
        intent = Intent(
            number=self._calls,
            at=self.now(),
            topic=record.topic,
            identity=identity_of(record.value, record.headers) if has_form else event_id or f"call {self._calls}",
            event_id=event_id,
            key=None if record.key is None else record.key.decode("latin-1"),
            value=digest(record.value) if has_form else None,
            headers=headers_digest(record.headers) if has_form else None,
            budget=budget,
            acks=str(acks),
            idempotent=idempotent,
            may_repeat=may_repeat,
            keeping=keeping,
        )
        self._calls += 1
        if intent.event_id is not None:
            self._open.setdefault(intent.event_id, []).append(intent.number)
        self.add(intent)
        return intent

    def settle(self, intent: Intent, outcome: Delivery | BaseException) -> None:
        """Write down what the call of *intent* returned or raised."""
        self._say(intent.number, Voice.CALL, outcome)

    def say(self, intent: Intent, word: Word, voice: Voice = Voice.CALL, **facts: object) -> None:
        """Write down a *word* about *intent*, for publishers that are not eventpub's; facts as in `Said`."""
        self.add(Said(intent.number, self.now(), voice, word, **facts))  # type: ignore[arg-type]  # by name

    def healed(self, limit: float = 5.0) -> None:
        """Write down that every fault was taken back."""
        self.add(Healed(self.now(), limit))

    def left(self, what: str) -> None:
        """Write down that *what* outlived the close."""
        self.add(Leftover(self.now(), what))

    # --- what hooks hear -----------------------------------------------------------

    def on_state(self, _state: object) -> None:
        """Note that this ledger is among the publisher's hooks."""
        if not any(isinstance(entry, Hearing) for entry in self.entries):
            self.add(Hearing(self.now()))

    def on_outcome(self, details: OutcomeDetails) -> None:
        """Write down an outcome, whether or not somebody awaits it."""
        event_id = details.event_id or ""
        if calls := self._open.get(event_id):
            number = calls.pop(0)
            if details.outcome.status is PersistenceStatus.POSSIBLY_PERSISTED:
                self._doubtful.setdefault(event_id, []).append(number)
            self._say(number, Voice.HOOK, details.outcome)

    def on_late_outcome(self, details: OutcomeDetails) -> None:
        """Write down an answer that came after the caller had been told."""
        event_id = details.event_id or ""
        if calls := self._doubtful.get(event_id):
            self._say(calls.pop(0), Voice.LATE, details.outcome)
        elif calls := self._open.get(event_id):  # its dead letter is being written, its caller waits for that
            self._say(calls[0], Voice.LATE, details.outcome)

    def on_dead_letter(self, details: DeadLetterDetails) -> None:
        """Write down where a dead letter lies, or that no sink took it."""
        self.add(Kept(self.now(), details.event_id, details.receipt))

    def _say(self, number: int, voice: Voice, outcome: Delivery | BaseException) -> None:
        at = self.now()
        if isinstance(outcome, Delivery):
            word = Word(outcome.status.value)
            self.add(Said(number, at, voice, word, outcome.partition, outcome.offset, outcome.attempts))
        elif isinstance(outcome, asyncio.CancelledError):
            self.add(Said(number, at, voice, Word.CANCELLED))
        else:
            self.add(_failure(number, at, voice, outcome))


def _failure(number: int, at: float, voice: Voice, error: BaseException) -> Said:
    said = Said(number, at, voice, Word.NOT_PERSISTED, error=type(error).__name__, text=_text(error))
    if not isinstance(error, PublishError):
        return said  # refused before anything was sent
    word, partition, receipt = Word(error.status.value), error.partition, error.dead_letter
    return replace(said, word=word, partition=partition, attempts=error.attempts, reason=error.reason, receipt=receipt)


def _text(error: BaseException) -> str:
    cause = error.__cause__
    return f"{error}; {cause}" if isinstance(cause, DeadLetterError) else str(error)


def identity_of(value: bytes | None, headers: Headers) -> str:
    """Return what a record is recognised by: its ``ce_id`` header, else the digest of its value."""
    for name, content in headers:
        if name == "ce_id" and content is not None:
            return content.decode("utf-8", "replace")
    return f"sha256:{digest(value)}"


def digest(value: bytes | None) -> str:
    """Return the SHA-256 of *value* in hexadecimal; a tombstone has none."""
    return "tombstone" if value is None else hashlib.sha256(value).hexdigest()


def headers_digest(headers: Headers) -> str:
    """Return one digest of all *headers*, in their order."""
    return digest(repr([(str(name), value) for name, value in headers]).encode())


def _line(entry: LedgerEntry) -> bytes:
    kind = {"kind": type(entry).__name__.lower()}
    return json.dumps(kind | asdict(entry)).encode() + b"\n"


def _from_json(line: str | bytes) -> LedgerEntry | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    kind = _KINDS[content.pop("kind")]
    converted: dict[str, Any] = {
        field.name: _CONVERSIONS.get(field.name, _as_is)(content[field.name]) for field in fields(kind)
    }
    return kind(**converted)


def _as_is(content: object) -> object:
    return content


def _pairs(content: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(map(tuple, content))


def _receipt(content: list[Any] | None) -> Receipt | None:
    return None if content is None else Receipt(*content)


_CONVERSIONS: dict[str, Callable[..., object]] = {
    "voice": Voice,
    "word": Word,
    "failed": _pairs,
    "unconfirmed": _pairs,
    "receipt": _receipt,
}
