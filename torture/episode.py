"""Plays one plan in one world, and has what was said checked."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from eventpub import CRITICAL, EventPubError, Publisher, Record, delivery_budget
from eventpub.testing import Ledger, Recorder, Verdict, check_ledger
from eventpub.testing.evidence import StoredRecord
from torture.arena import Arena, Clean, World
from torture.keeping import Keeping
from torture.load import SECRET, SOURCE, Mint
from torture.plan import Blow, Plan, Step

_NIBBLE = 0.3  # seconds until the next bait is laid out, at first
_LONGEST_NIBBLE = 5.0


@dataclass(frozen=True, slots=True)
class Result:
    """What an episode came to."""

    plan: Plan
    verdict: Verdict
    ledger: Ledger


def play(arena: Arena, plan: Plan) -> Result:
    """Play *plan* from its beginning to its end."""
    random.seed(plan.seed)  # tenacity throws dice for its pauses
    return arena.run(_play(arena, plan))


async def _play(arena: Arena, plan: Plan) -> Result:
    world, keeping = await arena.world(plan), Keeping(plan)
    try:
        return await Episode(arena, plan, world, keeping).play()
    finally:
        keeping.close()
        await world.close()


class Episode:
    """One publisher and what happens to it."""

    def __init__(self, arena: Arena, plan: Plan, world: World, keeping: Keeping) -> None:
        self._arena = arena
        self._plan = plan
        self._world = world
        self._keeping = keeping
        self._mint = Mint(plan.seed)
        self._ledger = Ledger()
        profiles = {profile.name: profile for profile in plan.profiles}
        self._publisher = Publisher(
            world.target,
            source=SOURCE,
            profile=plan.profiles[0],
            profiles=profiles,
            dead_letters=keeping.dead_letters(),
            buffer=plan.buffer,
            hooks=[self._ledger, *world.hooks],
        )
        self._recorder = Recorder(self._publisher, self._ledger)
        self._calls: list[asyncio.Task[None]] = []
        self._effects: dict[str, int] = {}
        world.publisher = self._publisher  # type: ignore[attr-defined]  # some faults wait for a quiet moment
        self._bait_profile = CRITICAL.replace(
            name="bait", delivery_timeout=max(plan.pace.delivery), request_timeout=min(plan.pace.request)
        )

    async def play(self) -> Result:
        """Open, publish, break, heal or not, close, read, check."""
        clean = Clean()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._ledger.left(f"exception: {context.get('message')}"))
        with _ErrorsLogged(self._ledger.left):
            struck = [asyncio.Event() for _ in self._plan.blows]
            pairs = zip(self._plan.blows, struck, strict=True)
            blows = [loop.create_task(self._blow(blow, event)) for blow, event in pairs]
            await asyncio.sleep(0)
            await self._publisher.open()
            await self._publish_all()
            await self._end(blows, struck)
            results = await asyncio.gather(*self._calls, return_exceptions=True)
        for failure in (result for result in results if isinstance(result, Exception)):
            self._ledger.left(f"exception of a call: {failure!r}")
        for left in (*clean.leftovers(self._calls), *await self._world.leftovers()):
            self._ledger.left(left)
        return await self._judge()

    # --- the application -------------------------------------------------------------

    async def _publish_all(self) -> None:
        began = asyncio.get_running_loop().time()
        for step in sorted(self._plan.steps, key=lambda step: step.at):
            await asyncio.sleep(began + step.at - asyncio.get_running_loop().time())
            self._start(step)
            await asyncio.sleep(0)
            self._recorder.measure()

    def _start(self, step: Step) -> None:
        made = [self._mint.make({**event, "topic": self._topic(event["topic"])}) for event in step.events]
        options = {"profile": step.profile, "timeout": step.budget}
        if step.way == "many":
            # Only options that all events of a call share.
            call: Coroutine[Any, Any, object] = self._recorder.publish_many(
                [event if isinstance(event, Record) else _as_record(event, own) for event, own in made], **options
            )
        elif step.way == "nowait":
            self._nowait(made[0][0], made[0][1] | options, step.cancelled_after)
            return
        else:
            call = self._recorder.publish(made[0][0], **made[0][1], **options)
        self._call(call, step)

    def _call(self, call: Coroutine[Any, Any, object], step: Step | None = None) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(_around(call, step))
        self._calls.append(task)
        if step is not None and step.cancelled_after is not None:
            asyncio.get_running_loop().call_later(step.cancelled_after, task.cancel)
        return task

    def _nowait(self, event: Any, options: dict[str, Any], cancelled_after: float | None) -> None:
        with suppress(EventPubError):
            pending = self._recorder.publish_nowait(event, **options)
            if cancelled_after is not None:
                asyncio.get_running_loop().call_later(cancelled_after, pending.cancel)
            self._call(_awaited(pending))

    def _topic(self, name: str) -> str:
        return self._arena.real_topic(self._plan, name)

    # --- the faults ----------------------------------------------------------------------

    async def _blow(self, blow: Blow, struck: asyncio.Event) -> None:
        """Strike, see to it that it hurts, and relent after a while."""
        fault, aim, loop = self._arena.faults[blow.fault], blow.aim, asyncio.get_running_loop()
        await asyncio.sleep(blow.at)
        before, began = self._world.effects(fault.counter), loop.time()
        self._effects[blow.fault] = 0
        await _perform(fault.strike(self._world, aim))
        pause = _NIBBLE
        while self._world.effects(fault.counter) == before and loop.time() < began + self._plan.pace.patience:
            bait = loop.create_task(self._bait(fault.bait(self._world, aim), pause))
            await asyncio.sleep(0)
            await _perform(fault.strike(self._world, aim))
            await bait
            pause = min(_LONGEST_NIBBLE, 1.5 * pause)
        self._effects[blow.fault] = self._world.effects(fault.counter) - before
        struck.set()
        await asyncio.sleep(began + blow.window - loop.time())
        await _perform(fault.relent(self._world, aim))

    async def _bait(self, at: tuple[str, int], pause: float) -> None:
        """Publish to where a fault waits."""
        text = f"{SECRET} bait {self._plan.seed}-{len(self._calls)}"
        record = Record(self._topic(at[0]), text.encode(), b"bait", [("ce_id", text.encode())], partition=at[1])
        if self._publisher.state.value != "open":
            await asyncio.sleep(pause)
            return
        call = self._call(self._recorder.publish(record, profile=self._bait_profile))
        await asyncio.sleep(pause)
        if not call.done():
            self._world.waited()

    # --- the end ---------------------------------------------------------------------------

    async def _end(self, blows: list[asyncio.Task[None]], struck: list[asyncio.Event]) -> None:
        if self._plan.ending == "healed":
            await _all(blows)
            await self._world.heal()
            self._ledger.healed(self._plan.recovery)
            await self._probe()
        else:  # in the middle of the faults, not before they had an effect
            await _all([asyncio.ensure_future(event.wait()) for event in struck])
        await self._recorder.aclose(self._plan.drain)
        for blow in blows:
            blow.cancel()
        ends = await asyncio.gather(*blows, return_exceptions=True)
        for failure in (end for end in ends if isinstance(end, Exception)):
            raise failure

    async def _probe(self) -> None:
        """Publish one event to each topic, with every profile."""
        probes = []
        for topic in self._plan.topics:
            for profile in self._plan.profiles:
                text = f"{SECRET} probe {self._plan.seed}-{topic.name}-{profile.name}"
                record = Record(self._topic(topic.name), text.encode(), b"probe", [("ce_id", text.encode())])
                lasting = profile.replace(delivery_timeout=2 * self._plan.recovery)
                probes.append(self._call(self._recorder.publish(record, profile=lasting)))
        await asyncio.wait(probes)

    async def _judge(self) -> Result:
        topics = [self._topic(topic.name) for topic in self._plan.topics]
        at_close = None
        if await self._world.readable():
            at_close = {topic: await self._world.read(topic) for topic in topics}
        await self._world.heal()
        await asyncio.sleep(self._plan.pace.settling)
        logs = {topic: await self._world.read(topic) for topic in topics}
        verdict = check_ledger(
            self._ledger,
            logs,
            logs_at_close=at_close,
            dead_letters=await self._keeping.read(self._read),
            effects=self._effects,
            ceiling=self._ceiling(),
            deduplicates=self._arena.deduplicates,
            secrets=[SECRET],
        )
        return Result(self._plan, verdict, self._ledger)

    async def _read(self, topic: str) -> tuple[str, Sequence[StoredRecord]]:
        name = self._topic(topic)
        return name, await self._world.read(name)

    def _ceiling(self) -> float | None:
        """Return the share of doubt that is explained, where nothing but a fault explains any."""
        if not self._plan.ample:
            return None
        return max((self._arena.faults[blow.fault].ceiling or 0.0 for blow in self._plan.blows), default=0.0)


async def _around(call: Coroutine[Any, Any, object], step: Step | None) -> None:
    """Make *call* under what is around it; an outcome is written down already."""
    kind, seconds = step.around if step is not None and step.around is not None else (None, 0.0)
    with suppress(EventPubError):
        if kind == "budget":
            with delivery_budget(seconds):
                await call
        elif kind == "scope":
            with anyio.move_on_after(seconds):
                await call
        else:
            await call


async def _awaited(pending: Any) -> None:
    await pending


async def _perform(act: object) -> None:
    if asyncio.iscoroutine(act):
        await act


async def _all(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        await task


def _as_record(event: Any, options: dict[str, Any]) -> Any:
    """Return a raw record like *event*: calls with many events have no options of their own."""
    key = options.get("key")
    return Record(
        options["topic"],
        event.text.encode(),
        key.encode() if key is not None else None,
        [("ce_id", event.envelope.id.encode())],
        options.get("partition"),
        options.get("timestamp"),
    )


class _ErrorsLogged(logging.Handler):
    """Hands over what eventpub logs as an error: none of its own should ever happen, but sinks may fail."""

    def __init__(self, note: Callable[[str], object]) -> None:
        super().__init__(logging.ERROR)
        self._note = note
        self._log = logging.getLogger("eventpub")

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "eventpub.deadletter":
            self._note(f"logged: {record.getMessage()}")

    def __enter__(self) -> None:
        self._log.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._log.removeHandler(self)
