"""What every contender is asked to publish, and the ledger that hears what it says."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from eventpub import Record
from eventpub.testing import Ledger, Word
from torture.peers.contenders import Contender, word_of

PATIENCE = 45.0
"""Seconds after which a call that is still running is given up, and counts as hung."""

_FILLER = "x" * 200
_POISON = "x" * 50_000
_SEED = 4


@dataclass(frozen=True, slots=True)
class Load:
    """Some events per key, one after the other, by all keys side by side.

    Attributes:
        keys: how many keys.
        events: how many events for each.
        pause: seconds between an outcome and the next event of that key, on average.
        poison: let one event in the middle be larger than the topic takes.
        cancelled: cancel the callers after some milliseconds.
    """

    keys: int = 40
    events: int = 16
    pause: float = 0.1
    poison: bool = False
    cancelled: bool = False


class Caller:
    """Publishes by one contender and writes down each intent and outcome.

    Attributes:
        stopping: set it, and keys begin no more events.
        calls: how many were made so far.
    """

    def __init__(self, contender: Contender, ledger: Ledger, topic: str, budget: float) -> None:
        self.stopping = False
        self.calls = 0
        self._contender = contender
        self._ledger = ledger
        self._topic = topic
        self._budget = budget
        self._rng = random.Random(_SEED)

    async def run(self, load: Load) -> None:
        """Publish all of *load*; return when every call has ended, or has been given up."""
        if load.cancelled:
            await self._all([self._cancelled(key) for key in range(load.keys)])
        else:
            await self._all([self._key(key, load) for key in range(load.keys)])

    async def probe(self, keys: int) -> None:
        """Publish one more event for each of *keys*."""
        await self.run(Load(keys, events=1, pause=0))

    async def _all(self, calls: list[Coroutine[Any, Any, None]]) -> None:
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.wait(tasks, timeout=PATIENCE)

    async def _key(self, key: int, load: Load) -> None:
        for event in range(load.events):
            if self.stopping:
                break
            poison = load.poison and (key, event) == (load.keys // 2, load.events // 2)
            await self._publish(key, _POISON if poison else _FILLER)
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * load.pause)

    async def _publish(self, key: int, filler: str) -> None:
        self.calls += 1
        value = json.dumps({"number": self.calls, "key": key, "filler": filler}).encode()
        record = Record(self._topic, value, str(key).encode())
        intent = self._ledger.intend(record, budget=self._budget)
        try:
            await self._contender.publish(str(key).encode(), value)
        except BaseException as error:
            self._ledger.say(intent, word_of(error), error=type(error).__name__, text=str(error)[:200])
            if not isinstance(error, Exception):
                raise
        else:
            self._ledger.say(intent, Word.PERSISTED)

    async def _cancelled(self, key: int) -> None:
        task = asyncio.create_task(self._publish(key, _FILLER))
        await asyncio.sleep(self._rng.uniform(0, 0.02))
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
