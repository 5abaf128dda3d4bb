"""The seams: what the engine needs from a transport, and what users may plug in.

A transport moves stamped batches and returns *values*. It never raises for a delivery
failure, keeps each attempt's deadline itself, and knows whether bytes were written. What
an answer means for an event is decided elsewhere (``eventpub._rules``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpub.delivery import Attempt, Delivery
    from eventpub.exceptions import DeadLetterError, PublishError
    from eventpub.letter import DeadLetter, Resolution
    from eventpub.receipt import Receipt
    from eventpub.record import Headers, Record

Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]
Acks = Literal[0, 1, "all"]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class ProducerId(NamedTuple):
    """What InitProducerId (API 22) hands out: an id and the epoch to begin with."""

    id: int
    epoch: int


class Stamp(NamedTuple):
    """Identity of a batch in its partition: a broker drops a second batch with an equal one (KIP-98)."""

    producer_id: int
    epoch: int
    sequence: int

    @property
    def idempotent(self) -> bool:
        """Whether the broker can recognise a resend."""
        return self.producer_id >= 0


UNSTAMPED = Stamp(-1, -1, -1)


@dataclass(frozen=True, slots=True, eq=False)
class WireBatch:
    """An encoded record batch (magic 2). Kept and sent again byte for byte while in doubt."""

    data: bytes = field(repr=False)
    count: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Acked:
    """The broker appended the batch, now or on an earlier attempt.

    ``offset`` is that of the batch's first record; ``timestamp`` is the broker's append
    time in milliseconds where the topic uses LogAppendTime, else ``None``.
    """

    broker: str | None
    offset: int
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """acks=0: the batch was handed to the socket, and nobody will answer."""

    broker: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The broker (or the metadata) answered with an error code.

    ``offset`` >= 0 says that the batch was appended nevertheless (seen with 3, 6 and 7).
    ``record_errors`` are (index in the batch, message) of KIP-467, where the broker gave them.
    """

    broker: str | None
    code: int
    offset: int = -1
    message: str | None = None
    record_errors: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request reached the socket: certainly not appended by this attempt."""

    broker: str | None
    cause: BaseException | None


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Bytes were written and no answer came in time: the broker may have appended the batch."""

    broker: str | None
    cause: BaseException | None


AttemptResult = Acked | Unacknowledged | Rejected | NotSent | InDoubt
"""What one Produce request comes back as."""

OnResult = Callable[[AttemptResult], None]
"""Who hears what came of a batch that was posted."""


class TransportListener(Protocol):
    """What a transport tells without being asked. Plain calls on the event loop; they never raise."""

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        """An answer arrived after the deadline of its attempt, which had ended as `InDoubt`."""

    def on_partitions(self, topic: str, count: int, /) -> None:
        """A metadata answer showed another partition count for a topic asked for before."""


class Transport(Protocol):
    """A way to a log. Belongs to one event loop, from `start` to `aclose`.

    All deadlines are in seconds of ``loop.time()``. Every method may be cancelled at any
    await without harm: what was written stays in doubt, what was not is not sent. A call
    before `start`, and a second `start`, is a `UsageError`.
    """

    async def start(self, listener: TransportListener, /) -> None:
        """Begin work. Returns at once, also while no broker is reachable."""

    async def aclose(self, deadline: float, /) -> None:
        """End every pending call with its value and abort all sockets. Safe to call twice.

        `produce` ends as `NotSent` or `InDoubt`, `ready` with ``None`` (the `produce` behind it
        then says `NotSent`), `partitions` and `producer_id` with code 8, `connected` with a
        `StartError`. Afterwards no socket, task, timer or file is left.
        """

    async def connected(self) -> None:
        """Return once a broker has answered.

        Raises:
            StartError: the brokers refused this client (authentication, TLS); waiting would not help.
        """

    def problems(self) -> tuple[str, ...]:
        """Why nothing could be written now (no broker reached, authentication failed); empty if ready."""

    async def partitions(self, topic: str, /, *, fresh: bool = False) -> int | Rejected:
        """Return the topic's partition count as soon as it is known, or why there is none.

        Waits for as long as no broker answers. A topic counts as unknown after four
        metadata answers that say so, at least 250 ms apart. ``fresh`` asks the brokers
        again instead of answering from what is known.
        """

    def has_leader(self, partition: TopicPartition, /) -> bool:
        """Whether the partition's leader is known now; null keys avoid partitions without one."""

    async def producer_id(self, *, stale: int | None = None) -> ProducerId | Rejected:
        """Return this client's producer id, one for all partitions.

        Waits for as long as no broker answers. An id equal to ``stale`` (its epochs are
        used up) is replaced by a new one. `Rejected` is an answer that waiting will not change.
        """

    async def ready(self, partition: TopicPartition, acks: Acks, /) -> Rejected | None:
        """Return ``None`` when a batch could be written now; wait until then.

        That is: the leader is known and connected (one connection per broker and acks
        value), no throttle time runs, and no request is in flight on that connection.
        `Rejected` says that waiting will not help (unknown topic, not authorised). A topic
        that was known before is given 30 s to come back.
        """

    def encode(self, records: Sequence[Record], stamp: Stamp, compression: Compression, /) -> WireBatch:
        """Encode *records*, all of whose timestamps are set, into one batch. Large ones are encoded in a thread."""

    async def produce(
        self, partition: TopicPartition, batch: WireBatch, acks: Acks, deadline: float, /
    ) -> AttemptResult:
        """Send *batch* once, right after `ready`, and return what came of it by *deadline*.

        Calls made in one turn of the loop for one broker and acks value share a request. A
        deadline in the past is `NotSent`. The answer for a call that was cancelled goes to
        `TransportListener.on_late`, as one that comes after its deadline does.
        """


