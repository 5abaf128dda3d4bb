"""Where episodes are played: a kind of broker, the clusters it makes, and what can be broken in them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from eventpub.testing.evidence import StoredRecord
from torture.fault import Fault
from torture.plan import Pace, Plan

T = TypeVar("T")


class World(Protocol):
    """One cluster, or the part of one that an episode has for itself."""

    @property
    def hooks(self) -> Sequence[object]:
        """What else hears of the publisher's attempts and outcomes."""

    @property
    def target(self) -> Any:
        """What a publisher is opened on."""

    def effects(self, counter: str) -> int:
        """Return how often the faults of *counter* had an effect so far."""

    def waited(self) -> None:
        """Hear that an event which was laid out for a fault was not answered in time: it is felt."""

    async def heal(self) -> None:
        """Take back every fault, and let all requests go on that were kept back."""

    async def read(self, topic: str) -> Sequence[StoredRecord]:
        """Return what an independent reader finds in a topic of the plan."""

    async def readable(self) -> bool:
        """Whether topics can be read now, as far as they can ever be: no broker of them is away."""

    async def leftovers(self) -> Sequence[str]:
        """Return what the closed publisher left open: sockets."""

    async def close(self) -> None:
        """End what was made for one episode only."""


class Arena(Protocol):
    """One kind of broker.

    Attributes:
        name: the tier in the table.
        pace: of its episodes.
        limit: real seconds after which an episode counts as hanging.
        faults: by name.
        deduplicates: whether its brokers drop resends of idempotent batches.
    """

    name: str
    pace: Pace
    limit: float
    faults: Mapping[str, Fault[Any]]
    deduplicates: bool

    def run(self, episode: Coroutine[Any, Any, T]) -> T:
        """Run an episode from its beginning to its end."""

    async def world(self, plan: Plan) -> World:
        """Return a cluster as *plan* wants it."""

    def real_topic(self, plan: Plan, topic: str) -> str:
        """Return what a topic of *plan* is called in its world."""


class Clean:
    """Compares the tasks of the running loop with those at its beginning."""

    def __init__(self) -> None:
        self._before = asyncio.all_tasks()

    def leftovers(self, ours: Sequence[asyncio.Task[Any]]) -> list[str]:
        """Return the tasks that are neither *ours* nor were there before."""
        left = asyncio.all_tasks() - self._before - set(ours)
        return sorted(f"task {task.get_name()} of {getattr(task.get_coro(), '__qualname__', '?')}" for task in left)
