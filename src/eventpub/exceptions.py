"""Every error eventpub raises; the first level answers "may I send it again?".

::

    EventPubError
    ├── ConfigurationError(ValueError)       every finding at once, each with its fix
    ├── UsageError(RuntimeError)             not open, wrong loop, forked process, wrong kind of object
    │   └── PublisherNotOpen
    ├── StartError                           an eager start found no broker, or was refused
    ├── DeadLetterError                      a sink did not take a dead letter
    └── PublishError                         one event's outcome, when it is not "persisted"
        ├── NotPersistedError                safe to publish again
        │   ├── RejectedError                … after fixing it
        │   │   ├── SerializationError
        │   │   ├── EventTooLargeError
        │   │   ├── TopicAuthorizationError
        │   │   ├── UnknownTopicError
        │   │   └── InvalidRecordError
        │   ├── BufferFullError              … later
        │   ├── UnavailableError             … later
        │   └── PublisherClosed(UsageError)  … elsewhere
        └── PossiblyPersistedError           do not publish again blindly

No leaf names a "last error": a publish may have tried several times, and
``PublishError.history`` tells what each attempt said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, Unpack

from eventpub.delivery import Attempt, PersistenceStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventpub.receipt import Receipt

UnavailableReason = Literal["budget", "attempts", "drain", "closing"]
DoubtReason = Literal["budget", "attempts", "rejected", "no_retry", "drain", "fenced"]


class EventPubError(Exception):
    """Root of every error that eventpub raises on purpose.

    Attributes:
        result: what a function decorated with `emits` had returned when this was raised instead; it
            is in no message, and a pickled error leaves it out.
    """

    result: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "result"}
        return type(self), self.args, state


class Finding(NamedTuple):
    """One thing wrong with a configuration: what, why, and what to do about it."""

    setting: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.reason}; {self.fix}"


class ConfigurationError(EventPubError, ValueError):
    """A configuration that cannot work. ``findings`` holds every one of its faults, not only the first."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)))

    @classmethod
    def of(cls, setting: str, reason: str, fix: str) -> ConfigurationError:
        """Report a single finding."""
        return cls([Finding(setting, reason, fix)])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.findings,)


class Findings:
    """Collects what several parts of a configuration find wrong, to raise all of it at once."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def __enter__(self) -> None:
        """Begin a part; what it finds wrong is kept, and the next part has its turn."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, ConfigurationError):
            self._found.extend(error.findings)
            return True
        return False

    def raise_any(self) -> None:
        """Raise `ConfigurationError` if a part found something."""
        if self._found:
            raise ConfigurationError(self._found)


class UsageError(EventPubError, RuntimeError):
    """A call that makes no sense here: the message says what to call instead."""


class PublisherNotOpen(UsageError):  # noqa: N818 - names a state, as trio's and httpx's do
    """A publish before ``async with publisher`` (or ``await publisher.open()``)."""


class StartError(EventPubError):
    """``connect="eager"`` found no usable broker within ``start_timeout``. The cause is chained."""


class DeadLetterError(EventPubError):
    """A dead letter was not written. The event is in the `PublishError` whose notes and context this is.

    Attributes:
        in_doubt: whether the sink may have it all the same (a write that was not confirmed).
    """

    def __init__(self, message: str, *, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.in_doubt = in_doubt

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_dead_letter_error, (self.args[0], self.in_doubt)


def _restore_dead_letter_error(message: str, in_doubt: bool) -> DeadLetterError:  # noqa: FBT001 - pickle gives positions
    return DeadLetterError(message, in_doubt=in_doubt)


class Facts(TypedDict, total=False):
    """What a `PublishError` may know about its event, besides the message."""

    event_id: str | None
    topic: str | None
    partition: int | None
    history: tuple[Attempt, ...]
    elapsed: float
    kafka_code: int | None
    kafka_error: str | None
    reason: str | None
    dead_letter: Receipt | None
    record: Any


class PublishError(EventPubError):
    """One event did not end as *persisted*. Raise-and-forget is safe only where ``status`` says so.

    The message and ``repr`` never hold keys or payloads. ``record`` gives the published
    event back; a pickled error leaves it out.

    Attributes:
        status: `PersistenceStatus.NOT_PERSISTED` or `PersistenceStatus.POSSIBLY_PERSISTED`.
        event_id: the CloudEvents id, or ``None`` for a record without one.
        topic: the topic the event was meant for.
        partition: its partition, once that was known.
        history: every attempt made, oldest first.
        elapsed: seconds from the call to this outcome.
        kafka_code: the protocol's error code, where a broker gave the decisive answer.
        kafka_error: the protocol's name for that code.
        reason: what ended the delivery, where the class alone does not say.
        dead_letter: where it was kept instead; ``None`` where nobody named a place for it.
        record: the `Event` or `Record` that was published.
    """

    status: PersistenceStatus = PersistenceStatus.NOT_PERSISTED
    event_id: str | None = None
    topic: str | None = None
    partition: int | None = None
    history: tuple[Attempt, ...] = ()
    elapsed: float = 0.0
    kafka_code: int | None = None
    kafka_error: str | None = None
    reason: str | None = None
    dead_letter: Receipt | None = None
    record: Any = None

    def __init__(self, message: str, **facts: Unpack[Facts]) -> None:
        super().__init__(message)
        self.__dict__.update(facts)

    def __str__(self) -> str:
        kept = f"; {self.dead_letter}" if self.dead_letter else ""
        return f"{self.args[0]}{kept}"

    @property
    def attempts(self) -> int:
        """How many Produce requests carried the event."""
        return len(self.history)

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {name: value for name, value in self.__dict__.items() if name in Facts.__annotations__}
        facts.pop("record", None)
        return _restore, (type(self), self.args[0], facts)


def _restore(cls: type[PublishError], message: str, facts: Facts) -> PublishError:
    return cls(message, **facts)


class NotPersistedError(PublishError):
    """The event is certainly not in the log: publishing it again cannot duplicate it."""


class RejectedError(NotPersistedError):
    """The event, its topic or its permissions must change before another publish can succeed."""


class SerializationError(RejectedError):
    """The event has no form on the wire; the message names the field."""


class EventTooLargeError(RejectedError):
    """Codes 10 and 18 (MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE), or larger than any request may be."""


class TopicAuthorizationError(RejectedError):
    """Code 29: this client may not write to the topic."""


class UnknownTopicError(RejectedError):
    """Code 3: the brokers said repeatedly that there is no such topic. eventpub never creates one."""


class InvalidRecordError(RejectedError):
    """Codes 2, 32 and 87, or a partition that the topic does not have."""


class BufferFullError(NotPersistedError):
    """``publish_nowait`` found no room. Await ``publish`` to wait for it, or raise `BufferLimits`."""


class UnavailableError(NotPersistedError):
    """The event could not be delivered in time. ``reason``: budget, attempts, drain or closing."""


class PublisherClosed(NotPersistedError, UsageError):  # noqa: N818 - names a state
    """A publish on a publisher that is closing or closed."""


class PossiblyPersistedError(PublishError):
    """The event may be in the log: a broker may have appended it without our hearing of it.

    ``reason``: budget, attempts, rejected, no_retry, drain or fenced.
    """

    status = PersistenceStatus.POSSIBLY_PERSISTED