class Posted(Protocol):
    """A batch that was handed over by `CallbackTransport.post`."""

    def cancel(self) -> object:
        """Wait for it no longer. Not written yet, it is not sent; written, its answer is a late one."""


@runtime_checkable
class CallbackTransport(Transport, Protocol):
    """A transport that can be asked and given a batch without a coroutine.

    These methods are optional for a transport, and only faster: without them each batch of a partition
    costs a task.
    """

    def known_producer_id(self, *, stale: int | None = None) -> ProducerId | None:
        """Return what `producer_id` would return without waiting."""

    def is_ready(self, partition: TopicPartition, acks: Acks, /) -> bool:
        """Whether `ready` would return ``None`` without waiting."""

    def call_when_ready(self, partition: TopicPartition, acks: Acks, callback: Callable[[], None], /) -> bool:
        """Call *callback* when it is worth while to ask `is_ready` again; false if only `ready` can wait for that.

        In a later turn of the loop, before anything that is posted in this one is written. Asked again
        with an equal *callback*, it is called once; sometimes it is called for nothing.
        """

    def post(
        self,
        partition: TopicPartition,
        batch: WireBatch,
        acks: Acks,
        deadline: float,
        on_result: OnResult,
        /,
    ) -> Posted:
        """Send *batch* as `produce` does, and call *on_result* once with what came of it.

        Not before this has returned, and not after a `Posted.cancel` unless its value was known by
        then. Where one answer has the values of many, each is told in a callback of its own: what
        *on_result* does takes its time. It does not raise, and may post the next batch.
        """


class Partitioner(Protocol):
    """Chooses the partitions of keyed records; equal keys must give equal partitions."""

    def __call__(self, keys: Sequence[bytes], partitions: int, /) -> Sequence[int]:
        """Return a number from 0 to *partitions* - 1 for each of *keys*."""


@dataclass(frozen=True, slots=True)
class AttemptDetails:
    """What a hook learns of one attempt: where it went, how many records it carried, what came of it."""

    topic: str
    partition: int
    records: int
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class OutcomeDetails:
    """What a hook learns of one event's outcome: the acknowledgement or the error, never the payload."""

    event_id: str | None
    topic: str
    outcome: Delivery | PublishError


@dataclass(frozen=True, slots=True)
class DeadLetterDetails:
    """What a hook learns when the write of a dead letter has ended: which event, why, and where it lies now."""

    event_id: str | None
    topic: str
    reason: str
    receipt: Receipt


class Hook(Protocol):
    """Receives what happens; implement any subset. Plain functions; what they raise changes no outcome."""

    on_attempt: Callable[[AttemptDetails], None]
    on_outcome: Callable[[OutcomeDetails], None]
    on_late_outcome: Callable[[OutcomeDetails], None]
    on_dead_letter: Callable[[DeadLetterDetails], None]
    on_state: Callable[[str], None]


