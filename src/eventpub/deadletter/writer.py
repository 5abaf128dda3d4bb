"""Writes dead letters: from one sink to the next, each with its share of the time, off the publishers' way.

What arrives in one turn of the loop, or while as many groups are under way as may be, is
written as one group. What a letter says is decided elsewhere, and who is told its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import Context
from dataclasses import replace

from eventpub.abc import DeadLetterSink, Recorder
from eventpub.buffer import BufferLimits
from eventpub.deadletter.topic import TopicSink
from eventpub.exceptions import DeadLetterError
from eventpub.letter import DeadLetter, Resolution
from eventpub.receipt import Receipt

_log = logging.getLogger("eventpub.deadletter")

_GROUP = 500  # letters
_GROUPS_AT_ONCE = 8
_SAME_DEADLINE = 0.25  # seconds that the deadlines within a group may differ
_SWEEP = 0.1  # seconds between two looks for letters whose turn does not come
_LATE = 0.1  # seconds that a sink may take beyond its time before it is left
_RESOLVING_TAKES = 5.0  # seconds
_CLOSING_TAKES = 0.3  # seconds that a sink has for closing beyond the deadline

OnEnd = Callable[[Receipt, DeadLetterError | None], None]


class Submitted:
    """A letter on its way through the sinks.

    Attributes:
        deadline: when it must be somewhere.
        at: the sink that it has been given to and that has not answered.
        kept_in: the sinks that have it, or may have it.
        ended: whether its fate is known.
    """

    __slots__ = ("_later", "_on_end", "_writer", "at", "begun", "deadline", "ended", "failures", "kept_in", "letter")

    def __init__(self, writer: Writer, letter: DeadLetter, deadline: float, on_end: OnEnd) -> None:
        self._writer = writer
        self._on_end = on_end
        self._later: list[Resolution] = []
        self.letter = letter
        self.deadline = deadline
        self.at: DeadLetterSink | None = None
        self.kept_in: list[DeadLetterSink] = []
        self.failures: list[str] = []
        self.begun = False
        self.ended = False

    def withdraw(self) -> bool:
        """Take it back, if no sink has been given it; say whether that was so."""
        if self.begun or self.ended:
            return False
        self.ended = True
        self._writer.forget(self)
        return True

    def resolve(self, resolution: Resolution, /) -> None:
        """Keep what became of it later, once it is written."""
        if self.ended:
            self._writer.resolve(self.kept_in, resolution)
        else:
            self._later.append(resolution)

    def given_to(self, sink: DeadLetterSink) -> None:
        """Note that *sink* may have it from now on."""
        self.begun, self.at = True, sink

    def refused(self, sink: DeadLetterSink, failure: DeadLetterError) -> None:
        """Note that *sink* did not take it; where that is in doubt, the next one is told."""
        self.at = None
        self.failures.append(f"{sink.name}: {failure}")
        if failure.in_doubt:
            self.kept_in.append(sink)
            self.letter = replace(self.letter, doubtful_in=sink.name)

    def written(self, sink: DeadLetterSink) -> None:
        """End: *sink* has it."""
        self.kept_in.append(sink)
        self._end(Receipt(self.letter.id, sink.name, "written"), None)

    def failed(self, why: str) -> None:
        """End: no sink has it for certain. One that it was given to, and that did not answer, may have it."""
        if self.at is not None:
            self.kept_in.append(self.at)
        failure = DeadLetterError(f"no sink took the dead letter: {why}", in_doubt=bool(self.kept_in))
        self._end(Receipt(self.letter.id, None, "failed"), failure)

    def _end(self, receipt: Receipt, failure: DeadLetterError | None) -> None:
        if self.ended:
            return
        self.ended = True
        self._writer.forget(self)
        self._on_end(receipt, failure)
        for resolution in self._later:
            self._writer.resolve(self.kept_in, resolution)


class Writer:
    """The sinks of one publisher, in order, and what is on its way to them.

    Args:
        sinks: tried in this order.
        limits: on what is in memory; a letter beyond them fails at once, and its event is in the exception.
    """

    def __init__(self, sinks: Sequence[DeadLetterSink], limits: BufferLimits, recorder: Recorder | None = None) -> None:
        self._recorder = recorder
        self._sinks = tuple(sinks)
        self._limits = limits
        self._queue: deque[Submitted] = deque()
        self._open: dict[Submitted, None] = {}
        self._bytes = 0
        self._resolutions: dict[DeadLetterSink, list[Resolution]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._groups = 0
        self._flush_due = False
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self._failing = False
        self._failing_since = 0.0

    async def open(self) -> None:
        """Open every sink.

        Raises:
            ConfigurationError: one can never work as configured.
        """
        self._loop = asyncio.get_running_loop()
        for sink in self._sinks:
            await sink.open()

    def submit(self, letter: DeadLetter, deadline: float, on_end: OnEnd, /) -> Submitted:
        """Write *letter* by *deadline*; *on_end* hears of it once, in a later turn of the loop."""
        submitted = Submitted(self, letter, deadline, on_end)
        if why := self._no_room(letter):
            self._loop.call_soon(self._fail, submitted, why)
            return submitted
        self._open[submitted] = None
        self._bytes += letter.record.size
        self._queue.append(submitted)
        self._flush_soon()
        return submitted

    def _no_room(self, letter: DeadLetter) -> str | None:
        if self._closed:
            return "the publisher is closed"
        full = len(self._open) >= self._limits.max_records
        if full or (self._open and self._bytes + letter.record.size > self._limits.max_bytes):
            return f"{len(self._open)} dead letters are being written; raise DeadLetters(..., buffer=BufferLimits())"
        return None

    def forget(self, submitted: Submitted) -> None:
        """Stop counting what has ended."""
        if submitted in self._open:
            del self._open[submitted]
            self._bytes -= submitted.letter.record.size

    # --- writing -------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        while self._queue and self._groups < _GROUPS_AT_ONCE:
            if group := self._next_group():
                self._groups += 1
                self._run(self._write(group))
        if self._queue and self._sweep is None and not self._closed:
            self._sweep = self._loop.call_later(_SWEEP, self._end_overdue, context=Context())

    def _end_overdue(self) -> None:
        """End what waits behind sinks that do not answer, when its own time is over."""
        self._sweep = None
        now = self._loop.time()
        for submitted in [each for each in self._queue if each.deadline <= now and not each.ended]:
            self._fail(submitted, "its turn had not come when the time was over")
        self._queue = deque(each for each in self._queue if not each.ended)
        self._flush_soon()

    def _next_group(self) -> list[Submitted]:
        group: list[Submitted] = []
        while self._queue and len(group) < _GROUP:
            first = self._queue[0]
            if group and abs(first.deadline - group[0].deadline) > _SAME_DEADLINE:
                break
            self._queue.popleft()
            if not first.ended:  # else withdrawn
                group.append(first)
        return group

    async def _write(self, group: list[Submitted]) -> None:
        try:
            left = [submitted for submitted in group if not submitted.ended]  # the others were withdrawn since
            chain = self._chain(left) if left else []
            for i, sink in enumerate(chain):
                left = await self._offer(sink, left, last=i == len(chain) - 1)
                if not left:
                    self._works_again()
                    return
            for submitted in left:
                self._fail(submitted, "; ".join(submitted.failures))
        finally:
            self._groups -= 1
            self._flush_soon()

    def _chain(self, group: Iterable[Submitted]) -> list[DeadLetterSink]:
        """Return the sinks to try: all that are not known to be out of reach, else the last."""
        chain: list[DeadLetterSink] = []
        for sink in self._sinks:
            trouble = _trouble(sink)
            if trouble is None or (sink is self._sinks[-1] and not chain):
                chain.append(sink)
            else:
                for submitted in group:
                    submitted.failures.append(f"{sink.name}: {trouble}")
        return chain

    async def _offer(self, sink: DeadLetterSink, group: list[Submitted], *, last: bool) -> list[Submitted]:
        """Give *group* to *sink*; return those that it did not take."""
        now = self._loop.time()
        deadline = min(submitted.deadline for submitted in group)
        until = deadline if last else now + (deadline - now) / 2
        for submitted in group:
            submitted.given_to(sink)
        results = await self._give(sink, [submitted.letter for submitted in group], until)
        for submitted, failure in zip(group, results, strict=True):
            if failure is None:
                submitted.written(sink)
            else:
                submitted.refused(sink, failure)
        return [submitted for submitted in group if not submitted.ended]

    async def _give(
        self, sink: DeadLetterSink, letters: Sequence[DeadLetter], until: float
    ) -> Sequence[DeadLetterError | None]:
        # A topic is written by a publisher of its own, which tells its own recorder.
        if self._recorder is None or isinstance(sink, TopicSink):
            return await _written(sink, letters, until)
        token = self._recorder.writing(sink.name, letters, self._loop.time())
        failed = len(letters)
        try:
            results = await _written(sink, letters, until)
            failed = sum(failure is not None for failure in results)
        finally:
            self._recorder.written(token, failed, self._loop.time())
        return results

    def _fail(self, submitted: Submitted, why: str) -> None:
        if not self._failing:
            self._failing = True  # one line, until some letter gets through
            self._failing_since = self._loop.time()
            letter = submitted.letter
            facts = {"line": "deadletter.failing", "event_id": letter.event_id, "topic": letter.record.topic}
            _log.error("no sink took a dead letter, its event is only in the exception: %s", why, extra=facts)
        submitted.failed(why)

    def _works_again(self) -> None:
        if self._failing:
            self._failing = False
            took = self._loop.time() - self._failing_since
            facts = {"line": "deadletter.recovered", "duration": took}
            _log.info("dead letters are written again after %.1f s", took, extra=facts)

    # --- late outcomes -------------------------------------------------------------

    def resolve(self, sinks: Iterable[DeadLetterSink], resolution: Resolution) -> None:
        """Keep *resolution* in *sinks*, in the background; what comes in one turn of the loop goes together."""
        for sink in sinks:
            waiting = self._resolutions.setdefault(sink, [])
            waiting.append(resolution)
            if len(waiting) == 1 and not self._closed:
                self._run(self._resolve(sink, self._loop.time() + _RESOLVING_TAKES))

    async def _resolve(self, sink: DeadLetterSink, deadline: float) -> None:
        if not (resolutions := self._resolutions.pop(sink, ())):
            return
        try:
            async with asyncio.timeout_at(deadline + _LATE):
                await sink.resolve(resolutions, deadline)
        except Exception as error:  # noqa: BLE001 - a sink of the user's may raise anything
            facts = {"line": "deadletter.unresolved", "sink": sink.name, "records": len(resolutions)}
            text = "%s was not told what became of %d dead letters: %s"
            why = str(error) or type(error).__name__
            _log.warning(text, sink.name, len(resolutions), why, extra=facts)

    # --- close ---------------------------------------------------------------------

    async def aclose(self, deadline: float, /) -> None:
        """Write what can be written by *deadline*, end the rest as failed, and close the sinks."""
        try:
            while self._tasks and (left := deadline - self._loop.time()) > 0:
                await asyncio.wait(self._tasks, timeout=left)
        finally:
            self._closed = True
            if self._sweep is not None:
                self._sweep.cancel()
            for task in self._tasks:
                task.cancel()
            for submitted in list(self._open):
                self._fail(submitted, "; ".join([*submitted.failures, "the publisher was closed meanwhile"]))
            await asyncio.gather(*(self._close(sink, max(deadline, self._loop.time())) for sink in self._sinks))

    async def _close(self, sink: DeadLetterSink, deadline: float) -> None:
        """Tell *sink* the last news and close it; what it raises, or how long it takes, is nobody else's problem."""
        try:
            async with asyncio.timeout_at(deadline + _CLOSING_TAKES):
                await self._resolve(sink, deadline + _LATE)
                await sink.aclose(deadline)
        except Exception:  # noqa: BLE001 - a sink of the user's may raise anything
            _log.exception("%s could not be closed", sink.name, extra={"line": "sink.unclosed", "sink": sink.name})

    def _run(self, work: Coroutine[None, None, None]) -> None:
        # In nobody's context: a request's budget or trace is none of the sinks' business.
        task = self._loop.create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _trouble(sink: DeadLetterSink) -> str | None:
    try:
        return sink.trouble()
    except Exception as error:  # noqa: BLE001 - a sink of the user's may raise anything
        return f"raised {type(error).__name__}"


async def _written(
    sink: DeadLetterSink, letters: Sequence[DeadLetter], until: float
) -> Sequence[DeadLetterError | None]:
    """Return what *sink* says, or why it said nothing that counts."""
    try:
        async with asyncio.timeout_at(until + _LATE):
            results = await sink.write(letters, until)
    except TimeoutError:
        failure = DeadLetterError("did not answer in its time", in_doubt=True)
    except Exception as error:  # noqa: BLE001 - a sink of the user's may raise anything
        facts = {"line": "sink.raised", "sink": sink.name}
        _log.exception("%s raised instead of returning results", sink.name, extra=facts)
        failure = DeadLetterError(f"raised {type(error).__name__}", in_doubt=True)
    else:
        if len(results) == len(letters):
            return results
        failure = DeadLetterError(f"gave {len(results)} results for {len(letters)} letters", in_doubt=True)
    return [failure] * len(letters)
