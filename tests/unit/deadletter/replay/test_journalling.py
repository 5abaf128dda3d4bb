"""What stands in the journal before, between and after the attempts of one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from eventpub import Record
from eventpub.abc import Acked, AttemptResult, InDoubt, NotSent, Rejected, Stamp, TopicPartition, WireBatch
from eventpub.deadletter.replaying.journalling import JournallingTransport
from eventpub.deadletter.replaying.worker import Worker
from eventpub.exceptions import DeadLetterError
from tests.unit.deadletter.letters import letters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from eventpub.letter import Resolution

TASKS = TopicPartition("tasks", 0)
DOUBT = InDoubt("b", None)
DUPLICATE, REPLICAS = 46, 19


class Inner:
    """A transport that answers from a list, and writes down when."""

    def __init__(self, log: list[str]) -> None:
        self.answers: list[AttemptResult] = []
        self._log = log

    def encode(self, records: Sequence[Record], stamp: Stamp, _compression: str) -> WireBatch:
        """Return a batch."""
        return WireBatch(b"", len(records), stamp)

    async def produce(self, *_args: object) -> AttemptResult:
        """Answer."""
        self._log.append("sent")
        return self.answers.pop(0)


class Diary:
    """A journal that writes down what it is told, or fails."""

    def __init__(self, log: list[str]) -> None:
        self.fails = ""
        self.offsets: list[int | None] = []
        self._log = log

    def _note(self, what: str) -> None:
        if self.fails == what:
            raise DeadLetterError("disk full")
        self._log.append(what)

    def begin(self, _partition: TopicPartition, _wire: WireBatch, _ids: Sequence[str]) -> int:
        """Write down a beginning."""
        self._note("begun")
        return 1

    def done(self, _number: int, resolutions: Sequence[Resolution]) -> None:
        """Write down an end."""
        self._note("done")
        self.offsets = [resolution.offset for resolution in resolutions]

    def void(self, _number: int) -> None:
        """Write down that nothing was appended."""
        self._note("void")


class Desk:
    """A journalling transport with two letters to send, and all that happens."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.inner, self.journal, self.worker = Inner(self.log), Diary(self.log), Worker("test")
        self.transport = JournallingTransport(cast("Any", self.inner), cast("Any", self.journal), self.worker)
        self.dead = letters(2)
        self.records = [each.record for each in self.dead]
        self.transport.letters = {id(r): each for r, each in zip(self.records, self.dead, strict=True)}

    def batch(self, sequence: int = 0) -> WireBatch:
        """Encode both."""
        return self.transport.encode(self.records, Stamp(7, 0, sequence), "none")

    async def produce(self, batch: WireBatch, *answers: AttemptResult) -> list[AttemptResult]:
        """Send *batch* once for each of *answers*."""
        self.inner.answers = list(answers)
        return [await self.transport.produce(TASKS, batch, "all", 1.0) for _ in answers]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Return a desk, and let its thread end."""
    desk = Desk()
    yield desk
    desk.worker.close()


async def test_an_acknowledged_batch_is_begun_before_and_done_after(desk: Desk) -> None:
    """Its letters get consecutive offsets."""
    assert await desk.produce(desk.batch(), Acked("b", 40)) == [Acked("b", 40)]
    assert desk.log == ["begun", "sent", "done"]
    assert desk.journal.offsets == [40, 41]
    assert [each.offset for each in desk.transport.resolutions] == [40, 41]


async def test_a_resend_is_begun_once(desk: Desk) -> None:
    """The entry says all the time that it may have been written."""
    await desk.produce(desk.batch(), DOUBT, DOUBT, Acked("b", 0))
    assert desk.log == ["begun", "sent", "sent", "sent", "done"]


@pytest.mark.parametrize("refusal", [Rejected("b", REPLICAS), NotSent("b", None)])
async def test_a_clean_refusal_is_void_before_anybody_hears_of_it(desk: Desk, refusal: AttemptResult) -> None:
    """And sent again it is begun anew."""
    batch = desk.batch()
    await desk.produce(batch, refusal, Acked("b", 0))
    assert desk.log == ["begun", "sent", "void", "begun", "sent", "done"]


async def test_a_refusal_after_doubt_takes_nothing_back(desk: Desk) -> None:
    """The attempt before it may have been appended: seen on Apache Kafka with NOT_ENOUGH_REPLICAS."""
    await desk.produce(desk.batch(), DOUBT, Rejected("b", REPLICAS), NotSent("b", None))
    assert desk.log == ["begun", "sent", "sent", "sent"]


async def test_an_offset_in_a_refusal_is_doubt(desk: Desk) -> None:
    """The append came first."""
    await desk.produce(desk.batch(), Rejected("b", REPLICAS, offset=3))
    assert desk.log == ["begun", "sent"]


async def test_a_duplicate_is_an_acknowledgement_without_an_offset(desk: Desk) -> None:
    """As old brokers say it."""
    await desk.produce(desk.batch(), DOUBT, Rejected("b", DUPLICATE))
    assert (desk.log, desk.journal.offsets) == (["begun", "sent", "sent", "done"], [None, None])


async def test_nothing_follows_a_batch_that_was_given_up_in_doubt(desk: Desk) -> None:
    """It comes to its end by the next run, and would do so behind what was behind it."""
    await desk.produce(desk.batch(), DOUBT)
    [result] = await desk.produce(desk.batch(sequence=2), Acked("b", 0))
    assert isinstance(result, NotSent)
    assert desk.log == ["begun", "sent"]
    assert desk.transport.stopped == "tasks[0]: a batch before this one may have been written, and was given up"


async def test_what_follows_an_acknowledgement_is_sent(desk: Desk) -> None:
    """Doubt ends with it."""
    await desk.produce(desk.batch(), DOUBT, Acked("b", 0))
    assert await desk.produce(desk.batch(sequence=2), Acked("b", 2)) == [Acked("b", 2)]


@pytest.mark.parametrize("step,log", [("begun", []), ("done", ["begun", "sent"]), ("void", ["begun", "sent"])])
async def test_without_a_journal_nothing_is_sent(desk: Desk, step: str, log: list[str]) -> None:
    """What cannot be noted did not happen, and the replay has ended."""
    desk.journal.fails = step
    batch = desk.batch()
    answer = Rejected("b", REPLICAS) if step == "void" else Acked("b", 0)
    [result, again] = await desk.produce(batch, answer, Acked("b", 0))
    assert isinstance(result, NotSent)
    assert isinstance(again, NotSent)
    assert (desk.log, desk.transport.stopped) == (log, "the journal cannot be written: disk full")


async def test_late_answers_are_not_passed_on() -> None:
    """The engine would go on with what is behind it, and the journal would not know."""

    class Listener:
        late = 0
        counts = 0

        def on_late(self, *_args: object) -> None:
            self.late += 1

        def on_partitions(self, *_args: object) -> None:
            self.counts += 1

    desk, listener = Desk(), Listener()

    async def start(_listener: object) -> None:
        pass

    desk.inner.start = start  # type: ignore[attr-defined]  # not asked for elsewhere
    await desk.transport.start(listener)
    desk.transport.on_late(TASKS, desk.batch(), Acked("b", 0))
    desk.transport.on_partitions("tasks", 3)
    assert (listener.late, listener.counts) == (0, 1)
    desk.worker.close()