class DeadLetterSink(Protocol):
    """A place for dead letters. Belongs to one event loop from `open` to `aclose`; never raises for a failed write.

    Attributes:
        name: what receipts, messages and metrics call it, such as "spool /var/lib/app/spool.db".
    """

    name: str

    async def open(self) -> None:
        """Begin work. Returns at once, also where the place cannot be reached now.

        Raises:
            ConfigurationError: it can never work as configured.
        """

    def trouble(self) -> str | None:
        """Why a write would fail now, as far as that is known without trying; the chain skips such a sink."""

    async def write(self, letters: Sequence[DeadLetter], deadline: float, /) -> Sequence[DeadLetterError | None]:
        """Make *letters* durable by *deadline* (seconds of ``loop.time()``), in order; one result for each.

        ``None`` says that a letter is durable. Several calls may be under way at once.
        """

    async def resolve(self, resolutions: Sequence[Resolution], deadline: float, /) -> None:
        """Keep what became of letters that were written here before.

        Raises:
            DeadLetterError: it could not; the letters stay as they were.
        """

    async def aclose(self, deadline: float, /) -> None:
        """End what is under way by *deadline*; leave no socket, task, thread or file open."""


class Serializer(Protocol):
    """Turns an event's payload into bytes, and says which media type they are."""

    content_type: str

    def serialize(self, event: object, /) -> bytes:
        """Return the payload's bytes.

        Raises:
            SerializationError: naming the field that has no form on the wire.
        """


WaitStage = Literal["admission", "metadata"]
"""What an event may wait for before it is in its partition's queue: room, or the partition count."""


class Levels(NamedTuple):
    """What an engine counts by itself: how much is in it now, and two counts since it was made."""

    records: int
    bytes: int
    waiting: int
    epochs_bumped: int
    mixed_cuts: int


class Recorder(Protocol):
    """What spans and metrics are made of. Plain calls on the event loop that never raise.

    A token is what the recorder wants to keep of one event: opaque, and ``None`` where it
    keeps nothing. Times are seconds of ``loop.time()``.
    """

    def watch(self, levels: Callable[[], Levels], /) -> None:
        """Take *levels*, a bound method, as what to read when somebody asks; in any thread."""

    def started(self, event: object, record: Record, group: object | None, /) -> tuple[Headers, object | None]:
        """Note the publish of *event*, in its caller's context; return headers to add to its record, and its token."""

    def refused(self, error: PublishError, group: object | None, now: float, /) -> None:
        """Note a publish that failed before it was `started`."""

    def many(self, count: int, started: float, /) -> object | None:
        """Note a ``publish_many`` of *count* events; return what `started` and `refused` take as their group."""

    def many_cut(self, group: object | None, seen: int, now: float, /) -> None:
        """Note that a ``publish_many`` ends early: only *seen* of its events were started or refused."""

    def waited(
        self, token: object | None, stage: WaitStage, topic: str, started: float, now: float, /
    ) -> object | None:
        """Note that an event need not wait for *stage* any more; return its token from now on."""

    def attempt(
        self,
        oldest: tuple[object | None, float],
        topic: str,
        batch: tuple[int, int, int],
        history: tuple[Attempt, ...],
        /,
    ) -> None:
        """Note an attempt, the last one of *history*.

        *oldest* is the token of the batch's first event, and when that was published. *batch* is its
        number of records, its bytes, and how many its profile allows.
        """

    def ended(
        self,
        token: object | None,
        topic: str,
        outcome: Delivery | PublishError | None,
        history: tuple[Attempt, ...],
        started: float,
        now: float,
        /,
    ) -> None:
        """Note what became of an event that was `started`; ``None``: it was withdrawn. Its caller has been told."""

    def delivered(
        self,
        topic: str,
        tokens: Sequence[object | None],
        deliveries: Sequence[Delivery],
        history: tuple[Attempt, ...],
        now: float,
        /,
    ) -> None:
        """Note that all events of a batch were acknowledged now: `ended` for many."""

    def late(self, token: object | None, topic: str, outcome: Delivery | PublishError, /) -> None:
        """Note an answer that came after its event had `ended`."""

    def writing(self, sink: str, letters: Sequence[DeadLetter], now: float, /) -> object | None:
        """Note that *sink* is given *letters*; return a token."""

    def written(self, token: object | None, failed: int, now: float, /) -> None:
        """Note the end of that write: how many letters were not taken."""

    def dead_letter(self, reason: str, receipt: Receipt, /) -> None:
        """Note where a dead letter lies, or that no sink took it."""

    def close(self) -> None:
        """Let go of the engine; counts stay."""
