"""``eventpub publish``: lines of JSON as events, one outcome each."""

from __future__ import annotations

import asyncio
from io import FileIO

from cyclopts import App
from cyclopts.types import ExistingFile

from eventpub.cli import connection, feed
from eventpub.cli.lines import Form
from eventpub.cli.outcome import Outcome
from eventpub.cli.signals import interrupts
from eventpub.cli.teller import Teller
from eventpub.publisher import Publisher

_EPILOGUE = """
Each line is one JSON object and becomes one event, in the order of the lines.
Every line gets one line of answer on stdout, in the same order; the summary
goes to stderr. Empty lines are left out.

  echo '{"task_id": "42"}' |
    eventpub publish --type task.created --topic tasks --key-from task_id
  eventpub publish events.jsonl --type-from kind --topic events --id-from id
  eventpub publish tasks.jsonl --type task.created --app task_api.app:publisher

With --app, lines are validated into the event classes of your application.
A second run makes new events with new ids, unless --id-from names their ids.

Exit status: 0 every line is in the log, 1 some are not, 2 wrong usage.
"""

_AT_ONCE = 1_000  # lines that are read ahead of the oldest one without an outcome
_SILENCE = 3  # seconds without a broker before a person is told

app = App(name="publish", help_epilogue=_EPILOGUE)


@app.default
def publish(
    file: ExistingFile | None = None,
    /,
    *,
    type: str | None = None,  # noqa: A002 - CloudEvents' own name
    type_from: str | None = None,
    topic: str | None = None,
    topic_from: str | None = None,
    key: str | None = None,
    key_from: str | None = None,
    id_from: str | None = None,
    source: str | None = None,
    profile: str | None = None,
    app: str | None = None,
    json: bool = False,
) -> int:
    """Publish the lines of FILE, or of stdin, as events.

    Args:
        file: Lines of JSON; stdin if not given.
        type: The CloudEvents type of all lines.
        type_from: The field that holds a line's type.
        topic: The topic of all lines; if none is given, the class's, else the type itself.
        topic_from: The field that holds a line's topic.
        key: The key of all lines.
        key_from: The field whose value is a line's key: equal keys keep their order.
        id_from: The field that holds an event's id; if not given, each line gets a new one.
        source: The CloudEvents source, in place of EVENTPUB_SOURCE.
        profile: critical, standard or telemetry, in place of EVENTPUB_PROFILE.
        app: Your application's publisher, or a function that makes it, as module:name.
        json: Print each outcome as a line of JSON.
    """
    # The profile is said twice: here so that a name nobody knows is refused before anything is read,
    # and with each event, where it goes before what the event's class says.
    said = {name: value for name, value in (("source", source), ("profile", profile)) if value is not None}
    publisher, source = connection.connect(app, **said)
    form = Form(type, type_from, topic, topic_from, key, key_from, id_from, source, profile)
    with feed.opened(file) as stream, Teller(json=json, size=feed.size(stream)).shown() as teller:
        complete = asyncio.run(_Run(publisher, form, teller).through(stream))
    teller.sum_up(complete=complete)
    return 0 if complete and teller.all_is_well else 1


class _Run:
    """Publishes lines as they come, and tells their outcomes in the same order."""

    def __init__(self, publisher: Publisher, form: Form, teller: Teller) -> None:
        self._publisher, self._form, self._teller = publisher, form, teller
        self._under_way = asyncio.Queue[tuple[asyncio.Task[Outcome], int] | None]()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def through(self, stream: FileIO) -> bool:
        """Publish the lines of *stream*; return whether all of them were read."""
        async with self._publisher:
            with interrupts() as interrupted:
                reading = asyncio.create_task(self._read(stream))
                watching = [asyncio.create_task(each) for each in (self._watch(interrupted, reading), self._listen())]
                try:
                    await self._tell()
                finally:
                    for task in (*watching, reading):
                        task.cancel()
                    await asyncio.wait([*watching, reading])
        if reading.cancelled():
            return False
        reading.result()  # raises what reading failed with
        return True

    async def _read(self, stream: FileIO) -> None:
        try:
            async for number, line in feed.lines(stream):
                await self._room.acquire()
                self._under_way.put_nowait((asyncio.create_task(self._publish(number, line)), len(line)))
        finally:
            self._under_way.put_nowait(None)

    async def _publish(self, number: int, line: bytes) -> Outcome:
        return await Outcome.of(number, self._publisher, self._form, line.strip())

    async def _tell(self) -> None:
        while (entry := await self._under_way.get()) is not None:
            task, size = entry
            self._teller.tell(await task, size)
            self._room.release()

    async def _watch(self, interrupted: asyncio.Queue[None], reading: asyncio.Task[None]) -> None:
        await interrupted.get()
        reading.cancel()
        self._teller.remark("no more lines are read; those under way get their outcome (Ctrl-C again: at once)")
        await interrupted.get()
        await self._publisher.aclose(0)

    async def _listen(self) -> None:
        """Say why nothing happens, if nothing does."""
        await asyncio.sleep(_SILENCE)
        health = self._publisher.health()
        if not health.ready:
            self._teller.remark(f"still waiting: {'; '.join(health.reasons)}")
