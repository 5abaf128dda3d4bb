"""What a test scripted to go wrong next.

Says only *which* request or batch is hit, and in what order. What being hit means is
decided where it happens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from eventpub.abc import TopicPartition
from eventpub.exceptions import UsageError


class Effect:
    """What happens to a request or a batch; ``verb`` is the method that asked for it."""

    __slots__ = ()
    verb: ClassVar[str]


class OnTheWire(Effect):
    """Happens to a whole request, after the client wrote it."""

    __slots__ = ()


class OnTheWayThere(OnTheWire):
    """Happens before the broker reads the request."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class NotSend(Effect):
    """The client cannot write the batch."""

    verb = "not_sent_next"


@dataclass(frozen=True, slots=True)
class Drop(OnTheWayThere):
    """The request never arrives."""

    verb = "drop_next"
    disconnect: bool


@dataclass(frozen=True, slots=True)
class Hold(OnTheWayThere):
    """The request waits in the network until it is released."""

    verb = "hold_next"
    late_answer: bool


@dataclass(frozen=True, slots=True)
class LoseAck(OnTheWire):
    """The broker serves the request, and its answer never arrives."""

    verb = "lose_next_ack"
    disconnect: bool


@dataclass(frozen=True, slots=True)
class Reject(Effect):
    """The leader answers *code*; if *appended* it has written the batch, and says where."""

    verb = "reject_next"
    code: int
    appended: bool
    record_errors: tuple[tuple[int, str], ...]


Kind = TypeVar("Kind", bound=Effect)


@dataclass(slots=True, eq=False)
class Fault:
    """An effect on the next *times* requests or batches, of one topic or partition if named."""

    effect: Effect
    times: int = 1
    topic: str | None = None
    partition: int | None = None

    def __post_init__(self) -> None:
        if self.times < 1:
            raise UsageError(f"times: {self.times} would never happen; give at least 1")

    def concerns(self, partitions: Iterable[TopicPartition]) -> bool:
        """Whether one of *partitions* is meant."""
        return any(
            self.topic in {None, topic} and self.partition in {None, partition} for topic, partition in partitions
        )


@dataclass(slots=True, eq=False)
class Faults:
    """The script. Of the faults that could hit something, the one added first does."""

    _scripted: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        """Script *fault* behind those already there."""
        self._scripted.append(fault)

    def clear(self) -> None:
        """Forget what has not happened yet."""
        self._scripted.clear()

    def __bool__(self) -> bool:
        return bool(self._scripted)

    def take(self, kind: type[Kind], of: Iterable[TopicPartition]) -> Kind | None:
        """Return the next effect of that *kind* on a request for the partitions *of*, and use it up."""
        for fault in self._scripted:
            if isinstance(fault.effect, kind) and fault.concerns(of):
                self._use_up(fault)
                return fault.effect
        return None

    def _use_up(self, fault: Fault) -> None:
        fault.times -= 1
        if not fault.times:
            self._scripted.remove(fault)
