"""Faults as they are asked for: where they strike, how often, and what they did so far.

A fault that never struck proves nothing: whoever injects one looks at ``effects``, or
lets `Faults.without_effect` tell which did nothing.
"""

from __future__ import annotations

import asyncio
import enum
import threading
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

_PATIENCE = 10.0


class Stage(enum.Enum):
    """Where on its way a connection meets a fault."""

    ACCEPT = "accept"
    READ = "read"  # bytes of the client
    DELAY = "delay"  # of a request or a reply
    REQUEST = "request"
    REPLY = "reply"
    NOW = "now"  # strikes when it is asked for, and only then


class Fault:
    """One fault in force. Wait for it with `wait` or `happened`; end it with `stop`. Thread-safe.

    Attributes:
        verb: what it was asked for by.
        broker: before which broker; ``None`` is any.
        effects: how often it struck.
        frames: what it struck, as it came; not kept by faults that last until they are stopped.
    """

    def __init__(
        self,
        verb: str,
        stages: Collection[Stage],
        act: Any = None,
        *,
        broker: int | None = None,
        api: int | None = None,
        times: int | None = None,
    ) -> None:
        """Describe a fault.

        Args:
            verb: its name, for the counters.
            stages: where it strikes.
            act: what it does there; belongs to the proxy.
            broker: before which broker; ``None`` is any.
            api: to which API's requests or replies; ``None`` is any.
            times: how often; ``None`` is until `stop`.
        """
        self.verb = verb
        self.act = act
        self.effects = 0
        self.frames: list[bytes] = []
        self._stages = frozenset(stages)
        self.broker = broker
        self._api = api
        self._times = times
        self._stopped = False
        self._undo: Callable[[], object] | None = None
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"<Fault {self.verb} broker={self.broker} api={self._api} effects={self.effects}>"

    def fits(self, stage: Stage, broker: int, apis: Collection[int | None]) -> bool:
        """Whether it would strike there."""
        return (
            not self.over
            and stage in self._stages
            and self.broker in {None, broker}
            and (self._api is None or self._api in apis)
        )

    @property
    def over(self) -> bool:
        """Whether it strikes no more."""
        return self._stopped or (self._times is not None and self.effects >= self._times)

    def count(self, frame: bytes | None = None, times: int = 1) -> None:
        """Note that it struck."""
        with self._changed:
            self.effects += times
            if frame is not None and self._times is not None:
                self.frames.append(frame)
            self._changed.notify_all()

    def wait(self, effects: int = 1, timeout: float = _PATIENCE) -> None:
        """Block until it has struck *effects* times.

        Raises:
            TimeoutError: it did not within *timeout* seconds.
        """
        self._wait(lambda: self.effects >= effects, timeout)

    async def happened(self, effects: int = 1, timeout: float = _PATIENCE) -> None:
        """Wait until it has struck *effects* times, without blocking the event loop."""
        await asyncio.to_thread(self.wait, effects, timeout)

    def stop(self) -> None:
        """Let it strike no more."""
        self._stopped = True
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def on_stop(self, undo: Callable[[], object]) -> None:
        """Have *undo* called when it is stopped."""
        self._undo = undo

    def _wait(self, condition: Callable[[], bool], timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"{self!r} did not strike within {timeout:g} s")


class Held(Fault):
    """A request that is kept back. It reaches the broker after `release`, or never."""

    def __init__(
        self,
        soon: Callable[[Callable[[], object]], object],
        verb: str,
        stages: Collection[Stage],
        *,
        broker: int | None,
        api: int | None,
    ) -> None:
        """Describe a fault; *soon* has something called in the proxy's loop."""
        super().__init__(verb, stages, broker=broker, api=api, times=1)
        self._soon = soon
        self._decided = asyncio.Event()
        self._released = False
        self._landed: bytes | None = None

    def release(self) -> None:
        """Let the request go on to the broker, whether its client still is there or not."""
        self._released = True
        self._soon(self._decided.set)

    def stop(self) -> None:
        """Let it never reach the broker, unless it was released before."""
        super().stop()
        self._soon(self._decided.set)

    async def until_released(self) -> bool:
        """Wait in the proxy's loop; return whether the request may go on."""
        await self._decided.wait()
        return self._released

    def answered(self, reply: bytes) -> None:
        """Note what the broker said to the request after all."""
        with self._changed:
            self._landed = reply
            self._changed.notify_all()

    async def answer(self, timeout: float = _PATIENCE) -> bytes:
        """Return the broker's reply to the released request, also when no client hears it any more.

        Raises:
            TimeoutError: there was none within *timeout* seconds.
        """
        await asyncio.to_thread(self._wait, lambda: self._landed is not None, timeout)
        assert self._landed is not None
        return self._landed


class Faults:
    """What was asked for, in order, and how often each verb struck. Thread-safe."""

    def __init__(self) -> None:
        self._all: list[Fault] = []
        self._in_force: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Put a fault into force, behind those there are."""
        with self._lock:
            self._all.append(fault)
            self._in_force = [other for other in self._in_force if not other.over] + [fault]

    def find(self, stage: Stage, broker: int, apis: Collection[int | None]) -> Fault | None:
        """Return the first fault that would strike there."""
        return next((fault for fault in self._in_force if fault.fits(stage, broker, apis)), None)

    def take(self, stage: Stage, broker: int, api: int | None = None, frame: bytes | None = None) -> Fault | None:
        """Let the first fault that would strike there strike, and return it."""
        with self._lock:
            fault = self.find(stage, broker, (api,))
            if fault is not None:
                fault.count(frame)
            return fault

    def stop(self) -> None:
        """Let none of them strike any more; their counters stay."""
        for fault in list(self._all):
            fault.stop()

    @property
    def effects(self) -> Counter[str]:
        """How often each verb struck."""
        counted: Counter[str] = Counter()
        for fault in list(self._all):
            counted[fault.verb] += fault.effects
        return counted

    @property
    def without_effect(self) -> list[Fault]:
        """Those that never struck."""
        return [fault for fault in list(self._all) if fault.effects == 0]
